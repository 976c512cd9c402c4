"""Sequences back to front, each row within its own length."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def reverse_time(
    xs: Any, mask: jax.Array | None, reset: jax.Array | None
) -> tuple[Any, jax.Array | None, jax.Array | None, Callable[[Any], Any]]:
    """Turns rows so that a forward run over them is a backward run over the originals.

    A row ends at its last real step; what lies behind stays behind. A reset before step t of the
    forward order is a boundary between t - 1 and t, so that in the turned row it stands before
    the step that was t - 1.

    Args:
      xs: [B, T, ...] pytree.
      mask: [B, T] bool or None.
      reset: [B, T] bool or None.

    Returns:
      The turned xs, mask and reset, and a function that turns [B, T, ...] results back.
    """
    if mask is None:
        turn = lambda tree: jax.tree.map(lambda a: jnp.flip(a, axis=1), tree)
        return turn(xs), None, _turn_reset(turn, reset), turn
    steps = jnp.arange(mask.shape[1])
    ends = jnp.max(jnp.where(mask, steps + 1, 0), axis=1, initial=0)[:, None]  # [B, 1]
    order = jnp.where(steps < ends, ends - 1 - steps, steps)  # [B, T], its own inverse
    rows = jnp.arange(mask.shape[0])[:, None]
    turn = lambda tree: jax.tree.map(lambda a: a[rows, order], tree)
    return turn(xs), mask[rows, order], _turn_reset(turn, reset, steps < ends), turn


def _turn_reset(turn: Callable, reset: jax.Array | None, within: jax.Array | None = None):
    if reset is None:
        return None
    if within is not None:
        reset = reset & within
    # Flag t moves to the place of t - 1; that of step 0 bounds nothing.
    return turn(jnp.concatenate([reset[:, 1:], jnp.zeros_like(reset[:, :1])], axis=1))
