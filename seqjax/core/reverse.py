"""Sequences back to front, each row within its own length."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.steps import Steps


def reverse_time(xs: Any, steps: Steps) -> tuple[Any, Steps, Callable[[Any], Any]]:
    """Turns rows so that a forward run over them is a backward run over the originals.

    A row ends at its last real step; what lies behind stays behind. A reset before step t of the
    forward order is a boundary between t - 1 and t, so that in the turned row it stands before
    the step that was t - 1.

    Args:
      xs: [B, T, ...] pytree.
      steps: of these inputs.

    Returns:
      The turned xs and steps, and a function that turns [B, T, ...] results back.
    """
    mask, reset = steps.mask, steps.reset
    if mask is None:
        turn = lambda tree: jax.tree.map(lambda a: jnp.flip(a, axis=1), tree)
    else:
        places = jnp.arange(mask.shape[1])
        ends = jnp.max(jnp.where(mask, places + 1, 0), axis=1, initial=0)[:, None]  # [B, 1]
        order = jnp.where(places < ends, ends - 1 - places, places)  # [B, T], its own inverse
        rows = jnp.arange(mask.shape[0])[:, None]
        turn = lambda tree: jax.tree.map(lambda a: a[rows, order], tree)
        reset = None if reset is None else reset & (places < ends)
    if reset is not None:
        # Flag t moves to the place of t - 1; that of step 0 bounds nothing.
        reset = jnp.concatenate([reset[:, 1:], jnp.zeros_like(reset[:, :1])], axis=1)
    return turn(xs), replace(steps, mask=turn(mask), reset=turn(reset)), turn
