"""Operations on all leaves of a tree: choosing, indexing by slot [N, ...], slicing by time."""

from typing import Any

import jax
import jax.numpy as jnp


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf can have a gradient: floats and complex numbers can, typed keys cannot."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def inexact(tree: Any) -> Any:
    """The leaves that can have a gradient; None for the others."""
    return jax.tree.map(lambda a: a if is_inexact(a) else None, tree)


def exact(tree: Any) -> Any:
    """The leaves that cannot have a gradient; None for the others."""
    return jax.tree.map(lambda a: None if is_inexact(a) else a, tree)


def merge(tree: Any, other: Any) -> Any:
    """The leaves of both trees, each of which is None where the other is not."""
    pick = lambda a, b: b if a is None else a
    return jax.tree.map(pick, tree, other, is_leaf=lambda a: a is None)


def with_inexact(tree: Any, part: Any) -> Any:
    """The tree with the leaves that can have a gradient taken from what `inexact` made."""
    return merge(part, exact(tree))


def widen(tree: Any) -> Any:
    """The leaves, all inexact, in float32 where they have fewer bits."""
    return jax.tree.map(lambda a: a.astype(jnp.float32) if jnp.finfo(a).bits < 32 else a, tree)


def vary_like(tree: Any, like: Any) -> Any:
    """The tree, for use beside another; both differ between devices inside of `jax.shard_map`.

    There a loop's carry must come in as it goes out: an array made of constants is the same on all
    devices, until something that is not is added to it.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return tree
    leaves = [leaf for leaf in jax.tree.leaves(like) if isinstance(leaf, jax.Array)]
    axes = frozenset().union(*map(_varying, leaves))

    def one(leaf):
        missing = tuple(sorted(axes - _varying(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying")

    return jax.tree.map(one, tree)


def _varying(leaf: Any) -> frozenset:
    """The axes of a mesh along which a leaf differs, by the names that JAX 0.10 to 0.12 give it."""
    aval: Any = jax.typeof(leaf)
    return aval.mat.varying if hasattr(aval, "mat") else aval.vma


def is_plain(leaf: Any) -> bool:
    """Whether a leaf holds numbers or bools, not typed keys."""
    return not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def size_in_bytes(tree: Any) -> int:
    """Bytes of all leaves together."""
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))


def at_index(tree: Any, index: Any) -> Any:
    """Entry `index` of every leaf [N, ...]."""
    return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, index, 0, keepdims=False), tree)


def set_index(tree: Any, values: Any, index: Any) -> Any:
    """The tree of leaves [N, ...] with the entries `index` replaced."""
    one = lambda a, b: jax.lax.dynamic_update_index_in_dim(a, b, index, 0)
    return jax.tree.map(one, tree, values)


def take_steps(tree: Any, start: Any, size: int) -> Any:
    """`size` steps of every leaf [B, T, ...] from `start` on."""
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, size, 1), tree)


def put_steps(tree: Any, part: Any, start: Any) -> Any:
    """The tree of leaves [B, T, ...] with the steps from `start` on replaced by a part."""
    one = lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, start, 1)
    return jax.tree.map(one, tree, part)
