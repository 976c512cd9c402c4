"""Lengths of rows padded on the right: checked, and turned into a mask."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from seqjax._internal import checks
from seqjax.core.ids import as_ids


def check_lengths(
    name: str, lengths: Any, of: str, shape: tuple[int, ...], *, axis: int = 1, remedy: str = ""
) -> jax.Array:
    """Lengths of the rows of an array as int32 [B]; None means all of T.

    All of seqjax takes lengths by this door, and turns them into a mask by `within`.

    Args:
      name: what the lengths are called in messages.
      lengths: [B] integers, 0 <= lengths <= T, or None; with another axis, of all axes before it.
      of: what the array is called in messages.
      shape: (B, T, ...), its shape.
      axis: that of time.
      remedy: for lengths that are not integers, a sentence.

    Raises:
      ValueError: if lengths are not integers [B] or, where their values are known, leave 0..T.
    """
    rows, limit = shape[:axis], shape[axis]
    if lengths is None:
        return jnp.full(rows, limit, jnp.int32)
    dtype = getattr(lengths, "dtype", None) or jnp.asarray(lengths).dtype
    checks.require(
        jnp.issubdtype(dtype, jnp.integer),
        f"{name} has dtype {dtype}; expected integers [B].{remedy and ' '}{remedy}",
    )
    lengths = as_ids(name, lengths)
    axes = "[B, T]" if len(shape) == 2 else "[B, T, ...]"
    checks.require(
        lengths.shape == rows,
        f"{name} has shape {lengths.shape} but {of} has batch size {rows[0]} ({of} is {axes} = "
        f"{shape}); is {of} time-major? seqjax is batch-major."
        if axis == 1
        else f"{name} has shape {lengths.shape} but {of} has {shape}; expected {rows}, one a row.",
    )
    known = checks.concrete(lengths)
    if known is not None and known.size:
        checks.require(
            bool(known.min() >= 0 and known.max() <= limit),
            f"{name} has values from {known.min()} to {known.max()}; expected 0 <= {name} <= T = "
            f"{limit}, the size of axis {axis % len(shape)} of {of}.",
        )
    inside = jnp.all((lengths >= 0) & (lengths <= limit))
    checkify.debug_check(inside, f"{name} must lie in 0..T of {of}")
    return lengths


def within(lengths: jax.Array, size: int) -> jax.Array:
    """The mask of int32 lengths [...]: [..., size] bool, True at the first places of each row."""
    places = jax.lax.broadcasted_iota(jnp.int32, (*lengths.shape, size), lengths.ndim)
    return places < lengths[..., None]
