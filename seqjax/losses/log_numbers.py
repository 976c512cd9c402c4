"""Logarithms of small probabilities in two floats, so that long recursions keep their digits.

After thousands of frames a path's log-probability is about -20,000. There float32 numbers are 0.002
apart, and a posterior, the exp of a difference of two of them, is off by percents. So it is split,

    log p = whole + part,    whole an integer, 0 <= part <= 1

and every operation rounds the part alone: an error of 1e-7, however small p is.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

LOG_ZERO = -1e30  # stands for log 0 where an infinity would turn a gradient into NaN


class Log(NamedTuple):
    """The logarithm of numbers [...] of at least 0, as a sum."""

    whole: jax.Array
    part: jax.Array

    @classmethod
    def one_where(cls, place: jax.Array, dtype: Any) -> "Log":
        """log 1 where `place` is True, else log 0."""
        whole = jnp.where(place, 0, LOG_ZERO).astype(dtype)
        return cls(whole, jnp.zeros_like(whole))

    @property
    def value(self) -> jax.Array:
        """The logarithm itself [...], rounded once; about `LOG_ZERO` or less for log 0."""
        return self.whole + self.part

    def times(self, factor: jax.Array) -> "Log":
        """The logarithm of the product with numbers given by their logarithms [...]."""
        part = self.part + jnp.maximum(factor, LOG_ZERO)
        up = jnp.floor(part)
        return Log(self.whole + up, part - up)

    def earlier(self, steps: int) -> "Log":
        """What is `steps` places before on the last axis, log 0 at its beginning."""
        width = self.whole.shape[-1]
        pad = [(0, 0)] * (self.whole.ndim - 1) + [(steps, 0)]
        move = lambda x, fill: jnp.pad(x, pad, constant_values=fill)[..., :width]
        return Log(move(self.whole, LOG_ZERO), move(self.part, 0))

    def where(self, condition: jax.Array, other: "Log") -> "Log":
        """These numbers where the condition is True, else the other ones."""
        return Log(*(jnp.where(condition, a, b) for a, b in zip(self, other, strict=True)))

    def take(self, index: jax.Array) -> "Log":
        """The number of each row [B, N] at index [B]."""
        pick = lambda x: jnp.take_along_axis(x, index[:, None], axis=-1)[:, 0]
        return Log(pick(self.whole), pick(self.part))


def log_sum(*logs: Log) -> Log:
    """The logarithm of a sum of numbers."""
    top = functools.reduce(jnp.maximum, (log.whole for log in logs))
    total = functools.reduce(jnp.add, (jnp.exp(log.whole - top + log.part) for log in logs))
    return Log(top, jnp.zeros_like(top)).times(jnp.log(total))
