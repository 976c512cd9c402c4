"""bfloat16, float32 and float64: what is computed in which, and that carries keep their dtype."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.zoo import CELLS

import seqjax as sj


def cast(tree, dtype):
    is_float = lambda a: jnp.issubdtype(a.dtype, jnp.floating)
    return jax.tree.map(lambda a: a.astype(dtype) if is_float(a) else a, tree)


@pytest.mark.parametrize("name", CELLS)
def test_bfloat16_is_float32_to_its_rounding(name):
    cell = CELLS[name]
    params = cast(cell.init(jax.random.key(0), 3), jnp.bfloat16)
    xs = jnp.sin(jnp.arange(2 * 5 * 3)).reshape(2, 5, 3).astype(jnp.bfloat16)
    _, half = sj.unroll(cell, params, xs)
    _, full = sj.unroll(cell, cast(params, jnp.float32), xs.astype(jnp.float32))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.03)


@functools.partial(jax.jit, static_argnames=("cell", "remat"))
def weighted_gradients(cell, params, xs, weights, lengths=None, reset=None, remat=None):
    """Gradients for params and inputs of a weighted sum of outputs, and those outputs."""

    def loss(params, xs):
        _, ys = sj.unroll(cell, params, xs, lengths=lengths, reset=reset, remat=remat)
        return jnp.sum(ys.astype(jnp.float32) * weights), ys

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, xs)


def both_precisions(cell, params, xs, *args, **how):
    """`weighted_gradients` in bfloat16 and, for the same numbers, in float32."""
    half = cast((params, xs), jnp.bfloat16)
    full = cast(half, jnp.float32)
    return [weighted_gradients(cell, *inputs, *args, **how) for inputs in (half, full)]


def distance(got, expected):
    """The norm of the difference of two trees, as a share of that of the second one."""
    norm = lambda tree: float(sj.training.global_norm(cast(tree, jnp.float32)))
    difference = jax.tree.map(jnp.subtract, cast(got, jnp.float32), expected)
    return norm(difference) / norm(expected)


@pytest.mark.parametrize("name", CELLS)
def test_bfloat16_gradients_are_those_of_float32_under_lengths_and_resets(name):
    cell = CELLS[name]
    xs = jnp.sin(jnp.arange(2.0 * 5 * 3)).reshape(2, 5, 3)
    lengths, reset = jnp.array([5, 3]), jnp.zeros((2, 5), bool).at[0, 2].set(True)
    weights = 1 + jnp.arange(5.0)[:, None] / 5
    params = cell.init(jax.random.key(0), 3)
    (got, ys), (expected, full) = both_precisions(cell, params, xs, weights, lengths, reset)
    assert {leaf.dtype for leaf in jax.tree.leaves((got, ys))} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(ys.astype(jnp.float32), full, atol=0.03)
    assert distance(got, expected) < 0.02
    assert not ys[1, 3:].any() and not got[1][1, 3:].any()


@pytest.mark.parametrize("remat", ["sqrt", sj.core.Schedule(4000, 60, block=50)])
def test_bfloat16_gradients_add_up_many_units(remat):
    """The last step weighs so much that what any other unit adds is beyond bfloat16's 8 bits."""
    cell = sj.Elman(2)
    params = cell.init(jax.random.key(0), 1)
    weights = jnp.ones((1, 4000, 1)).at[:, -1].set(2.0**15)
    xs = jnp.ones((1, 4000, 1))
    (got, _), _ = both_precisions(cell, params, xs, weights, remat=remat)
    _, (expected, _) = both_precisions(cell, params, xs, weights)
    alone = both_precisions(cell, params, xs, weights.at[:, :-1].set(0))[1][0]
    assert distance(got[0], expected[0]) < 0.02 < 0.08 < distance(alone[0], expected[0])


@pytest.mark.parametrize("cell", [sj.LSTM(1), sj.cells.CoupledLSTM(1)])
def test_a_small_increment_is_not_lost_in_a_long_memory(cell):
    """c grows by less than 1/256 of itself a step, which bfloat16 could not hold."""
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))
    gates = {sj.LSTM: [-7.0, 20.0, 20.0, 0.0], sj.cells.CoupledLSTM: [7.0, 20.0, 0.0]}[type(cell)]
    params = cast(params._replace(b=jnp.array(gates)), jnp.bfloat16)
    carry, _ = sj.unroll(cell, params, jnp.zeros((1, 600, 1), jnp.bfloat16))
    write = jax.nn.sigmoid(-7.0)
    lasting = 1 - (1 - write) ** 600
    expected = lasting if isinstance(cell, sj.cells.CoupledLSTM) else 600 * write
    np.testing.assert_allclose(carry.c, [[expected]], rtol=0.01)


def test_inputs_are_cast_to_the_weights(x64):
    cell = sj.LSTM(3)
    params = cast(cell.init(jax.random.key(0), 2), jnp.float32)
    carry, ys = sj.unroll(cell, params, jnp.ones((2, 4, 2), jnp.float64))
    assert {ys.dtype, carry.h.dtype, carry.c.dtype} == {jnp.dtype(jnp.float32)}


def test_float64_weights_compute_in_float64(x64):
    cell = sj.GRU(3)
    params = cell.init(jax.random.key(0), 2)
    carry, ys = sj.unroll(cell, params, jnp.ones((2, 4, 2), jnp.float32))
    assert {params.w_h.dtype, ys.dtype, carry.dtype} == {jnp.dtype(jnp.float64)}
