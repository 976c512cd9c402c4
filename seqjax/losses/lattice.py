"""Sums over the paths of a lattice of frames and labels, one diagonal at a time."""

import jax
import jax.numpy as jnp

from seqjax._internal import trees
from seqjax.losses.log_numbers import LOG_ZERO, Log, log_sum


def lattice_log_prob(
    blanks: jax.Array, emits: jax.Array, lengths: jax.Array, label_lengths: jax.Array
) -> jax.Array:
    """log of the sum over paths from (0, 0) to (lengths, label_lengths) of their probabilities.

        α(t, u) = α(t - 1, u) blank(t - 1, u) + α(t, u - 1) emit(t, u - 1)

    All nodes of a diagonal t + u are found at once from those of the one before. The derivative by
    each edge is its posterior probability, equations 16 to 20 of Graves 2012. The memory is that of
    a few arrays [B, T + U, U + 1].

    Args:
      blanks: [B, T, U + 1] log-probabilities of the edge from (t, u) to (t + 1, u), -inf for none.
      emits: [B, T, U + 1], of the edge to (t, u + 1), -inf in the last column and for none.
      lengths: [B] int32, label_lengths: [B] int32, where paths end.

    Returns:
      [B]; -inf, with zero gradient, where no path arrives.
    """
    size = blanks.shape[2]
    diagonals = jnp.arange(1, blanks.shape[1] + size, dtype=jnp.int32)
    inside = diagonals[:, None] <= (lengths + label_lengths)[None]  # [N, B]
    first = jnp.zeros((blanks.shape[0], size), bool).at[:, 0].set(True)
    start = Log.one_where(first, blanks.dtype)

    def step(alpha: Log, inputs):
        blank, emit, inside = inputs
        new = log_sum(alpha.times(blank), alpha.times(emit).earlier(1))
        return new.where(inside[:, None], alpha), None

    start = trees.vary_like(start, (blanks, emits, inside))
    step = jax.checkpoint(step, prevent_cse=False)  # only α is stored at every step
    alpha, _ = jax.lax.scan(step, start, (skew(blanks), skew(emits), inside))
    total = alpha.take(label_lengths).value
    return jnp.where(total < LOG_ZERO / 2, -jnp.inf, total)


def skew(x: jax.Array) -> jax.Array:
    """x [B, T, U + 1] by diagonals: [T + U, B, U + 1] n, u from (n - u, u), log 0 elsewhere."""
    batch, steps, size = x.shape
    wide = jnp.pad(
        jnp.swapaxes(x, 1, 2), ((0, 0), (0, 0), (0, size)), constant_values=LOG_ZERO
    )  # [B, U + 1, T + U + 1]
    # One column fewer a row, over the same numbers, moves row u by u places.
    flat = wide.reshape(batch, -1)[:, : size * (steps + size - 1)]
    return jnp.moveaxis(flat.reshape(batch, size, steps + size - 1), 2, 0)
