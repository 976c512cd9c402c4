"""Deferred weight gradients: equal to differentiating the steps, to any order, under everything."""

import os
import subprocess
import sys
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import seqjax as sj

BATCH, LENGTH, SIZE = 2, 5, 3
MASK = jnp.array([[1, 1, 0, 1, 1], [1, 0, 1, 1, 0]], bool)
RESET = jnp.array([[0, 0, 1, 0, 0], [0, 1, 0, 0, 1]], bool)
CELLS: dict[str, Any] = {
    "elman": sj.Elman(SIZE),
    "lstm": sj.LSTM(SIZE),
    "gru_after": sj.GRU(SIZE),
    "gru_before": sj.GRU(SIZE, reset="before"),
    "projected": sj.cells.ProjectedLSTM(4, projection_size=SIZE),
}


def draw(cell, dtype=None):
    """Params, none of them zero, and inputs."""
    params = cell.init(jax.random.key(0), 2)
    shift = lambda a: a + 0.1 * jnp.sin(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape)
    xs = jax.random.normal(jax.random.key(1), (BATCH, LENGTH, 2))
    return jax.tree.map(lambda a: a.astype(dtype or a.dtype), (jax.tree.map(shift, params), xs))


def total(*results):
    wide = lambda a: a.astype(jnp.float32) if a.dtype == jnp.bfloat16 else a
    return sum(jnp.sum(jnp.cos(wide(a))) for a in jax.tree.leaves(results))


def fast(cell, params, xs, **how):
    carry, ys = sj.unroll(cell, params, xs, **how)
    return total(carry, ys)


def stepped(cell, params, xs, **how):
    """The same by `scan`, which JAX differentiates itself."""
    start = cell.initial_carry(params, xs.shape[0])
    carry, ys = sj.scan(lambda carry, x: cell.step(params, carry, x), start, xs, **how)
    return total(carry, ys)


def both(transform, cell, params, xs, **how):
    """transform(loss)(params, xs) by either way."""
    run = lambda loss: jax.jit(transform(lambda p, x: loss(cell, p, x, **how)))(params, xs)
    return run(fast), run(stepped)


def twice(loss):
    """Reverse over reverse."""
    first = lambda *inputs: jax.tree.leaves(jax.grad(loss, (0, 1))(*inputs))
    return jax.grad(lambda *inputs: sum(jnp.sum(jnp.sin(g)) for g in first(*inputs)), (0, 1))


@pytest.mark.parametrize("name", CELLS)
def test_second_derivatives(name, x64):
    cell = CELLS[name]
    got, expected = both(twice, cell, *draw(cell), mask=MASK, reset=RESET)
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-11)


def test_hessian(x64):
    cell = sj.GRU(2)
    got, expected = both(jax.hessian, cell, *draw(cell))
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-11)


def test_forward_mode_alone_is_refused_rather_than_wrong():
    cell = sj.LSTM(SIZE)
    params, xs = draw(cell)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda xs: fast(cell, params, xs), (xs,), (xs,))


