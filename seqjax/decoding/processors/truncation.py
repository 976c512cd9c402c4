"""Temperature and truncation: from processed logits to the law that is drawn from.

The order is temperature, top-k, top-p, min-p, typical, eta, each on what the one before left and
renormalised. Each truncation is a pure function on logits [N, V] that sets what it removes to
-inf. Settings are scalars or one number a row [N]; all but a static top-k may be traced.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqjax._internal.checks import concrete, require
from seqjax.decoding.engine.logits import column


@final
@dataclass(frozen=True)
class Truncation:
    """A processor that tempers and truncates as `sample` does, in the same order.

        logits' = eta(typical(min_p(top_p(top_k(logits / temperature)))))

    For beam search and other decoders; and for another order, in a list of several. In `sample`
    the last processor Truncation(...) and the arguments of the same names draw alike.

    Args:
      temperature: >= 0; 0 leaves the argmax alone, ties to the lowest id. All settings are
        numbers or traced scalars, or [N], one a row of the logits [N, V].
      top_k: keep the k most probable tokens, exactly k, ties to the lowest ids; 1..V.
      top_p: keep the most probable tokens until their sum reaches p, at least one; in (0, 1].
      min_p: keep tokens at least min_p times as probable as the best one; in [0, 1].
      typical_p: keep the tokens whose information -log p is nearest to the entropy until their sum
        reaches typical_p, at least one; in (0, 1].
      eta_cutoff: keep tokens more probable than min(ε, √ε exp(-H)) with ε = eta_cutoff and H the
        entropy in nats, and the best one; in [0, 1).

    Raises:
      ValueError: when called, for a setting out of range or of a shape that does not fit.

    Example:
      >>> logits = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
      >>> first = Truncation(temperature=2.0, top_p=0.45)(logits)
      >>> then = Truncation(temperature=2.0)(Truncation(top_p=0.45)(logits))
      >>> jnp.isfinite(first).tolist(), jnp.isfinite(then).tolist()
      ([[True, True, False]], [[True, False, False]])

    References:
      Fan, Lewis and Dauphin, Hierarchical Neural Story Generation, 2018, for top-k. Holtzman et
      al., The Curious Case of Neural Text Degeneration, 2020, for top-p. Nguyen et al., Turning Up
      the Heat: Min-p Sampling, 2024. Meister et al., Locally Typical Sampling, 2023. Hewitt,
      Manning and Liang, Truncation Sampling as Language Model Desmoothing, 2022, for eta.
    """

    temperature: Any = 1.0
    top_k: Any = None
    top_p: Any = None
    min_p: Any = None
    typical_p: Any = None
    eta_cutoff: Any = None

    def __call__(self, logits: jax.Array, tokens: Any = None, length: Any = None) -> jax.Array:
        """The truncated logits [N, V], not normalised; the tokens so far do not matter."""
        law = Law(*(getattr(self, field.name) for field in fields(self)))
        return check_law(law, *logits.shape).apply(logits)


class Law(NamedTuple):
    """The settings of a draw: numbers, arrays [N], or None for an unused truncation."""

    temperature: Any = 1.0
    top_k: Any = None
    top_p: Any = None
    min_p: Any = None
    typical_p: Any = None
    eta_cutoff: Any = None

    def apply(self, logits: jax.Array) -> jax.Array:
        """Logits [N, V] of the law to draw from, not normalised; where T is 0, of its argmax."""
        if self.is_greedy:
            return _greedy(logits)
        kept = _temper(logits, self.temperature)
        for keep, setting in zip(_TRUNCATIONS, self[1:], strict=True):
            kept = kept if setting is None else keep(kept, setting)
        if isinstance(self.temperature, (int, float)):
            return kept
        return jnp.where(
            column(is_cold(self.temperature, logits.dtype), bool), _greedy(logits), kept
        )

    @property
    def is_greedy(self) -> bool:
        """Whether the temperature is known to be 0 when traced: no noise, no sort."""
        known = isinstance(self.temperature, (int, float))
        return known and self.temperature < np.finfo(np.float32).tiny

    def repeat(self, times: int) -> "Law":
        """The settings of B rows for their B * times copies, a row's side by side."""
        one = lambda x: jnp.repeat(jnp.asarray(x), times, axis=0) if np.ndim(x) else x
        return Law(*(None if setting is None else one(setting) for setting in self))


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
    return _keep(logits, order, jnp.broadcast_to(ranks < column(k, jnp.int32), order.shape))


def keep_top_p(logits: jax.Array, p: Any) -> jax.Array:
    """Keeps the most probable tokens up to the one whose sum reaches p, at least one.

    A token stays while the probability of those before it is below p (an exclusive sum); of equal
    tokens the lowest ids come first. p = 1 keeps everything.

    References:
      Holtzman et al., The Curious Case of Neural Text Degeneration, 2020, equation 2.
    """
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)  # [N, V]
    return _keep_first(logits, jax.nn.softmax(logits, axis=-1), order, p)


