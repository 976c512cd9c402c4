"""The length of a memory as one number, from a curve over lags."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax._internal import checks


def memory_length(log_curve: ArrayLike, share: float = math.exp(-1)) -> jax.Array:
    """Finds the lag after which a curve stays below a share of its maximum.

        min {κ : cₖ < share · max c for all k > κ},   between two lags along a straight ln c

    With share = 1/e it is an effective memory, with share = 1/2 a half-life. For cₖ = rᵏ, r < 1, it
    is ln share / ln r. So ln 0.5 / ln σ(b) is the half-life of an LSTM whose forget gate is σ(b):
    2.2 steps at b = 1, 103 at b = 5 (Jozefowicz et al. 2015 on that bias). A curve may rise before
    it falls; only its last fall counts.

    Args:
      log_curve: [..., K + 1] natural logarithms of the curve at the lags 0..K; -inf stands for 0.
      share: a number in (0, 1).

    Returns:
      [...] lags; inf where the curve ends before it falls that far, NaN where it holds a NaN.

    Raises:
      ValueError: if share is not in (0, 1), or log_curve is not floats [..., K + 1].

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
