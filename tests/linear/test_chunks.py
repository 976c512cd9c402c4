"""Chunks of steps: equal to steps at every size, exact at resets, clean of what is not finite."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.run import run_steps
from seqjax.linear.chunks import log_decays, solve_unit_triangular

BATCH, LENGTH, INPUT = 2, 11, 3
CELLS: dict[str, Any] = {
    "linear_attention": sj.linear.LinearAttention(4, heads=2, key_size=3),
    "delta_net": sj.linear.DeltaNet(4, heads=2, key_size=3),
    "gated_delta_net": sj.linear.DeltaNet(4, key_size=3, gated=True, negative_eigenvalues=True),
    "mlstm": sj.linear.MLSTM(4, heads=2, key_size=3),
    "mlstm_exponential": sj.linear.MLSTM(
        4, key_size=3, forget_gate="exponential", forget_bias=(-1, -1)
    ),
}


def make_case(cell, dtype=jnp.float64):
    """params, carry, xs, mask, reset flags and what they return to: none of them its default."""
    random = np.random.default_rng(0)
    draw = lambda a: jnp.asarray(a + 0.4 * random.normal(size=a.shape), dtype)
    params = jax.tree.map(draw, cell.init(jax.random.key(0), INPUT))
    carry = jax.tree.map(lambda a: jnp.abs(draw(a)), cell.initial_carry(params, BATCH))
    initial = jax.tree.map(lambda a: jnp.abs(draw(a)), carry)
    xs = draw(np.zeros((BATCH, LENGTH, INPUT)))
    mask = jnp.asarray(random.random((BATCH, LENGTH)) < 0.8)
    flags = jnp.zeros((BATCH, LENGTH), bool).at[0, [3, 4, 8]].set(True).at[1, 0].set(True)
    return params, carry, xs, mask, flags, initial


def results(run, cell, params, carry, xs, mask, flags, initial):
    steps = sj.core.Steps(mask, flags, None if flags is None else initial)
    return run(cell, params, carry, xs, steps)


def in_chunks(cell, params, carry, xs, steps):
    return cell.unroll(params, carry, xs, steps)


@functools.partial(jax.jit, static_argnames=("run", "cell"))
def values_and_gradients(run, cell, params, carry, xs, mask, flags, initial):
    def loss(params, carry, xs, initial):
        found = results(run, cell, params, carry, xs, mask, flags, initial)
        return sum(jnp.sum(jnp.sin(1.0 + leaf)) for leaf in jax.tree.leaves(found)), found

    grads, found = jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True)(params, carry, xs, initial)
    return found, grads


def assert_close(got, expected, tolerance):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["delta_net", "gated_delta_net", "mlstm"])
def test_chunks_are_steps_in_values_and_gradients(name, x64):
    cell = CELLS[name]
    case = make_case(cell)
    expected = values_and_gradients(run_steps, cell, *case)
    for size in (1, 4):
        got = values_and_gradients(in_chunks, replace(cell, chunk_size=size), *case)
        assert_close(got, expected, 1e-10)


@functools.partial(jax.jit, static_argnames=("run", "cell"))
def values(run, cell, *case):
    return results(run, cell, *case)


@pytest.mark.parametrize("name", CELLS)
def test_every_chunk_size_gives_the_same(name, x64):
    cell = CELLS[name]
    case = make_case(cell)
    expected = values(run_steps, cell, *case)
    for size in (2, 5, 64):
        assert_close(values(in_chunks, replace(cell, chunk_size=size), *case), expected, 1e-10)
    plain = (*case[:3], None, None, None)
    assert_close(values(in_chunks, cell, *plain), values(run_steps, cell, *plain), 1e-10)


@pytest.mark.parametrize("name", CELLS)
def test_chunks_are_steps_in_float32(name):
    cell = CELLS[name]
    params, carry, _, _, _, initial = make_case(cell, jnp.float32)
    random = np.random.default_rng(1)
    xs = jnp.asarray(random.normal(size=(BATCH, 200, INPUT)), jnp.float32)
    flags = jnp.asarray(random.random((BATCH, 200)) < 0.02)
    case = params, carry, xs, random.random((BATCH, 200)) < 0.9, flags, initial
    assert_close(values(in_chunks, cell, *case), values(run_steps, cell, *case), 1e-4)


@pytest.mark.parametrize("name", ["gated_delta_net", "mlstm"])
def test_the_shortest_sequences(name, x64):
    cell = CELLS[name]
    params, carry, xs, *_ = make_case(cell)
    for length in (0, 1):
        part = (params, carry, xs[:, :length], None, None, None)
        got, expected = values(in_chunks, cell, *part), values(run_steps, cell, *part)
        assert got[1].shape == (BATCH, length, 4)
        assert_close(got, expected, 1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["linear_attention", "gated_delta_net", "mlstm"])
def test_what_is_not_finite_ends_at_a_reset_and_reaches_no_earlier_step(name, bad):
    """All in one chunk, whose products of matrices would spread it."""
    cell = CELLS[name]
    params, carry, xs, _, _, initial = make_case(cell, jnp.float32)
    flags = jnp.zeros((BATCH, LENGTH), bool).at[0, 6].set(True)
    spoilt = xs.at[0, 4, 1].set(bad)
    carry, ys = values(in_chunks, cell, params, carry, spoilt, None, flags, initial)
    _, clean = values(in_chunks, cell, *make_case(cell, jnp.float32)[:3], None, flags, initial)
    nans = np.isnan(ys).any(-1)
    np.testing.assert_array_equal(nans[0], [4 <= t < 6 for t in range(LENGTH)])
    np.testing.assert_array_equal(np.asarray(ys)[~nans], np.asarray(clean)[~nans])
    assert not nans[1].any() and all(np.isfinite(a).all() for a in jax.tree.leaves(carry))
    carry, ys = values(in_chunks, cell, params, carry, spoilt, None, None, None)
    np.testing.assert_array_equal(np.isnan(ys).any(-1)[0], np.arange(LENGTH) >= 4)
    for leaf in jax.tree.leaves(carry):
        assert np.isnan(leaf[0]).all() and np.isfinite(leaf[1]).all()


@pytest.mark.parametrize("name", ["linear_attention", "delta_net", "mlstm"])
def test_a_lost_carry_ends_at_a_reset(name):
    cell = CELLS[name]
    params, carry, xs, _, _, initial = make_case(cell, jnp.float32)
    flags = jnp.zeros((BATCH, LENGTH), bool).at[0, 2].set(True)
    lost = jax.tree.map(lambda a: a.at[0].set(jnp.nan), carry)
    after, ys = values(in_chunks, cell, params, lost, xs, None, flags, initial)
    _, clean = values(in_chunks, cell, params, carry, xs, None, flags, initial)
    np.testing.assert_array_equal(np.isnan(ys).any(-1)[0], np.arange(LENGTH) < 2)
    np.testing.assert_array_equal(ys[0, 2:], clean[0, 2:])
    np.testing.assert_array_equal(ys[1], clean[1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


def test_padding_that_is_not_finite_is_only_padding():
    cell = CELLS["mlstm"]
    params, carry, xs, _, _, _ = make_case(cell, jnp.float32)
    mask = jnp.ones((BATCH, LENGTH), bool).at[0, 4].set(False)
    case = lambda xs: (params, carry, xs, mask, None, None)
    dirty = values(in_chunks, cell, *case(xs.at[0, 4].set(jnp.nan)))
    clean = values(in_chunks, cell, *case(xs))
    for a, b in zip(jax.tree.leaves(dirty), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(a, b)


def test_small_decays_are_not_lost_behind_a_large_one():
    """In float32 a difference of running sums would be off by 0.5 of 1e7 here."""
    log_decay = jnp.array([0.1, 1e7, 0.2, 0.3]) * -1
    between, since = log_decays(log_decay, None)
    np.testing.assert_allclose(between[3, 1], -0.5, rtol=1e-6)
    np.testing.assert_allclose(between[2], [-1e7, -0.2, 0, -np.inf], rtol=1e-6)
    np.testing.assert_allclose(since, [-0.1, -1e7, -1e7, -1e7], rtol=1e-6)
    cut, since = log_decays(log_decay, jnp.array([False, False, True, False]))
    np.testing.assert_allclose(cut[3], [-np.inf, -np.inf, -0.3, 0], rtol=1e-6)
    np.testing.assert_allclose(since, [-0.1, -1e7, -np.inf, -np.inf], rtol=1e-6)


def test_the_triangular_solve_is_that_of_lapack_with_its_gradients(x64):
    a = jax.random.normal(jax.random.key(0), (2, 3, 5, 5))
    b = jax.random.normal(jax.random.key(1), (2, 3, 5, 4))
    lapack = functools.partial(
        jax.lax.linalg.triangular_solve, left_side=True, lower=True, unit_diagonal=True
    )

    def everything(solve):
        slope = jax.grad(lambda a, b: jnp.sum(jnp.sin(solve(a, b))), (0, 1))
        bend = jax.grad(lambda a, b: jnp.sum(jnp.cos(slope(a, b)[0])), (0, 1))
        return (
            solve(a, b),
            slope(a, b),
            bend(a, b),
            jax.jvp(solve, (a, b), (jnp.cos(a), jnp.cos(b))),
        )

    found, expected = (
        jax.jit(everything, static_argnums=0)(s) for s in (solve_unit_triangular, lapack)
    )
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9), found, expected
    )
