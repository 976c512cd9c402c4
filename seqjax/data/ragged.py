"""Rows of unequal lengths: padding them on the host, and masks and reductions that leave it out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks
from seqjax.core.ids import as_ids
from seqjax.core.lengths import within
from seqjax.core.scan import check_flags, check_xs
from seqjax.core.steps import zero_rows


class Padded(NamedTuple):
    """Rows as one array, padded on the right.

    Fields:
      values: [B, T, ...], the fill after the end of each row.
      lengths: [B] int32, 0..T.
    """

    values: np.ndarray
    lengths: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """[B, T] bool, True = real."""
        return np.arange(self.values.shape[1]) < self.lengths[:, None]


def pad_rows(rows: Sequence[Any], *, fill: Any = 0, size: int | None = None) -> Padded:
    """Pads rows on the right to one length, on the host.

    A program is compiled for every shape that it meets: give batches one `size`, or one of a few.

    Args:
      rows: B rows, each a list or an array [length, ...]; a row may be empty.
      fill: what stands in padding.
      size: T; None means the longest row.

    Returns:
      `Padded`: values [B, T, ...] in the rows' common dtype, and lengths [B].

    Raises:
      ValueError: if rows is empty or a single row, the rows' inner shapes differ, one is longer
        than size, or their dtype cannot hold fill.

    Example:
      >>> padded = pad_rows([[5, 6, 7], [8], []], fill=-1)
      >>> print(padded.values, padded.lengths)
      [[ 5  6  7]
       [ 8 -1 -1]
       [-1 -1 -1]] [3 1 0]
    """
    arrays = _arrays(rows)
    lengths = np.array([len(row) for row in arrays], np.int32)
    longest = int(lengths.max())
    size = longest if size is None else checks.positive_int("size", size)
    checks.require(
        longest <= size,
        f"rows[{int(lengths.argmax())}] has length {longest}; expected at most size = {size}. Cut "
        "it, or give a larger size.",
    )
    some = [row for row in arrays if len(row)] or arrays  # an empty list has no dtype of its own
    inner = some[0].shape[1:]
    odd = next((row.shape for row in some if row.shape[1:] != inner), None)
    checks.require(
        odd is None,
        f"rows have the shapes {some[0].shape} and {odd}; expected [length, ...] with the same "
        "axes after the first.",
    )
    dtype = np.result_type(*some)
    with np.errstate(invalid="ignore"):
        filled = np.asarray(fill).astype(dtype)
    checks.require(
        dtype.kind == "f" or bool(filled == fill),
        f"fill is {fill!r}, which {dtype} cannot hold; expected a number of the rows' dtype. "
        "Convert the rows, or give another fill.",
    )
    values = np.full((len(arrays), size, *inner), filled)
    for row, array in enumerate(arrays):
        if len(array):
            values[row, : len(array)] = array
    return Padded(values, lengths)


def length_mask(lengths: Any, size: int) -> jax.Array:
    """The mask that lengths stand for: True at the first `lengths` places of each row.

    Args:
      lengths: [...] integers; all of 0..T in use, more counts as T.
      size: T, a static number.

    Returns:
      [..., T] bool, True = real.

    Raises:
      ValueError: if lengths are not integers.

    Example:
      >>> print(length_mask(jnp.array([2, 0, 3]), 3).astype(int))
      [[1 1 0]
       [0 0 0]
       [1 1 1]]
    """
    return within(as_ids("lengths", lengths), size)


def mean_over_time(xs: Any, mask: Any) -> jax.Array:
    """The mean of each row's real steps.

    Args:
      xs: [B, T, ...] numbers. What padding holds, NaN included, changes neither a value nor a
        gradient.
      mask: [B, T] bool, True = real, any pattern; `length_mask(lengths, T)` for right padding.

    Returns:
      [B, ...] floats; 0 for a row without a real step.

    Raises:
      ValueError: if xs is not [B, T, ...] or mask does not fit it.

    Example:
      >>> xs = jnp.array([[1.0, 5.0, jnp.nan], [7.0, jnp.nan, jnp.nan]])
      >>> mean_over_time(xs, length_mask(jnp.array([2, 1]), 3)).tolist()
      [3.0, 7.0]
    """
    xs, mask = _checked(xs, mask)
    xs = xs if checks.is_float(xs) else xs.astype(float)
    total = jnp.sum(zero_rows(mask, xs), axis=1)
    count = jnp.maximum(jnp.sum(mask, axis=1, dtype=jnp.int32), 1)
    return total / count.reshape(-1, *(1,) * (total.ndim - 1)).astype(total.dtype)


def max_over_time(xs: Any, mask: Any) -> jax.Array:
    """The maximum of each row's real steps, feature by feature.

    Args:
      xs: [B, T, ...] numbers. What padding holds, NaN included, changes neither a value nor a
        gradient.
      mask: [B, T] bool, True = real, any pattern.

    Returns:
      [B, ...] in the dtype of xs; 0 for a row without a real step.

    Raises:
      ValueError: if xs is not [B, T, ...] or mask does not fit it.

    Example:
      >>> xs = jnp.array([[-1.0, -5.0, jnp.nan], [jnp.nan, jnp.nan, jnp.nan]])
      >>> max_over_time(xs, length_mask(jnp.array([2, 0]), 3)).tolist()
      [-1.0, 0.0]
    """
    xs, mask = _checked(xs, mask)
    lowest = -jnp.inf if checks.is_float(xs) else jnp.iinfo(xs.dtype).min
    real = mask.reshape(*mask.shape, *(1,) * (xs.ndim - 2))
    best = jnp.max(jnp.where(real, xs, lowest), axis=1, initial=lowest)
    return zero_rows(jnp.any(mask, axis=1), best)


def last_over_time(xs: Any, mask: Any) -> jax.Array:
    """Each row at its last real step.

    Args:
      xs: [B, T, ...] arrays of any dtype. What padding holds, NaN included, changes neither a value
        nor a gradient.
      mask: [B, T] bool, True = real, any pattern.

    Returns:
      [B, ...] in the dtype of xs; 0 for a row without a real step.

    Raises:
      ValueError: if xs is not [B, T, ...] or mask does not fit it.

    Example:
      >>> last_over_time(jnp.array([[3, 4, 0], [5, 0, 0]]), length_mask([2, 1], 3)).tolist()
      [4, 5]
    """
    xs, mask = _checked(xs, mask)
    places = jnp.where(mask, jnp.arange(1, mask.shape[1] + 1, dtype=jnp.int32), 0)
    last = jnp.max(places, axis=1, initial=0)  # counted from 1, 0 for none
    padded = jnp.pad(zero_rows(mask, xs), ((0, 0), (1, 0), *((0, 0),) * (xs.ndim - 2)))
    index = last.reshape(-1, *(1,) * (xs.ndim - 1))
    return jnp.take_along_axis(padded, index, axis=1)[:, 0]


def _checked(xs: Any, mask: Any) -> tuple[jax.Array, jax.Array]:
    xs = jnp.asarray(xs)
    shape = check_xs(xs)
    checks.require(mask is not None, "mask is None; expected bool [B, T], True = real.")
    checks.require(
        jnp.shape(mask) != shape[:1] or jnp.result_type(mask) == jnp.bool_,
        f"mask has shape {jnp.shape(mask)}; expected bool [B, T] = {shape}. Of lengths [B] make it "
        f"by length_mask(lengths, {shape[1]}).",
    )
    mask = check_flags("mask", mask, *shape)
    return xs, jnp.asarray(mask)


def _arrays(rows: Sequence[Any]) -> list[np.ndarray]:
    checks.require(len(rows) > 0, "rows is empty; expected at least one row.")
    arrays = [_array(f"rows[{row}]", values) for row, values in enumerate(rows)]
    checks.require(
        not isinstance(rows, str) and all(array.ndim for array in arrays),
        f"rows is {rows!r}, a single row; expected several. For one row pass [rows].",
    )
    return arrays


def _array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{name} has parts of unequal lengths; expected an array [length, ...]. Pad the parts "
            "first."
        ) from None
