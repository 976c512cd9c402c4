"""Sums over the paths of a lattice of frames and labels, one diagonal at a time."""

import jax
import jax.numpy as jnp

from seqjax._internal import trees


def lattice_log_prob(blanks, emits, lengths, label_lengths) -> jax.Array:
    """log of the sum over paths from (0, 0) to (lengths, label_lengths) of their probabilities.

        α(t, u) = α(t - 1, u) blank(t - 1, u) + α(t, u - 1) emit(t, u - 1)

    All nodes of a diagonal t + u are found at once from those of the one before. Equations 16 to
    20 of Graves 2012; the derivative by each edge is its posterior probability. The memory is that
    of a few arrays [B, T + U, U + 1].

    Args:
      blanks: [B, T, U + 1] log-probabilities of the edge from (t, u) to (t + 1, u), -inf for none.
      emits: [B, T, U + 1], of the edge to (t, u + 1), -inf in the last column and for none.
      lengths: [B] int32, label_lengths: [B] int32, where paths end.

    Returns:
      [B]; -inf, with zero gradient, where no path arrives.
    """
    size = blanks.shape[2]
    diagonals = jnp.arange(blanks.shape[1] + size, dtype=jnp.int32)
    ends = (diagonals[:, None] == lengths + label_lengths)[..., None] & (
        jnp.arange(size, dtype=jnp.int32) == label_lengths[:, None]
    )  # [N + 1, B, U + 1]
    return _total(skew(blanks), skew(emits), ends)


def skew(x: jax.Array) -> jax.Array:
    """x [B, T, U + 1] by diagonals: [T + U, B, U + 1] with n, u from (n - u, u), -inf elsewhere."""
    batch, steps, size = x.shape
    wide = jnp.pad(
        jnp.swapaxes(x, 1, 2), ((0, 0), (0, 0), (0, size)), constant_values=-jnp.inf
    )  # [B, U + 1, T + U + 1]
    # One column fewer a row, over the same numbers, moves row u by u places.
    flat = wide.reshape(batch, -1)[:, : size * (steps + size - 1)]
    return jnp.moveaxis(flat.reshape(batch, size, steps + size - 1), 2, 0)


@jax.custom_jvp
def _total(blanks, emits, ends) -> jax.Array:
    return _arrived(_forward(blanks, emits), ends)


@_total.defjvp
def _total_jvp(primals, tangents):
    blanks, emits, ends = primals
    forward, backward = _forward(blanks, emits), _backward(blanks, emits, ends)
    total = _arrived(forward, ends)
    # Where nothing arrives, every path is -inf already, and -inf - -inf would be NaN.
    reached = jnp.where(total == -jnp.inf, 0, total)[:, None]
    stay = jnp.exp(forward[:-1] + blanks + backward[1:] - reached)
    move = jnp.exp(forward[:-1] + emits + _next(backward[1:]) - reached)
    change = jnp.sum(stay * tangents[0] + move * tangents[1], axis=(0, 2))
    return total, change


def _arrived(forward: jax.Array, ends: jax.Array) -> jax.Array:
    """The one node of forward [N + 1, B, U + 1] in each row that is an end."""
    return jnp.max(jnp.where(ends, forward, -jnp.inf), axis=(0, 2))


def _forward(blanks: jax.Array, emits: jax.Array) -> jax.Array:
    """log α of all diagonals [N + 1, B, U + 1]."""
    start = jnp.full_like(blanks, -jnp.inf, shape=blanks.shape[1:]).at[:, 0].set(0)
    start = trees.vary_like(start, blanks)

    def step(alpha, edges):
        blank, emit = edges
        alpha = jnp.logaddexp(alpha + blank, _previous(alpha + emit))
        return alpha, alpha

    _, after = jax.lax.scan(step, start, (blanks, emits))
    return jnp.concatenate([start[None], after])


def _backward(blanks: jax.Array, emits: jax.Array, ends: jax.Array) -> jax.Array:
    """log β of all diagonals [N + 1, B, U + 1], the sum over paths from a node to the end."""
    done = jnp.where(ends, 0, jnp.full_like(blanks, -jnp.inf, shape=ends.shape))

    def step(beta, inputs):
        blank, emit, end = inputs
        beta = jnp.logaddexp(jnp.logaddexp(blank + beta, emit + _next(beta)), end)
        return beta, beta

    done = trees.vary_like(done, (blanks, ends))
    _, before = jax.lax.scan(step, done[-1], (blanks, emits, done[:-1]), reverse=True)
    return jnp.concatenate([before, done[-1:]])


def _previous(x: jax.Array) -> jax.Array:
    """x [..., U + 1] at u - 1, -inf at u = 0."""
    return jnp.concatenate([jnp.full_like(x[..., :1], -jnp.inf), x[..., :-1]], axis=-1)


def _next(x: jax.Array) -> jax.Array:
    """x [..., U + 1] at u + 1, -inf at u = U."""
    return jnp.concatenate([x[..., 1:], jnp.full_like(x[..., :1], -jnp.inf)], axis=-1)
