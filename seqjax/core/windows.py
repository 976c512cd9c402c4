"""Time in windows of K steps: run one after the other, and where gradients are cut."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.scan import strong


def cut_flags(xs: Any, mask: jax.Array | None, size: int) -> jax.Array:
    """Where no gradient flows from a step to the one before it, [B, T] bool.

    Those are the first steps of all windows but the first one. A row whose window is all padding
    is left alone: it holds its carry, and the gradient of a final carry must reach the row's last
    real window however much padding follows.
    """
    batch_size, length = jax.tree.leaves(xs)[0].shape[:2]
    real = jnp.ones((batch_size, length), bool) if mask is None else mask
    real = jnp.pad(real, ((0, 0), (0, -length % size)))
    rows = jnp.any(_windows(real, real.shape[1] // size), axis=2)  # [B, windows]
    steps = jnp.arange(length)
    return rows[:, steps // size] & (steps > 0) & (steps % size == 0)


def split_time(block: Callable, size: int) -> Callable:
    """Runs a block over windows of `size` steps, the last one shorter where it must be."""

    def run_all(shared, carry, inputs):
        length = jax.tree.leaves(inputs)[0].shape[1]
        count, rest = divmod(length, size)
        if count == 0 or length == size:
            return block(shared, carry, inputs)
        window = functools.partial(block, shared)
        split = lambda a: jnp.moveaxis(_windows(a[:, : count * size], count), 1, 0)
        carry, ys = jax.lax.scan(window, strong(carry), jax.tree.map(split, inputs))
        ys = jax.tree.map(lambda a: _merge(jnp.moveaxis(a, 0, 1)), ys)
        if rest:
            carry, last = window(carry, jax.tree.map(lambda a: a[:, count * size :], inputs))
            ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), ys, last)
        return carry, ys

    return run_all


def _windows(a: jax.Array, count: int) -> jax.Array:
    return a.reshape(a.shape[0], count, a.shape[1] // count, *a.shape[2:])  # [B, n, K, ...]


def _merge(a: jax.Array) -> jax.Array:
    return a.reshape(a.shape[0], a.shape[1] * a.shape[2], *a.shape[3:])  # [B, n * K, ...]
