"""`linear_scan`: every method is a loop in NumPy, and so are its derivatives."""

import functools
import itertools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import seqjax as sj
from seqjax.linear.causal import push, push_all

BATCH, SIZE = 2, 3
METHODS: dict[str, Any] = {
    "sequential": {"method": "sequential"},
    "associative": {"method": "associative"},
    "whole chunks": {"method": "chunked", "chunk_size": 3},
    "chunks and a rest": {"method": "chunked", "chunk_size": 4},
    "auto": {},
}
SHAPES = {"full": (BATCH, 6, SIZE), "head": (BATCH, 6, 1), "fixed": (SIZE,)}


def loop(a, b, h0, reverse, mask, flags, initial):
    """(last state, all states) of a recurrence, one row and step at a time."""
    steps = b.shape[1]
    a, hs, last = np.broadcast_to(a, b.shape), np.empty_like(b), np.array(h0)
    for row in range(b.shape[0]):
        h = h0[row]
        for t in reversed(range(steps)) if reverse else range(steps):
            boundary = t + 1 if reverse else t
            if flags is not None and boundary < steps and flags[row, boundary]:
                h = initial[row]
            h = a[row, t] * h + b[row, t] if mask is None or mask[row, t] else h
            hs[row, t] = h
        last[row] = h
    return last, hs


def draw(kind, *shape, seed=0):
    random = np.random.default_rng([seed, *shape])
    real = random.normal(size=shape)
    return real + 1j * random.normal(size=shape) if kind == "complex" else real


def to_pair(value) -> Any:
    if np.iscomplexobj(value):
        return sj.linear.Complex(jnp.asarray(value.real), jnp.asarray(value.imag))
    return jnp.asarray(value)


def from_pair(value):
    if not isinstance(value, sj.linear.Complex):
        return value
    return np.asarray(value.real) + 1j * np.asarray(value.imag)


def case(kind="real", shape="full", steps=6, seed=0):
    """a, b, h0, what a reset returns to, a mask and flags, in NumPy."""
    a_shape = tuple(steps if n == 6 else n for n in SHAPES[shape])
    random = np.random.default_rng(seed)
    mask, flags = random.random((BATCH, steps)) < 0.6, random.random((BATCH, steps)) < 0.4
    a, b = draw(kind, *a_shape, seed=seed + 1), draw(kind, BATCH, steps, SIZE, seed=seed + 2)
    return a, b, *(draw(kind, BATCH, SIZE, seed=seed + n) for n in (3, 4)), mask, flags


@functools.partial(jax.jit, static_argnames=("reverse", "method", "chunk_size"))
def run(a, b, h0, mask, reset, **how):
    return sj.linear_scan(a, b, h0, mask=mask, reset=reset, **how)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_every_method_is_the_loop(kind, shape, method, x64):
    ways = [(0, "no"), (1, "h")] if shape != "head" else [(0, "0")]
    for reverse, (masked, restart) in itertools.product([False, True], ways):
        a, b, h0, initial, mask, flags = case(kind, shape, seed=7)
        mask, flags = mask if masked else None, None if restart == "no" else flags
        initial = initial if restart == "h" else 0 * initial
        own = {"initial": to_pair(initial)} if restart == "h" else {}
        how = {"reverse": reverse, **own, **METHODS[method]}
        got = run(*map(to_pair, (a, b, h0)), mask, flags, **how)
        expected = loop(a, b, h0, reverse, mask, flags, initial)
        for x, y in zip(map(from_pair, got), expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_any_number_of_steps(steps, method, x64):
    a, b, h0, initial, mask, flags = case(steps=steps)
    got = run(a, b, h0, mask, flags, **METHODS[method])
    expected = loop(a, b, h0, False, mask, flags, 0 * initial)
    chex.assert_trees_all_close(got, expected, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_steps_in_float32(method):
    random = np.random.default_rng(0)
    a = random.uniform(0.9, 1, size=(2, 1000, 4))
    b, h0 = random.normal(size=(2, 1000, 4)), random.normal(size=(2, 4))
    flags = random.random((2, 1000)) < 0.01
    how: Any = METHODS[method] if "chunk" not in method else {"method": "chunked"}
    got = run(*(jnp.asarray(x, jnp.float32) for x in (a, b, h0)), None, flags, **how)
    expected = loop(a, b, h0, False, None, flags, np.zeros((2, 4)))
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-5)


DIFFERENTIATED = [
    ("real", "full", False),
    ("real", "head", True),
    ("complex", "fixed", False),
    ("complex", "full", True),
]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "whole chunks"])
@pytest.mark.parametrize(("kind", "shape", "reverse"), DIFFERENTIATED)
def test_derivatives_in_both_modes(kind, shape, reverse, method, x64):
    """Forward mode against differences of the loop, reverse mode against forward mode."""
    *point, mask, flags = case(kind, shape, seed=7)
    *along, _, _ = case(kind, shape, seed=70)

    def states(a, b, h0, initial):
        how = {"mask": mask, "reset": flags, "initial": initial, **METHODS[method]}
        return sj.linear_scan(a, b, h0, reverse=reverse, **how)

    @jax.jit
    def both(point, along):
        forward = jax.jvp(states, point, along)[1]
        ones = jax.tree.map(jnp.ones_like, forward)
        backward = jax.vjp(states, *point)[1](ones)
        products = jax.tree.map(lambda g, d: jnp.sum(g * d), backward, along)
        return forward, sum(jax.tree.leaves(products))

    def shifted(size):
        a, b, h0, initial = (x + size * d for x, d in zip(point, along, strict=True))
        return loop(a, b, h0, reverse, mask, flags, initial)

    pairs = (tuple(map(to_pair, arrays)) for arrays in (point, along))
    forward, product = both(*pairs)
    total = 0.0
    for got, x, y in zip(map(from_pair, forward), shifted(1e-6), shifted(-1e-6), strict=True):
        expected = (x - y) / 2e-6
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
        total += np.sum(expected.real) + np.sum(np.imag(expected))
    np.testing.assert_allclose(product, total, rtol=1e-6)


