"""Truncated backpropagation keeps exactly the terms whose two ends lie in one window."""

import functools
from typing import Any

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


def windowed_loss(params, carry, batch, key):
    """Of one window, with noise in its key."""
    xs, weights = batch
    noise = jax.random.normal(key, weights.shape[2:])
    carry, ys = sj.unroll(CELLS["lstm"], params, xs, carry=carry)
    return jnp.sum(jnp.sin(ys) * weights + noise * ys), carry


@pytest.mark.parametrize("window", [1, 3, LENGTH, LENGTH + 5])
def test_windows_add_up_to_a_loop_over_them(window, x64):
    cell, key = CELLS["lstm"], jax.random.key(3)
    params, xs, weights = draw(cell)
    carry = jax.tree.map(lambda a: a + 0.3, cell.initial_carry(params, BATCH))
    run = jax.jit(sj.truncated_value_and_grad(windowed_loss, window))
    (loss, last), grads = run(params, carry, (xs, weights), key)
    total, summed = 0.0, jax.tree.map(jnp.zeros_like, params)
    for n in range(-(-LENGTH // window)):
        part = jax.tree.map(lambda a, n=n: a[:, n * window : (n + 1) * window], (xs, weights))
        value_and_grad = jax.value_and_grad(windowed_loss, has_aux=True)
        (one, carry), grad = value_and_grad(params, carry, part, jax.random.fold_in(key, n))
        total, summed = total + one, jax.tree.map(jnp.add, summed, grad)
    chex.assert_trees_all_close((loss, last, grads), (total, carry, summed), rtol=1e-12)


@pytest.mark.parametrize("window", [3, 4])
def test_windows_give_the_gradient_of_a_truncated_unroll(window, x64):
    cell = CELLS["gru"]
    params, xs, weights = draw(cell)

    def loss_fn(params, carry, batch, key):
        carry, ys = sj.unroll(cell, params, batch[0], carry=carry)
        return jnp.sum(jnp.sin(ys) * batch[1]), carry

    run = jax.jit(sj.truncated_value_and_grad(loss_fn, window))
    _, grads = run(params, cell.initial_carry(params, BATCH), (xs, weights))
    expected = gradient(cell, params, xs, weights, window)[0]
    chex.assert_trees_all_close(grads, expected, rtol=1e-10, atol=1e-13)


def test_memory_of_windows_does_not_grow_with_time():
    cell = sj.LSTM(8)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 4))
    shape = lambda *size: jax.ShapeDtypeStruct(size, jnp.float32)

    def loss_fn(params, carry, xs, key):
        carry, ys = sj.unroll(cell, params, xs, carry=carry)
        return jnp.sum(ys**2), carry

    def temporaries(length):
        run = jax.jit(sj.truncated_value_and_grad(loss_fn, 50))
        carry = jax.eval_shape(lambda p: cell.initial_carry(p, 4), params)
        compiled: Any = run.lower(params, carry, shape(4, length, 4)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    short, long = temporaries(1000), temporaries(16_000)
    assert short > 0 and abs(long / short - 1) < 0.05


@pytest.mark.parametrize(
    "batch", [jnp.ones(3), (jnp.ones((2, 5)), jnp.ones((2, 6))), jnp.ones((2, 0)), ()]
)
def test_a_batch_without_one_time_axis_is_refused(batch):
    run = sj.truncated_value_and_grad(lambda params, carry, xs, key: (jnp.sum(xs), carry), 2)
    with pytest.raises(ValueError, match=r"batch has leaves of shapes .*; expected \[B, T, ...\]"):
        run(jnp.ones(()), (), batch)