@pytest.mark.parametrize("name", CELLS)
def test_vmap_over_params_and_over_inputs(name, x64):
    cell = CELLS[name]
    params, xs = draw(cell)
    many = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), (params, xs))
    grad = jax.grad(lambda p, x: fast(cell, p, x, mask=MASK, reset=RESET), (0, 1))
    mapped = jax.jit(jax.vmap(grad))(*many)
    rows = [jax.jit(grad)(*jax.tree.map(lambda a, i=i: a[i], many)) for i in range(2)]
    single = jax.tree.map(lambda *a: jnp.stack(a), *rows)
    chex.assert_trees_all_close(mapped, single, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_bfloat16_gradients_are_those_of_the_steps(name):
    """Both round; the deferred sum rounds less, as it adds up in float32."""
    cell = CELLS[name]
    params, xs = draw(cell, jnp.bfloat16)
    grads, plain = both(lambda f: jax.grad(f, (0, 1)), cell, params, xs)
    exact = jax.grad(lambda p, x: stepped(cell, p, x), (0, 1))(
        *jax.tree.map(lambda a: a.astype(jnp.float32), (params, xs))
    )
    chex.assert_trees_all_equal_dtypes(grads, (params, xs))
    errors = [
        max(float(jnp.abs(a.astype(jnp.float32) - b).max()) for a, b in zip(*leaves, strict=True))
        for leaves in (
            (jax.tree.leaves(grads), jax.tree.leaves(exact)),
            (jax.tree.leaves(plain), jax.tree.leaves(exact)),
        )
    ]
    assert errors[0] < 0.05 + 1.5 * errors[1]


class Mixed(sj.RecurrentCell):
    """Weights used through `affine`, a part of them and their transpose, and beside it."""

    def init(self, key, input_size):
        return {"x": jax.random.normal(key, (input_size, SIZE)), "h": jnp.eye(SIZE) + 0.1}

    def initial_carry(self, params, batch_size, key=None):
        return {"h": jnp.zeros((batch_size, SIZE)), "count": jnp.zeros(batch_size, jnp.int32)}

    def project(self, params, xs):
        return xs @ params["x"]

    def recur(self, params, carry, z, affine):
        h = jnp.tanh(affine(carry["h"], params["h"].T[:, ::-1], z))
        h = h + 0.1 * carry["h"] @ params["h"] + affine(h * h, params["h"], params["h"][0])
        grown = jnp.where(carry["count"][:, None] > 1, h, 0.5 * h)
        return {"h": grown, "count": carry["count"] + 1}

    def output(self, params, carry):
        return jnp.sin(carry["h"] @ params["h"])


def test_every_use_of_the_params_counts(x64):
    cell = Mixed()
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (BATCH, LENGTH, 2))

    def loss(run):
        def value(params, xs):
            carry, ys = run(params, xs)
            return jnp.sum(jnp.cos(ys)) + jnp.sum(carry["h"])

        return jax.jit(jax.value_and_grad(value, (0, 1)))(params, xs)

    how: Any = {"mask": MASK, "reset": RESET}
    step = lambda params: lambda carry, x: cell.step(params, carry, x)
    start = cell.initial_carry(params, BATCH)
    got = loss(lambda params, xs: sj.unroll(cell, params, xs, **how))
    expected = loss(lambda params, xs: sj.scan(step(params), start, xs, **how))
    chex.assert_trees_all_close(got, expected, rtol=1e-10)


def scans(jaxpr):
    """All scans of a program, inner ones too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                yield from scans(getattr(inner, "jaxpr", inner))


@pytest.mark.parametrize("name", ["elman", "lstm", "gru_after", "gru_before"])
def test_no_loop_adds_up_a_weight_gradient(name):
    cell = CELLS[name]
    params, xs = draw(cell)

    def products(loss):
        """The shapes that matrix products have inside loops."""
        program = jax.make_jaxpr(jax.grad(lambda p: loss(cell, p, xs)))(params)
        bodies = [equation.params["jaxpr"].jaxpr for equation in scans(program.jaxpr)]
        return {tuple(sorted(v.aval.shape)) for body in bodies for v in every_product(body)}

    weights = {(SIZE, gates * SIZE) for gates in (1, 2, 3, 4)}
    assert products(stepped) & weights
    assert not products(fast) & weights


def every_product(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield from equation.outvars
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                yield from every_product(getattr(inner, "jaxpr", inner))


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, seqjax as sj
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
mesh = Mesh(np.array(jax.devices()), ("rows",))
rows, everywhere = NamedSharding(mesh, P("rows")), NamedSharding(mesh, P())
cell = sj.GRU(8)
params = cell.init(jax.random.key(0), 4)
xs = jax.random.normal(jax.random.key(1), (4, 6, 4))
lengths = jnp.array([6, 2, 0, 5])
loss = lambda p, x, n: jnp.sum(jnp.cos(sj.unroll(cell, p, x, lengths=n)[1]))
grad = jax.jit(jax.grad(loss, (0, 1)))
expected = grad(params, xs, lengths)
placed = jax.device_put(params, everywhere), jax.device_put(xs, rows), jax.device_put(lengths, rows)
got = grad(*placed)
assert len(got[1].sharding.device_set) == 2 and got[1].sharding.is_equivalent_to(rows, 3)
for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
text = grad.lower(*placed).compile().as_text()
assert "all-reduce" in text or "all-gather" in text
for part in text.split("\\n\\n"):
    assert part.startswith("ENTRY") or "all-reduce" not in part, part
print("equal")
"""


