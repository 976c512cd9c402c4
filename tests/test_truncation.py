"""Truncated backpropagation keeps exactly the terms whose two ends lie in one window."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

BATCH, LENGTH, INPUT = 2, 7, 2
CELLS = {"elman": sj.Elman(3), "lstm": sj.LSTM(3), "gru": sj.GRU(3)}


def draw(cell):
    params = cell.init(jax.random.key(0), INPUT)
    xs = jax.random.normal(jax.random.key(1), (BATCH, LENGTH, INPUT))
    weights = jax.random.normal(jax.random.key(2), (BATCH, LENGTH, 3))
    return params, xs, weights


@functools.partial(jax.jit, static_argnames="cell")
def terms(cell, params, xs, weights):
    """d loss_t / d (the copy of params used at step s), leaves [T, T, ...] by t and s."""
    copies = jax.tree.map(lambda a: jnp.broadcast_to(a, (LENGTH, *a.shape)), params)

    def losses(copies):
        step = lambda carry, pair: cell.step(pair[0], carry, pair[1])
        carry = cell.initial_carry(params, BATCH)
        _, ys = jax.lax.scan(step, carry, (copies, jnp.swapaxes(xs, 0, 1)))
        return jnp.sum(jnp.sin(ys) * jnp.swapaxes(weights, 0, 1), axis=(1, 2))

    return jax.jacfwd(losses)(copies)


@functools.partial(jax.jit, static_argnames=("cell", "truncate"))
def gradient(cell, params, xs, weights, truncate):
    def loss(params):
        ys = sj.unroll(cell, params, xs, truncate=truncate)[1]
        return jnp.sum(jnp.sin(ys) * weights), ys

    return jax.grad(loss, has_aux=True)(params)


@pytest.mark.parametrize("truncate", [1, 3, 4, LENGTH, LENGTH + 5])
@pytest.mark.parametrize("name", CELLS)
def test_gradient_is_the_sum_over_pairs_of_steps_in_one_window(name, truncate, x64):
    cell = CELLS[name]
    params, xs, weights = draw(cell)
    window = np.arange(LENGTH) // truncate
    together = jnp.asarray(window[:, None] == window[None, :])
    pick = lambda a: jnp.tensordot(together.astype(a.dtype), a, axes=2)
    expected = jax.tree.map(pick, terms(cell, params, xs, weights))
    grads, ys = gradient(cell, params, xs, weights, truncate)
    chex.assert_trees_all_close(grads, expected, rtol=1e-10, atol=1e-12)
    # Nothing is cut on the way forward: every window starts from the state before it.
    chex.assert_trees_all_close(ys, gradient(cell, params, xs, weights, None)[1], rtol=1e-12)


def test_what_is_left_out_is_not_nothing(x64):
    cell = CELLS["gru"]
    whole, cut = (gradient(cell, *draw(cell), truncate)[0] for truncate in (None, 3))
    assert max(float(jnp.abs(a - b).max()) for a, b in zip(whole, cut, strict=True)) > 1e-3