@pytest.mark.parametrize("method", ["sequential", "associative", "chunked"])
def test_second_derivatives_of_any_kind_are_those_of_the_loop(method, x64):
    a, b, h0, *_, flags = case()

    def loss(run, a):
        return jnp.sum(jnp.sin(run(a, jnp.asarray(b), jnp.asarray(h0), reset=flags)[1]))

    def stepped(a, b, h0, reset):
        step = lambda h, ab: (ab[0] * h + ab[1],) * 2
        return sj.scan(step, h0, (a, b), reset=reset, initial=jnp.zeros_like(h0))

    ours, plain = (
        functools.partial(loss, f)
        for f in (functools.partial(sj.linear_scan, method=method), stepped)
    )
    expected = jax.jit(jax.hessian(plain))(jnp.asarray(a))
    for second in (jax.hessian(ours), jax.jacrev(jax.grad(ours)), jax.jacfwd(jax.jacfwd(ours))):
        np.testing.assert_allclose(jax.jit(second)(jnp.asarray(a)), expected, atol=1e-10)


@pytest.mark.parametrize("part", ["a", "b.real"])
def test_a_part_may_be_differentiated_alone(part, x64):
    a, b, h0, *_ = map(to_pair, case("complex"))

    def loss(x):
        first, second = (x, b) if part == "a" else (a, b._replace(real=x))
        return jnp.sum(sj.linear_scan(first, second, h0)[1].imag)

    point = a if part == "a" else b.real
    check_grads(loss, (point,), order=1, modes=("fwd", "rev"), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reverse", [False, True])
def test_what_stands_before_a_reset_reaches_nothing_behind_it(reverse, method, x64):
    a, b, h0, *_ = case()
    flags = np.zeros((BATCH, 6), bool)
    flags[:, 4] = True
    before, after = (slice(4, None), slice(0, 4)) if reverse else (slice(0, 4), slice(4, None))

    @jax.jit
    def behind(a, b):
        def loss(a, b):
            hs = sj.linear_scan(a, b, h0, reset=flags, reverse=reverse, **METHODS[method])[1]
            return jnp.sum(hs[:, after] ** 2)

        value, grads = jax.value_and_grad(loss, (0, 1))(a, b)
        return value, [grad[:, after] for grad in grads]

    expected = behind(a, b)
    for bad, argument in itertools.product([np.nan, np.inf], [0, 1]):
        dirty = [a.copy(), b.copy()]
        dirty[argument][:, before] = bad
        chex.assert_trees_all_close(behind(*dirty), expected, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_at_masked_steps_is_not_read(method, x64):
    a, b, h0, *_, mask, flags = case()

    @jax.jit
    def both(a, b):
        how = {"mask": mask, "reset": flags} | METHODS[method]
        loss = lambda a, b: jnp.sum(jnp.sin(sj.linear_scan(a, b, h0, **how)[1]))
        return jax.value_and_grad(loss, (0, 1))(a, b)

    dirty = [np.where(mask[..., None], x, np.nan) for x in (a, b)]
    got, expected = both(*dirty), both(a, b)
    chex.assert_trees_all_equal(got, expected)


@pytest.mark.parametrize("method", ["sequential", "associative", "chunked"])
def test_the_gradient_keeps_a_and_the_states_alone(method):
    """Two arrays [B, T, H], however long the sequence is."""
    a, b = jnp.ones((2, 64, 3)), jnp.ones((2, 64, 3))
    _, pull = jax.vjp(lambda a, b: sj.linear_scan(a, b, method=method)[1], a, b)
    sizes = [leaf.size for leaf in jax.tree.leaves(pull) if hasattr(leaf, "size")]
    assert a.size < sum(sizes) <= 2 * a.size + 8


@pytest.mark.parametrize("method", METHODS)
def test_a_state_is_summed_in_float32(method):
    """1 + 1/512 + 1/512 + ... stays at 1 in bfloat16."""
    b = jnp.full((1, 512, 1), 1 / 512, jnp.bfloat16).at[:, 0].set(1)
    how: Any = METHODS[method] if "chunk" not in method else {"method": "chunked"}
    last, hs = sj.linear_scan(jnp.ones(1, jnp.bfloat16), b, **how)
    assert hs.dtype == last.dtype == jnp.float32
    np.testing.assert_allclose(last, [[1 + 511 / 512]], rtol=1e-6)
    grad = jax.grad(lambda b: sj.linear_scan(jnp.ones(1, b.dtype), b, **how)[0][0, 0])(b)
    assert grad.dtype == jnp.bfloat16
    np.testing.assert_array_equal(grad.astype(jnp.float32), 1)


@pytest.mark.parametrize("method", ["sequential", "associative", "chunked", "auto"])
def test_vmap_is_a_loop(method, x64):
    stack = [case(seed=seed) for seed in range(2)]
    a, b, h0 = (jnp.stack([each[n] for each in stack]) for n in range(3))
    mapped = jax.vmap(lambda a, b: sj.linear_scan(a, b, h0[0], method=method))(a, b)
    for n in range(2):
        one = sj.linear_scan(a[n], b[n], h0[0], method=method)
        chex.assert_trees_all_close(jax.tree.map(lambda x: x[n], mapped), one, rtol=1e-12)  # noqa: B023


@pytest.mark.parametrize("method", ["sequential", "associative", "chunked", "auto"])
def test_inside_of_shard_map(method, x64):
    mesh, spec = jax.sharding.Mesh(jax.devices()[:1], ("rows",)), jax.sharding.PartitionSpec
    a, b, *_, flags = map(jnp.asarray, case("real", "fixed"))

    def local(a, b, flags):
        return sj.linear_scan(a, b, reset=flags, method=method)[1]

    rows = spec("rows")
    split = jax.shard_map(local, mesh=mesh, in_specs=(spec(), rows, rows), out_specs=rows)
    got, expected = (
        jax.jit(jax.value_and_grad(lambda a: jnp.sum(f(a, b, flags) ** 2)))(a)  # noqa: B023
        for f in (split, local)
    )
    chex.assert_trees_all_close(got, expected, rtol=1e-12)


def test_the_method_is_chosen_by_the_platform_alone():
    """On a CPU "auto" compiles to the loop that "sequential" is; elsewhere to the other."""
    a = jnp.ones((2, 8, 3))
    text = lambda platform, method: (
        jax.jit(lambda a: sj.linear_scan(a, a, method=method)[1])
        .trace(a)
        .lower(lowering_platforms=(platform,))
        .as_text()
    )
    assert "while" in text("cpu", "auto") and "while" in text("cpu", "sequential")
    assert "while" not in text("cuda", "auto") and "while" not in text("cuda", "associative")


def test_windows_skip_padding_and_begin_anew_at_resets():
    random = np.random.default_rng(0)
    window, initial = random.normal(size=(2, 3, 2, 1))
    xs, mask = random.normal(size=(3, 7, 1)), random.random((3, 7)) < 0.6
    flags = random.random((3, 7)) < 0.3
    for real, restart in ((mask, flags), (mask, None), (None, flags), (None, None)):
        given = jax.tree.map(jnp.asarray, (real, restart, initial))
        last, lags = push_all(jnp.asarray(window), jnp.asarray(xs), sj.core.Steps(*given))
        for row in range(3):
            now = jnp.asarray(window[row : row + 1])
            for t in range(7):
                if restart is not None and restart[row, t]:
                    now = jnp.asarray(initial[row : row + 1])
                if real is None or real[row, t]:
                    now, expected = push(now, jnp.asarray(xs[row : row + 1, t]))
                    for lag, each in zip(lags, expected, strict=True):
                        np.testing.assert_array_equal(lag[row, t], each[0])
            np.testing.assert_array_equal(last[row], now[0])
