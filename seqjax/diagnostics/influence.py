"""How much inputs k steps back count for a prediction."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax.core.products import accumulator
from seqjax.diagnostics.memory_length import memory_length


class ContextInfluence(NamedTuple):
    """What `context_influence` finds.

    Fields:
      influence: [K + 1], I(k) for k = 0..K; NaN at a lag that no position has.
      half_life: [], the lag after which I stays below half of its maximum; inf if it does not
        fall that far within K.
    """

    influence: jax.Array
    half_life: jax.Array


@own_ranks
def context_influence(
    log_probs: Callable[[jax.Array], jax.Array],
    xs: ArrayLike,
    *,
    max_lag: int | None = None,
    positions: ArrayLike | None = None,
) -> ContextInfluence:
    """Measures how much inputs count for a prediction, by their distance from it.

        I(k) = E ‖∂ log pₜ / ∂xₜ₋ₖ‖₂,   over rows and positions t >= k

    It shows how much of its context a model uses. Khandelwal, He, Qi and Jurafsky 2018 cut contexts
    off to see it; here it is a gradient: to first order, what a small change of one input does. For
    tokens, use their embeddings or one-hot vectors as xs.

    Each position costs one backward pass through all of xs. Influences under 1e-38 are 0 in
    float32; for states over thousands of steps see `gradient_flow`.

    Args:
      log_probs: a function from xs [B, T, ...] to [B, T]: at t, the log-probability of what
        follows xs[:, :t + 1], or any other number for each step. Rows must not see one another.
      xs: [B, T, ...] floats.
      max_lag: K, at most T - 1; None means T - 1.
      positions: [P] integers t in 0..T - 1 to average over; None means all of them.

    Returns:
      A `ContextInfluence`.

    Raises:
      ValueError: if xs is not floats [B, T, ...], log_probs does not return floats [B, T], max_lag
        is not in 0..T - 1, or positions are not integers [P] of 0..T - 1.

    Example:
      >>> def log_probs(xs):  # an average that forgets by half a step
      ...     step = lambda h, x: (0.5 * h + x[:, 0], 0.5 * h + x[:, 0])
      ...     return jax.lax.scan(step, jnp.zeros(xs.shape[0]), xs.swapaxes(0, 1))[1].T
      >>> found = context_influence(log_probs, jnp.ones((2, 8, 1)), max_lag=3)
      >>> print(found.influence, found.half_life)
      [1.    0.5   0.25  0.125] 1.0
    """
    xs = jnp.asarray(xs)
    checks.require(
        xs.ndim >= 2 and xs.size > 0 and checks.is_float(xs),
        f"xs is {xs.dtype}{list(xs.shape)}; expected floats [B, T, ...], such as embeddings.",
    )
    batch_size, length = xs.shape[:2]
    lags = _check_lag(max_lag, length)
    places = _check_positions(positions, length)
    values, pull = jax.vjp(log_probs, xs)
    checks.require(
        values.shape == (batch_size, length) and checks.is_float(values),
        f"log_probs returned {values.dtype}{list(values.shape)}; expected floats [B, T] = "
        f"{[batch_size, length]}.",
    )

    def at(t):
        """The mean norms of position t's gradient, lag by lag, and which lags exist: [K + 1]."""
        seed = jnp.zeros_like(values).at[:, t].set(1)
        norms = _norms(pull(seed)[0].reshape(batch_size, length, -1))
        source = t - jnp.arange(lags + 1, dtype=jnp.int32)
        return jnp.where(source >= 0, norms[:, source].mean(axis=0), 0), source >= 0

    sums, counts = jax.tree.map(lambda a: jnp.sum(a, axis=0), jax.lax.map(at, places))
    influence = jnp.where(counts > 0, sums / counts.astype(sums.dtype), jnp.nan)
    return ContextInfluence(influence, memory_length(jnp.log(influence), share=0.5))


def _norms(grads: jax.Array) -> jax.Array:
    """‖·‖₂ over the last axis, in at least float32, without squares that underflow."""
    grads = grads.astype(accumulator(grads.dtype))
    largest = jnp.max(jnp.abs(grads), axis=-1, keepdims=True)
    scaled = grads / jnp.where(largest == 0, 1, largest)
    return largest[..., 0] * jnp.sqrt(jnp.sum(scaled**2, axis=-1))


def _check_lag(max_lag: Any, length: int) -> int:
    if max_lag is None:
        return length - 1
    ok = isinstance(max_lag, int) and not isinstance(max_lag, bool) and 0 <= max_lag < length
    checks.require(
        ok, f"max_lag is {max_lag!r}; expected an integer of 0..T - 1 = {length - 1}, or None."
    )
    return max_lag


def _check_positions(positions: Any, length: int) -> jax.Array:
    if positions is None:
        return jnp.arange(length, dtype=jnp.int32)
    places = jnp.asarray(positions)
    checks.require(
        places.ndim == 1 and places.size > 0 and jnp.issubdtype(places.dtype, jnp.integer),
        f"positions is {places.dtype}{list(places.shape)}; expected at least one integer, [P].",
    )
    known = checks.concrete(places)
    checks.require(
        known is None or bool((known >= 0).all() and (known < length).all()),
        f"positions is {positions!r}; expected integers of 0..T - 1 = {length - 1}.",
    )
    return places.astype(jnp.int32)
