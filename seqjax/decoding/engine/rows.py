"""What decoders do row by row: operations on carries, noise, and where sequences end.

A carry is any pytree of arrays, typed keys included, that lead with the batch. Nothing here
multiplies its rows, so a NaN or an infinity in one row cannot reach another.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import require
from seqjax._internal.types import Carry, Tokens
from seqjax.core.lengths import within
from seqjax.core.noise import draw_rows, fold_in_rows

ASIDE = 2**31 - 1  # a number that no step has, for draws beside the steps'


def batch_size(carry: Carry, bos: jax.Array) -> int:
    """The number of rows B, from `bos` [B] or else from the carry, whose leaves must agree."""
    sizes = {"bos": bos.shape[0]} if bos.ndim else {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        name = "carry" + jax.tree_util.keystr(path)
        require(
            leaf.ndim > 0,
            f"{name} is a scalar; expected every carry leaf to lead with the batch axis [B, ...]. "
            "Give each row its own copy, as in jnp.broadcast_to(x, (B,)).",
        )
        sizes[name] = leaf.shape[0]
    require(
        bool(sizes),
        "carry has no array leaf and bos is a single integer, so the batch size is unknown; "
        "expected one of them to give it. Pass bos as an array [B].",
    )
    first, size = next(iter(sizes.items()))
    for name, other in sizes.items():
        require(
            other == size,
            f"{name} has batch size {other} but {first} has {size}; expected every carry leaf "
            "(and bos, if it is an array) to lead with the same B. Close over what rows share.",
        )
    return size


def repeat_rows(tree: Any, times: int) -> Any:
    """Repeats each row: [B, ...] to [B * times, ...], copies of a row side by side."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, times, axis=0), tree)


def take_rows(tree: Any, rows: jax.Array) -> Any:
    """Gathers rows [R] of every leaf [N, ...]; they must be in 0..N-1."""
    take = lambda leaf: leaf.at[rows].get(mode="promise_in_bounds", wrap_negative_indices=False)
    return jax.tree.map(take, tree)


def take_beams(tree: Any, parents: jax.Array) -> Any:
    """Gathers leaves [B * K, ...] by parents [B, K], which count from 0 within each row's K."""
    batch, size = parents.shape
    if size == 1:
        return tree  # the only parent there is
    offsets = size * jnp.arange(batch, dtype=parents.dtype)
    return take_rows(tree, (parents + offsets[:, None]).reshape(-1))


def pick(x: Any, order: jax.Array) -> Any:
    """Leaves x [B, N, ...] at order [B, K] along axis 1."""
    return jax.vmap(take_rows)(x, order)


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
    return jnp.where(within(lengths, tokens.shape[-1]), tokens, last[..., None])
