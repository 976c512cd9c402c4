"""Logarithms of small probabilities in two floats, so that long recursions keep their digits.

After thousands of frames a path's log-probability is about -20,000. There float32 numbers are 0.002
apart, and a posterior, the exp of a difference of two of them, is off by percents. So it is split,

    log p = whole + part,    whole an integer, 0 <= part <= 1

and every operation rounds the part alone: an error of 1e-7, however small p is.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

LOG_ZERO = -1e30  # stands for log 0 where an infinity would turn a gradient into NaN


class Log(NamedTuple):
    """The logarithm of numbers [...] of at least 0, as a sum."""

    whole: jax.Array
    part: jax.Array

    @property
    def value(self) -> jax.Array:
        """The logarithm itself [...], rounded once; about `LOG_ZERO` or less for that of 0."""
        return self.whole + self.part


def start_at(place: jax.Array, dtype) -> Log:
    """log 1 where `place` is True, else log 0."""
    whole = jnp.where(place, 0, LOG_ZERO).astype(dtype)
    return Log(whole, jnp.zeros_like(whole))


def times(log: Log, factor: jax.Array) -> Log:
    """The logarithm of a product, one factor of which is given by its logarithm."""
    part = log.part + jnp.maximum(factor, LOG_ZERO)
    up = jnp.floor(part)
    return Log(log.whole + up, part - up)


def plus(*logs: Log) -> Log:
    """The logarithm of a sum."""
    top = functools.reduce(jnp.maximum, (log.whole for log in logs))
    total = functools.reduce(jnp.add, (jnp.exp(log.whole - top + log.part) for log in logs))
    return times(Log(top, jnp.zeros_like(top)), jnp.log(total))


def earlier(log: Log, steps: int) -> Log:
    """What stands `steps` places before on the last axis, log 0 at its beginning."""
    width = log.whole.shape[-1]
    pad = [(0, 0)] * (log.whole.ndim - 1) + [(steps, 0)]
    move = lambda x, fill: jnp.pad(x, pad, constant_values=fill)[..., :width]
    return Log(move(log.whole, LOG_ZERO), move(log.part, 0))


def where(condition: jax.Array, log: Log, other: Log) -> Log:
    """One or the other by a condition that broadcasts."""
    return Log(*(jnp.where(condition, a, b) for a, b in zip(log, other, strict=True)))


def take(log: Log, index: jax.Array) -> Log:
    """The entry of each row's last axis at index [B]: [B]."""
    pick = lambda x: jnp.take_along_axis(x, index[:, None], axis=-1)[:, 0]
    return Log(pick(log.whole), pick(log.part))
