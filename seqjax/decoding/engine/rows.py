"""What decoders share that draw several tokens a row and step: noise by row, and where rows end."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.types import Tokens
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


def ends_with(tokens: Tokens, length: Any, sequences: tuple[tuple[int, ...], ...]) -> jax.Array:
    """Which of S sequences the first `length` (a number or [N]) of tokens [N, L] end with: [N, S].

    An empty sequence ends everything.
    """
    width = max(map(len, sequences), default=0)
    if width == 0:
        return jnp.ones((tokens.shape[0], len(sequences)), bool)
    anything, nothing = -1, -2  # before a shorter sequence, and before the first token
    table = np.array([(anything,) * (width - len(s)) + s for s in sequences], np.int32)  # [S, W]
    at = jnp.asarray(length, jnp.int32).reshape(-1, 1) + jnp.arange(-width, 0, dtype=jnp.int32)
    at = jnp.broadcast_to(at, (tokens.shape[0], width))
    window = jnp.take_along_axis(tokens.astype(jnp.int32), jnp.maximum(at, 0), axis=1, mode="clip")
    window = jnp.where(at >= 0, window, nothing)[:, None]  # [N, 1, W]
    return jnp.all((window == table) | (table == anything), axis=2)


def repeat_end(tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    """Tokens [..., L] whose last real one fills what is left; lengths [...] are at least 1."""
    last = at(tokens, jnp.maximum(lengths - 1, 0))
    places = jnp.arange(tokens.shape[-1], dtype=jnp.int32)
    return jnp.where(places < lengths[..., None], tokens, last[..., None])