def on_two_devices(code: str) -> str:
    """What a program prints in a process that has two CPU devices."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert not done.returncode, done.stderr[-2000:]
    return done.stdout.strip()


def test_a_batch_split_over_devices_is_the_batch_whole():
    """And the weights' gradients meet once, after the loop."""
    assert on_two_devices(SHARDED) == "equal"


MAPPED = """
import jax, jax.numpy as jnp, numpy as np, seqjax as sj
from jax.sharding import AxisType, PartitionSpec as P
mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
xs = jax.random.normal(jax.random.key(0), (4, 9, 3))
lengths = jnp.array([9, 3, 0, 7])
stack = sj.Stack((sj.LSTM(4), sj.Dropout(0.5), sj.LearnedCarry(sj.Zoneout(sj.GRU(4), 0.1))))
for cell, remat, truncate in (
    (stack, 2, None),
    (sj.GRU(4), sj.core.mixed_schedule(9, 12, 4), 3),
    (sj.Bidirectional(sj.LSTM(4)), None, 3),
):
    def loss(params, xs, lengths):
        ys = sj.unroll(cell, params, xs, lengths=lengths, remat=remat, truncate=truncate)[1]
        return jnp.sum(jnp.sin(ys))

    def part(*args):
        return jax.lax.psum(loss(*args), "rows")

    mapped = jax.shard_map(part, mesh=mesh, in_specs=(P(), P("rows"), P("rows")), out_specs=P())
    args = cell.init(jax.random.key(1), 3), xs, lengths
    got, want = (jax.jit(jax.value_and_grad(f, (0, 1)))(*args) for f in (mapped, loss))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

cell = sj.GRU(4)
def window(params, carry, xs, key):
    carry, ys = sj.unroll(cell, params, xs, carry=carry)
    return jnp.sum(jnp.sin(ys)), carry

def whole(params, xs):
    carry = cell.initial_carry(params, len(xs))
    return sj.truncated_value_and_grad(window, 4)(params, carry, xs)[1]

mapped = jax.shard_map(whole, mesh=mesh, in_specs=(P(), P("rows")), out_specs=P())
params = cell.init(jax.random.key(1), 3)
for a, b in zip(jax.jit(mapped)(params, xs), jax.jit(whole)(params, xs)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
print("equal")
"""


def test_rows_mapped_over_devices_are_the_batch_whole():
    """Inside of `jax.shard_map` a loop's carry differs between devices from the first step on."""
    assert on_two_devices(MAPPED) == "equal"


def test_weights_that_depend_on_the_state_are_refused():
    class Fast(Mixed):
        def recur(self, params, carry, z, affine):
            weights = params["h"] * carry["h"][0]
            return carry | {"h": affine(carry["h"], weights, z)}

    cell = Fast()
    params = cell.init(jax.random.key(0), 2)
    with pytest.raises(ValueError, match="affine was given weights, or a bias .M., that depend on"):
        sj.unroll(cell, params, jnp.ones((BATCH, LENGTH, 2)))
    carry, _ = cell.step(params, cell.initial_carry(params, 1), jnp.ones((1, 2)))  # by steps it is
    assert carry["h"].shape == (1, SIZE)
