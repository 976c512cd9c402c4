"""Row operations on a carry: any pytree of arrays, typed keys included, that lead with the batch.

None of them multiplies, so a NaN or an infinity in one row cannot reach another.
"""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal.checks import require


def batch_size(carry: Any, bos: jax.Array) -> int:
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
