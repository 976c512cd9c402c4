"""From a curve over lags to one number."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax._internal import checks


def memory_length(log_curve: ArrayLike, share: float = math.exp(-1)) -> jax.Array:
    """The lag from which on a curve stays below a share of its largest value.

        min {κ : cₖ < share · max c for all k > κ},   between two lags along a straight ln c

    An effective memory for share = 1/e, a half-life for share = 1/2. Of cₖ = rᵏ, r < 1, it is
    ln share / ln r, so that ln 0.5 / ln σ(b) is the half-life of an LSTM's memory whose forget
    gate stands at σ(b): 2.2 steps at b = 1, 103 at b = 5 (Jozefowicz et al. 2015 on that bias). A
    curve may rise before it falls; only its last fall counts.

    Args:
      log_curve: [..., K + 1] natural logarithms at the lags 0..K, -inf for 0.
      share: in (0, 1).

    Returns:
      [...] lags; inf where the curve ends without having fallen, NaN where it holds a NaN.

    Raises:
      ValueError: if share is not in (0, 1), or log_curve is no array of floats with an axis.

    Example:
      >>> lags = jnp.arange(50.0)
      >>> print(memory_length(jnp.log(0.9) * lags, share=0.5).round(2))
      6.58
    """
    checks.require(
        checks.is_number(share) and 0 < share < 1,
        f"share is {share!r}; expected a number with 0 < share < 1.",
    )
    curve = jnp.asarray(log_curve)
    checks.require(
        curve.ndim > 0 and curve.size > 0 and checks.is_float(curve),
        f"log_curve is {curve.dtype}{list(curve.shape)}; expected floats [..., K + 1], one a lag.",
    )
    level = jnp.max(curve, axis=-1, keepdims=True) + math.log(share)
    size = curve.shape[-1]
    above = curve >= level
    last = size - 1 - jnp.argmax(above[..., ::-1], axis=-1)
    take = lambda i: jnp.take_along_axis(curve, i[..., None], axis=-1)[..., 0]
    high, low = take(last), take(jnp.minimum(last + 1, size - 1))
    part = (high - level[..., 0]) / jnp.where(last + 1 < size, high - low, 1)
    lag = jnp.where(last + 1 < size, last.astype(curve.dtype) + part, jnp.inf)
    return jnp.where(jnp.any(jnp.isnan(curve), axis=-1), jnp.nan, lag)
