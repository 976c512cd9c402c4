"""Temperature and truncation: from processed logits to the law that is drawn from.

Each truncation is a pure function on logits [N, V] that sets what it removes to -inf. Settings are
scalars or one number a row [N]; all but a static top-k may be traced.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqjax._checks import concrete, require


class Law(NamedTuple):
    """The settings of a draw: numbers, arrays [N], or None for an unused truncation."""

    temperature: Any
    top_k: Any
    top_p: Any
    min_p: Any

    def apply(self, logits: jax.Array) -> jax.Array:
        """Logits [N, V] of the law to draw from; where the temperature is 0 they are not used."""
        logits = _temper(logits, self.temperature)
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
        return logits


def is_cold(temperature: Any, dtype: Any) -> jax.Array:
    """Whether a temperature is 0; a subnormal counts as 0 because devices may flush it."""
    return jnp.asarray(temperature, dtype) < jnp.finfo(dtype).tiny


def keep_top_k(logits: jax.Array, k: Any) -> jax.Array:
    """Keeps the k largest logits of each row: exactly k, of equal ones the lowest ids."""
    if isinstance(k, int):
        _, order = lax.top_k(logits, k)  # [N, k]
        return _keep(logits, order, jnp.ones(order.shape, bool))
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
    ranks = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    return _keep(logits, order, jnp.broadcast_to(ranks < _column(k, jnp.int32), order.shape))


def keep_top_p(logits: jax.Array, p: Any) -> jax.Array:
    """Keeps the most probable tokens up to the one whose sum reaches p, at least one.

    A token stays while the probability of those before it is below p (an exclusive sum); of equal
    tokens the lowest ids come first. p = 1 keeps everything.

    References:
      Holtzman et al., The Curious Case of Neural Text Degeneration, 2020, equation 2.
    """
    p = _column(p, logits.dtype)
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)  # [N, V]
    probs = jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1), axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs
    kept = (before < p) | (p >= 1)  # rounding may lift `before` to 1 ahead of the tail
    return _keep(logits, order, kept.at[:, 0].set(True))


def keep_min_p(logits: jax.Array, p: Any) -> jax.Array:
    """Keeps the tokens at least p times as probable as the most probable one.

    References:
      Nguyen et al., Turning Up the Heat: Min-p Sampling, 2024.
    """
    floor = jnp.max(logits, axis=-1, keepdims=True) + jnp.log(_column(p, logits.dtype))
    return jnp.where(logits < floor, -jnp.inf, logits)


def _temper(logits: jax.Array, temperature: Any) -> jax.Array:
    cold = is_cold(temperature, logits.dtype)
    divisor = jnp.where(cold, 1, jnp.asarray(temperature, logits.dtype))
    # Shifted first, so that a tiny temperature sends all but the largest to -inf and none to +inf.
    return (logits - jnp.max(logits, axis=-1, keepdims=True)) / _column(divisor, logits.dtype)


def _keep(logits: jax.Array, order: jax.Array, kept: jax.Array) -> jax.Array:
    """Keeps the tokens order [N, R] where kept [N, R] is True."""
    rows = jnp.arange(logits.shape[0], dtype=jnp.int32)[:, None]
    mask = jnp.zeros(logits.shape, bool).at[rows, order].set(kept)  # [N, V]
    return jnp.where(mask, logits, -jnp.inf)


def _column(value: Any, dtype: Any) -> jax.Array:
    """A scalar as [1, 1] or one number a row as [N, 1]."""
    return jnp.asarray(value, dtype).reshape(-1, 1)


def check_law(law: Law, batch: int, vocab_size: int) -> Law:
    """Checks the settings where their values are known; a single integer top_k becomes static."""
    _check("temperature", law.temperature, batch, lambda t: (t >= 0) & np.isfinite(t), ">= 0")
    _check("top_p", law.top_p, batch, lambda p: (p > 0) & (p <= 1), "in (0, 1]")
    _check("min_p", law.min_p, batch, lambda p: (p >= 0) & (p <= 1), "in [0, 1]")
    k = law.top_k
    require(
        k is None or jnp.issubdtype(jnp.asarray(k).dtype, jnp.integer),
        f"top_k is {k!r}; expected an integer, or integers [B].",
    )
    in_range = lambda k: (k >= 1) & (k <= vocab_size)
    _check("top_k", k, batch, in_range, f"in 1..{vocab_size}, the vocabulary size")
    known = None if k is None else concrete(k)
    return law._replace(top_k=int(known)) if known is not None and known.ndim == 0 else law


def _check(name: str, value: Any, batch: int, valid: Callable, expected: str) -> None:
    if value is None:
        return
    require(
        np.shape(value) in ((), (batch,)),
        f"{name} has shape {np.shape(value)}; expected a single number or one a row, [B] = "
        f"({batch},).",
    )
    known = concrete(value)
    require(
        known is None or bool(np.all(valid(known))),
        f"{name} is {value!r}; expected {name} {expected}.",
    )
