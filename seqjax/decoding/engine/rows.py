"""What decoders share that draw several tokens a row and step: noise by row, and where rows end."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.noise import draw_rows, fold_in_rows

ASIDE = 2**31 - 1  # a number that no step has, for draws beside the steps'


def gumbel_rows(keys: jax.Array, t: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Gumbel noise [B, *shape] of step t; row b's depends on keys[b] and t alone."""
    keys = fold_in_rows(keys, jnp.broadcast_to(t, keys.shape))
    return draw_rows(lambda key: jax.random.gumbel(key, shape, dtype), keys)


def uniform_rows(keys: jax.Array, t: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Uniform noise in [0, 1), [B, *shape], of step t; row b's depends on keys[b] and t alone."""
    keys = fold_in_rows(keys, jnp.broadcast_to(t, keys.shape))
    return draw_rows(lambda key: jax.random.uniform(key, shape, dtype), keys)


def at(values: jax.Array, index: jax.Array) -> jax.Array:
    """values [..., V] at index [...]."""
    return jnp.take_along_axis(values, index[..., None], axis=-1)[..., 0]


def repeat_end(tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    """Tokens [..., L] whose last real one fills what is left; lengths [...] are at least 1."""
    last = at(tokens, jnp.maximum(lengths - 1, 0))
    places = jnp.arange(tokens.shape[-1], dtype=jnp.int32)
    return jnp.where(places < lengths[..., None], tokens, last[..., None])
