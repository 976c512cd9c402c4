"""What the losses and decoders of labellings check: floats, lengths and ids."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.ids import as_ids


def check_floats(name: str, x: Any, axes: str) -> jax.Array:
    """x as floats of at least 32 bits with as many axes as `axes` has letters, such as "B T V"."""
    x = jnp.asarray(x)
    checks.require(
        x.ndim == len(axes.split()) and checks.is_float(x),
        f"{name} is {x.dtype}{list(x.shape)}; expected floats [{', '.join(axes.split())}].",
    )
    return widened(x)


def widened(x: jax.Array) -> jax.Array:
    """x in at least float32: sums of many small terms need more bits than half precision has."""
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def to_rank(x: jax.Array, rank: int) -> jax.Array:
    """x with axes of size 1 in front, so that it meets another array without rank promotion."""
    return x.reshape((1,) * (rank - x.ndim) + x.shape)


def check_integers(name: str, ids: Any, shape: tuple[int, ...], of: str) -> jax.Array:
    """Ids as int32 of a shape, which is `of`'s."""
    ids = as_ids(name, ids)
    checks.require(
        ids.shape == shape, f"{name} has shape {ids.shape}; expected {shape}, that of {of}."
    )
    return ids


def check_labels(labels: Any, batch_size: int, of: str) -> jax.Array:
    """Labels as int32 [B, N]."""
    labels = as_ids("labels", labels)
    checks.require(
        labels.ndim == 2 and labels.shape[0] == batch_size,
        f"labels has shape {labels.shape} but {of} has batch size {batch_size}; expected [B, N], "
        "padded on the right.",
    )
    return labels


def check_blank(blank: Any, vocab_size: int) -> int:
    """The blank's id as a Python integer in 0..V-1."""
    ok = blank == 0 or checks.is_positive_int(blank)
    checks.require(
        ok and not isinstance(blank, bool) and blank < vocab_size,
        f"blank is {blank!r}; expected an integer with 0 <= blank < {vocab_size}, the last axis "
        "of logits.",
    )
    return int(blank)