def keep_min_p(logits: jax.Array, p: Any) -> jax.Array:
    """Keeps the tokens at least p times as probable as the most probable one.

    References:
      Nguyen et al., Turning Up the Heat: Min-p Sampling, 2024.
    """
    floor = jnp.max(logits, axis=-1, keepdims=True) + jnp.log(column(p, logits.dtype))
    return jnp.where(logits < floor, -jnp.inf, logits)


def keep_typical(logits: jax.Array, p: Any) -> jax.Array:
    """Keeps the tokens whose information is nearest to the entropy, up to a sum of p.

    Tokens come by |-log p(v) - H|, of equal ones the lowest id first; as in top-p, one stays while
    the probability of those before it is below p, and at least one stays.

    References:
      Meister et al., Locally Typical Sampling, 2023.
    """
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    shift = jnp.abs(log_probs + _entropy(log_probs))  # infinite for what is refused already
    order = jnp.argsort(shift, axis=-1, stable=True)
    return _keep_first(logits, jnp.exp(log_probs), order, p)


def keep_eta(logits: jax.Array, epsilon: Any) -> jax.Array:
    """Keeps the tokens more probable than eta = min(epsilon, sqrt(epsilon) exp(-H)), and the best.

    References:
      Hewitt, Manning and Liang, Truncation Sampling as Language Model Desmoothing, 2022.
    """
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    log_epsilon = jnp.log(column(epsilon, logits.dtype))
    log_eta = jnp.minimum(log_epsilon, log_epsilon / 2 - _entropy(log_probs))
    best = jnp.max(logits, axis=-1, keepdims=True)
    return jnp.where((log_probs <= log_eta) & (logits < best), -jnp.inf, logits)


_TRUNCATIONS = (keep_top_k, keep_top_p, keep_min_p, keep_typical, keep_eta)  # as in `Law`


def _entropy(log_probs: jax.Array) -> jax.Array:
    """[N, 1], in nats."""
    terms = jnp.where(log_probs == -jnp.inf, 0, jnp.exp(log_probs) * log_probs)
    return -jnp.sum(terms, axis=-1, keepdims=True)


def _greedy(logits: jax.Array) -> jax.Array:
    """All on the argmax, of equal logits on the lowest id; what is NaN stays so."""
    best = jnp.argmax(logits, axis=-1, keepdims=True)
    is_best = jnp.arange(logits.shape[-1]) == best
    return jnp.where(jnp.isnan(logits), logits, jnp.where(is_best, 0, -jnp.inf))


def _keep_first(logits: jax.Array, probs: jax.Array, order: jax.Array, p: Any) -> jax.Array:
    """Keeps tokens in an order [N, V] while the sum of probs [N, V] before them is below p."""
    p = column(p, logits.dtype)
    ordered = jnp.take_along_axis(probs, order, axis=-1)
    before = jnp.cumsum(ordered, axis=-1) - ordered
    kept = (before < p) | (p >= 1)  # rounding may lift `before` to 1 ahead of the tail
    return _keep(logits, order, kept.at[:, 0].set(True))


def _temper(logits: jax.Array, temperature: Any) -> jax.Array:
    cold = is_cold(temperature, logits.dtype)
    divisor = jnp.where(cold, 1, jnp.asarray(temperature, logits.dtype))
    # Shifted first, so that a tiny temperature sends all but the largest to -inf and none to +inf.
    return (logits - jnp.max(logits, axis=-1, keepdims=True)) / column(divisor, logits.dtype)


def _keep(logits: jax.Array, order: jax.Array, kept: jax.Array) -> jax.Array:
    """Keeps the tokens order [N, R] where kept [N, R] is True."""
    rows = jnp.arange(logits.shape[0], dtype=jnp.int32)[:, None]
    mask = jnp.zeros(logits.shape, bool).at[rows, order].set(kept)  # [N, V]
    return jnp.where(mask, logits, -jnp.inf)


def check_law(law: Law, batch: int, vocab_size: int) -> Law:
    """Checks the settings where their values are known; a single integer top_k becomes static."""
    _check("temperature", law.temperature, batch, lambda t: (t >= 0) & np.isfinite(t), ">= 0")
    _check("top_p", law.top_p, batch, lambda p: (p > 0) & (p <= 1), "in (0, 1]")
    _check("min_p", law.min_p, batch, lambda p: (p >= 0) & (p <= 1), "in [0, 1]")
    _check("typical_p", law.typical_p, batch, lambda p: (p > 0) & (p <= 1), "in (0, 1]")
    _check("eta_cutoff", law.eta_cutoff, batch, lambda e: (e >= 0) & (e < 1), "in [0, 1)")
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
