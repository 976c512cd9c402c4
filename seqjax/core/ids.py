"""Ids of tokens: integers of any dtype, made wide enough to be compared with any size."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from seqjax._internal import checks

_INT32 = np.iinfo(np.int32)


def as_ids(name: str, ids: Any) -> jax.Array:
    """Integers of any dtype as int32.

    A narrow dtype cannot hold the size of its own vocabulary: uint8 ids of 256 bytes, compared with
    256, meet 0. What int32 cannot hold becomes its nearest number, which is no id of any
    vocabulary, where a cast would wrap around to one.

    Raises:
      ValueError: if ids are not integers.
    """
    ids = ids if isinstance(ids, jax.Array) else _array(name, ids)
    checks.require(
        jnp.issubdtype(ids.dtype, jnp.integer),
        f"{name} is {ids.dtype}; expected integer ids, not one-hot rows or probabilities.",
    )
    limits = jnp.iinfo(ids.dtype)
    if limits.bits >= 32 and ids.dtype != np.int32:
        clip = jnp.clip if isinstance(ids, jax.Array) else np.clip
        ids = clip(ids, max(int(limits.min), _INT32.min), min(int(limits.max), _INT32.max))
    return jnp.asarray(ids.astype(np.int32))


def _array(name: str, ids: Any) -> np.ndarray:
    try:
        return np.asarray(ids)
    except ValueError:
        raise ValueError(
            f"{name} has rows of unequal lengths; expected an array. Pad them, for example by "
            "seqjax.data.pad_rows, and pass their lengths."
        ) from None


def check_ids(name: str, ids: jax.Array, bad: jax.Array, expected: str) -> None:
    """Refuses ids where `bad` is True, now if the values are known, or else under checkify."""
    known, values = checks.concrete(bad), checks.concrete(ids)
    if known is None or values is None:
        checkify.debug_check(~jnp.any(bad), f"{name} holds an id out of range; {expected}")
    elif known.any():
        raise ValueError(f"{name} holds {int(values[known][0])}; {expected}")
