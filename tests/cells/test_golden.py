"""seqjax against what other libraries computed: outputs, final carries and every gradient."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.convert import CONVERTERS, under

import seqjax as sj

FOLDER = Path(__file__).parents[1] / "golden"
TOLERANCE = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 2e-5}


@functools.partial(jax.jit, static_argnames="cell")
def run(cell, inputs, loss, lengths, mask):
    """Gradients of sum(loss * (carry, ys)) by inputs (params, carry, xs), and (carry, ys)."""

    def total(inputs):
        params, carry, xs = inputs
        result = sj.unroll(cell, params, xs, carry=carry, lengths=lengths, mask=mask)
        products = jax.tree.map(lambda a, b: jnp.sum(a * b), result, loss)
        return sum(jax.tree.leaves(products)), result

    return jax.grad(total, has_aux=True)(inputs)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.npz")))
def test_equals_the_library(name, x64):
    with np.load(FOLDER / f"{name}.npz") as file:
        dtype, file = file["ys"].dtype, {key: upcast(file[key]) for key in file.files}
    cell, to_params, to_carry = CONVERTERS[name]
    params, params_back = jax.vjp(to_params, under("weights/", file))
    carry, carry_back = jax.vjp(to_carry, under("carry/", file))
    loss = to_carry(under("loss/final/", file)), file["loss/ys"]
    gradients, (final, ys) = run(cell, (params, carry, file["xs"]), loss, *real_steps(file))

    close = functools.partial(compare, tolerance=TOLERANCE[dtype])
    close("ys", ys, file["ys"])
    close("final", final, to_carry(under("final/", file)))
    # Back through the conversion: the gradients by the library's weights, in its layout.
    close("gradient of weights", params_back(gradients[0])[0], under("grad/weights/", file))
    close("gradient of carry", carry_back(gradients[1])[0], under("grad/carry/", file))
    close("gradient of xs", gradients[2], file["grad/xs"])


def upcast(a):
    return a.astype(np.float64) if a.dtype == np.float32 else a


def real_steps(file):
    """lengths and mask: both or neither, so that cases with one cell share a compilation."""
    if not {"lengths", "mask"} & set(file):
        return None, None
    batch_size, length = file["xs"].shape[:2]
    lengths = np.full(batch_size, length, np.int32)
    return file.get("lengths", lengths), file.get("mask", np.ones((batch_size, length), bool))


def compare(what, got, expected, tolerance):
    assert jax.tree.structure(got) == jax.tree.structure(expected), what
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(expected), strict=True
    ):
        label = what + jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=label)


def test_every_file_is_used():
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(CONVERTERS)
