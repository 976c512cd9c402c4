"""Temperature and truncations: pure functions on logits [N, V] that set what they remove to -inf.

Settings are scalars or one number a row [N]; all but a static top-k may be traced. `Sampling` says
in which order decoders apply them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.types import Logits
from seqjax.core.products import accumulator
from seqjax.decoding.engine.logits import column


def is_cold(temperature: Any, dtype: Any) -> jax.Array:
    """Whether a temperature is 0; a subnormal counts as 0 because devices may flush it."""
    return jnp.asarray(temperature, dtype) < jnp.finfo(dtype).tiny


def temper(logits: Logits, temperature: Any) -> Logits:
    """Logits divided by a temperature, and shifted; a temperature of 0 divides by 1."""
    cold = is_cold(temperature, logits.dtype)
    divisor = jnp.where(cold, 1, jnp.asarray(temperature, logits.dtype))
    # Shifted first, so that a tiny temperature sends all but the largest to -inf and none to +inf.
    return (logits - jnp.max(logits, axis=-1, keepdims=True)) / column(divisor, logits.dtype)


def keep_best(logits: Logits) -> Logits:
    """Puts all on the argmax, of equal logits on the lowest id; NaN stays NaN."""
    best = jnp.argmax(logits, axis=-1, keepdims=True)
    is_best = jnp.arange(logits.shape[-1]) == best
    return jnp.where(jnp.isnan(logits), logits, jnp.where(is_best, 0, -jnp.inf))


def keep_top_k(logits: Logits, k: Any) -> Logits:
    """Keeps the k largest logits of each row: exactly k, of equal ones the lowest ids."""
    if isinstance(k, int):
        _, order = lax.top_k(logits, k)  # [N, k]
        return _keep(logits, order, jnp.ones(order.shape, bool))
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
    ranks = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    return _keep(logits, order, jnp.broadcast_to(ranks < column(k, jnp.int32), order.shape))


def keep_top_p(logits: Logits, p: Any, least: int = 1, rounding: Any = None) -> Logits:
    """Keeps the most probable tokens up to the one whose sum reaches p, at least `least`.

    A token stays while the probability of those before it is below p (an exclusive sum); of equal
    tokens the lowest ids come first. p = 1 keeps everything. See `_keep_first` for `rounding`.

    References:
      Holtzman et al., The Curious Case of Neural Text Degeneration, 2020, equation 2.
    """
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)  # [N, V]
    probs = jax.nn.softmax(logits.astype(accumulator(logits.dtype)))
    return _keep_first(logits, probs, order, p, least, rounding)


def keep_min_p(logits: Logits, p: Any, least: int = 1) -> Logits:
    """Keeps the tokens at least p times as probable as the most probable one.

    References:
      Nguyen et al., Turning Up the Heat: Min-p Sampling, 2024.
    """
    floor = jnp.max(logits, axis=-1, keepdims=True) + jnp.log(column(p, logits.dtype))
    return _drop(logits, logits < floor, least)


def keep_typical(logits: Logits, p: Any, least: int = 1, rounding: Any = None) -> Logits:
    """Keeps the tokens whose information is nearest to the entropy, up to a sum of p.

    Tokens come by |-log p(v) - H|, of equal ones the lowest id first; as in top-p, one stays while
    the probability of those before it is below p, and at least `least` stay.

    References:
      Meister et al., Locally Typical Sampling, 2023.
    """
    log_probs = _log_probs(logits)
    shift = jnp.abs(log_probs + _entropy(log_probs))  # infinite for what is refused already
    order = jnp.argsort(shift, axis=-1, stable=True)
    return _keep_first(logits, jnp.exp(log_probs), order, p, least, rounding)


def keep_epsilon(logits: Logits, epsilon: Any, least: int = 1) -> Logits:
    """Keeps the tokens more probable than epsilon, and the best.

    References:
      Hewitt, Manning and Liang, Truncation Sampling as Language Model Desmoothing, 2022.
    """
    log_probs = _log_probs(logits)
    return _drop(logits, log_probs <= jnp.log(column(epsilon, log_probs.dtype)), least)


def keep_eta(logits: Logits, epsilon: Any, least: int = 1) -> Logits:
    """Keeps the tokens more probable than eta = min(epsilon, sqrt(epsilon) exp(-H)), and the best.

    References:
      Hewitt, Manning and Liang, Truncation Sampling as Language Model Desmoothing, 2022.
    """
    log_probs = _log_probs(logits)
    log_epsilon = jnp.log(column(epsilon, log_probs.dtype))
    log_eta = jnp.minimum(log_epsilon, log_epsilon / 2 - _entropy(log_probs))
    return _drop(logits, log_probs <= log_eta, least)


def _log_probs(logits: Logits) -> jax.Array:
    """Log-probabilities [N, V] in at least float32."""
    return jax.nn.log_softmax(logits.astype(accumulator(logits.dtype)))


def _entropy(log_probs: jax.Array) -> jax.Array:
    """[N, 1], in nats."""
    terms = jnp.where(log_probs == -jnp.inf, 0, jnp.exp(log_probs) * log_probs)
    return -jnp.sum(terms, axis=-1, keepdims=True)


def _keep_first(
    logits: Logits, probs: jax.Array, order: jax.Array, p: Any, least: int, rounding: Any
) -> Logits:
    """Keeps tokens in an order [N, V] while the sum of probs [N, V] before them is below p.

    A sum that equals p but for rounding is not below it. Logits with the relative error `rounding`
    (None: that of their dtype) move a share p of the mass by some p (1 - p) rounding |log p|; the
    softmax and the sum over V add a few roundings of their own.
    """
    rounding = jnp.finfo(logits.dtype).eps if rounding is None else rounding
    p = column(p, probs.dtype)
    error = 4 * float(rounding) * p * (1 - p) + 8 * float(jnp.finfo(probs.dtype).eps)
    ordered = jnp.take_along_axis(probs, order, axis=-1)
    before = jnp.cumsum(ordered, axis=-1) - ordered
    kept = (before < p - error) | (p >= 1)  # rounding may lift `before` to 1 ahead of the tail
    return _keep(logits, order, kept.at[:, :least].set(True))


def _keep(logits: Logits, order: jax.Array, kept: jax.Array) -> Logits:
    """Keeps the tokens order [N, R] where kept [N, R] is True."""
    rows = jnp.arange(logits.shape[0], dtype=jnp.int32)[:, None]
    mask = jnp.zeros(logits.shape, bool).at[rows, order].set(kept)  # [N, V]
    return jnp.where(mask, logits, -jnp.inf)


def _drop(logits: Logits, dropped: jax.Array, least: int) -> Logits:
    """Drops tokens [N, V] bool, but none as large as the `least` largest logits."""
    smallest = jnp.max(logits, axis=-1, keepdims=True)
    if least > 1:
        smallest = jnp.min(lax.top_k(logits, least)[0], axis=-1, keepdims=True)
    return jnp.where(dropped & (logits < smallest), -jnp.inf, logits)
