"""Resampling: which particles of a weighted population are copied into the next one.

    (key, log_weights [M]) -> ancestors [M] int32;    E[how often i occurs] = M wᵢ

Every scheme copies particle i M wᵢ times in the mean, w being the normalised weights; they differ
in how far the count strays. A particle of weight zero is never copied. Where no weight is positive
(all -inf) or one is NaN there is nothing to draw from, and every particle stays itself.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.checks import require
from seqjax._internal.ranks import own_ranks
from seqjax.core.noise import row_safe

Resampler = Callable[[jax.Array, jax.Array], jax.Array]


@own_ranks
def systematic_resampling(key: jax.Array, log_weights: jax.Array) -> jax.Array:
    """Copies particles where a comb of M equidistant teeth, shifted once, meets their weights.

        aᵢ = F⁻¹((i + u) / M),    u ~ U[0, 1),    F the cumulative sum of the weights

    A count is M w rounded down or up. The cheapest scheme, and often the least noisy.

    Args:
      key: a typed key.
      log_weights: [M] floats, unnormalised, in nats.

    Returns:
      ancestors: [M] int32, ascending.

    Raises:
      ValueError: if key is not one typed key or log_weights is not [M].

    Example:
      >>> weights = jnp.array([0.5, 0.0, 0.25, 0.25])
      >>> systematic_resampling(jax.random.key(0), jnp.log(weights)).tolist()
      [0, 0, 2, 3]

    References:
      Douc, Cappé and Moulines, Comparison of Resampling Schemes for Particle Filtering, 2005,
      section 2.4.
    """
    _check(key, log_weights)
    teeth = jnp.arange(len(log_weights), dtype=log_weights.dtype)
    shift = jax.random.uniform(row_safe(key), (), log_weights.dtype)
    return _invert((teeth + shift) / len(log_weights), log_weights)


@own_ranks
def stratified_resampling(key: jax.Array, log_weights: jax.Array) -> jax.Array:
    """Copies particles at one uniform point in each of M equal strata.

        aᵢ = F⁻¹((i + uᵢ) / M),    uᵢ ~ U[0, 1) independently

    Args:
      key: a typed key.
      log_weights: [M] floats, unnormalised, in nats.

    Returns:
      ancestors: [M] int32, ascending.

    Raises:
      ValueError: if key is not one typed key or log_weights is not [M].

    Example:
      >>> weights = jnp.array([0.5, 0.0, 0.25, 0.25])
      >>> stratified_resampling(jax.random.key(0), jnp.log(weights)).tolist()
      [0, 0, 2, 3]

    References:
      Kitagawa, Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space Models,
      1996. Douc, Cappé and Moulines, 2005, section 2.3.
    """
    _check(key, log_weights)
    strata = jnp.arange(len(log_weights), dtype=log_weights.dtype)
    places = jax.random.uniform(row_safe(key), log_weights.shape, log_weights.dtype)
    return _invert((strata + places) / len(log_weights), log_weights)


@own_ranks
def multinomial_resampling(key: jax.Array, log_weights: jax.Array) -> jax.Array:
    """Draws M ancestors independently by weight: the plainest scheme, and the noisiest.

        aᵢ = F⁻¹(uᵢ),    uᵢ ~ U[0, 1) independently

    Args:
      key: a typed key.
      log_weights: [M] floats, unnormalised, in nats.

    Returns:
      ancestors: [M] int32.

    Raises:
      ValueError: if key is not one typed key or log_weights is not [M].

    Example:
      >>> ancestors = multinomial_resampling(jax.random.key(0), jnp.log(jnp.array([0.0, 1.0])))
      >>> ancestors.tolist()
      [1, 1]

    References:
      Gordon, Salmond and Smith, Novel Approach to Nonlinear/Non-Gaussian Bayesian State
      Estimation, 1993.
    """
    _check(key, log_weights)
    points = jax.random.uniform(row_safe(key), log_weights.shape, log_weights.dtype)
    return _invert(points, log_weights)


@own_ranks
def residual_resampling(key: jax.Array, log_weights: jax.Array) -> jax.Array:
    """Copies each particle floor(M w) times, and draws the places left over by what remains.

        nᵢ = floor(M wᵢ);    the other M - Σ nᵢ ancestors ~ (M w - n) / Σ (M w - n) independently

    Args:
      key: a typed key.
      log_weights: [M] floats, unnormalised, in nats.

    Returns:
      ancestors: [M] int32, the sure copies first, ascending.

    Raises:
      ValueError: if key is not one typed key or log_weights is not [M].

    Example:
      >>> weights = jnp.array([0.5, 0.0, 0.25, 0.25])
      >>> residual_resampling(jax.random.key(0), jnp.log(weights)).tolist()
      [0, 0, 2, 3]

    References:
      Liu and Chen, Sequential Monte Carlo Methods for Dynamic Systems, 1998. Douc, Cappé and
      Moulines, 2005, section 2.2.
    """
    _check(key, log_weights)
    count = len(log_weights)
    shares = count * _normalise(log_weights)
    # Where a sum rounds, a share of 2 comes as 1.9999999: it is 2 sure copies all the same.
    sure = jnp.floor(shares * (1 + 4 * jnp.finfo(shares.dtype).eps))
    rest = jnp.log(jnp.maximum(shares - sure, 0))
    places = jnp.arange(count, dtype=log_weights.dtype)
    ends = jnp.cumsum(sure)
    copies = jnp.searchsorted(ends, places, side="right").astype(jnp.int32)
    points = jax.random.uniform(row_safe(key), log_weights.shape, log_weights.dtype)
    ancestors = jnp.where(places < ends[-1], copies, _invert(points, rest))
    return jnp.where(jnp.isfinite(jnp.max(log_weights)), ancestors, _selves(log_weights))


@own_ranks
def effective_sample_size(log_weights: jax.Array) -> jax.Array:
    """How many equally weighted particles a weighted population is worth.

        ESS = (Σᵢ wᵢ)² / Σᵢ wᵢ²

    Args:
      log_weights: [..., M] floats, unnormalised, in nats.

    Returns:
      [...] floats in 1..M; 0 where every weight is zero.

    Example:
      >>> print(effective_sample_size(jnp.log(jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))))
      [2. 1. 0.]

    References:
      Kong, Liu and Wong, Sequential Imputations and Bayesian Missing Data Problems, 1994. Liu and
      Chen, 1998, section 3.
    """
    top = jnp.max(log_weights, axis=-1, keepdims=True)
    weights = jnp.exp(log_weights - jnp.where(top == -jnp.inf, 0, top))
    squares = jnp.sum(weights**2, axis=-1)
    return jnp.where(squares == 0, 0, jnp.sum(weights, axis=-1) ** 2 / squares)


def _invert(points: jax.Array, log_weights: jax.Array) -> jax.Array:
    """The first particle at which the cumulative weight exceeds each point in [0, 1): [M]."""
    weights = _normalise(log_weights)
    sums = jnp.cumsum(weights)
    found = jnp.searchsorted(sums, points * sums[-1], side="right")
    # A point may round up to the whole sum, beyond which there is nothing.
    last = jnp.max(jnp.where(weights > 0, _selves(log_weights), 0))
    found = jnp.minimum(found.astype(jnp.int32), last)
    return jnp.where(jnp.isfinite(jnp.max(log_weights)), found, _selves(log_weights))


def _normalise(log_weights: jax.Array) -> jax.Array:
    weights = jnp.exp(log_weights - jnp.max(log_weights))
    return weights / jnp.sum(weights)


def _selves(log_weights: jax.Array) -> jax.Array:
    return jnp.arange(len(log_weights), dtype=jnp.int32)


def _check(key, log_weights) -> None:
    checks.key(key)
    shape = jnp.shape(log_weights)
    require(
        len(shape) == 1 and shape[0] > 0,
        f"log_weights has shape {shape}; expected [M], one weight a particle. Use jax.vmap over "
        "more populations, with a key for each.",
    )
