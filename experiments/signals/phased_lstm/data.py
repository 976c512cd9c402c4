"""Sine waves seen at few and uneven times: is the period between 5 and 6? Neil et al. 2016."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

SPECIAL = 5.0, 6.0
PERIODS = 1.0, 100.0
FEWEST, MOST = 15, 125  # samples, and units of time, of a row
# Half of the rows are special on purpose, and some of the others by chance.
BASELINE = 0.5 + 0.5 * math.log(SPECIAL[1] / SPECIAL[0]) / math.log(PERIODS[1] / PERIODS[0])


class Waves(NamedTuple):
    """Rows of samples.

    Fields:
      values: [B, T] samples of a sine.
      times: [B, T] when each was taken, in 0..125, increasing.
      lengths: [B] number of samples of each row; after them stands 0.
      special: [B] bool, whether the period lies in 5..6.
    """

    values: jax.Array
    times: jax.Array
    lengths: jax.Array
    special: jax.Array


def draw(key: jax.Array, rows: int, resolution: float | None = None) -> Waves:
    """Draws rows of up to 125 samples at random times, or every `resolution` units of time.

    Every wave lasts 15 to 125 units of time and lies somewhere in 0..125.
    """
    keys = jax.random.split(key, 7)
    uniform = lambda key, low, high: jax.random.uniform(key, (rows,), minval=low, maxval=high)
    duration = uniform(keys[0], FEWEST, MOST)
    start = uniform(keys[1], 0.0, 1.0) * (MOST - duration)
    if resolution is None:
        lengths = jax.random.randint(keys[2], (rows,), FEWEST, MOST)
        times = random_times(keys[3], lengths) * duration[:, None]
    else:
        count = math.ceil(MOST / resolution)
        lengths = jnp.ceil(duration / resolution).astype(jnp.int32)
        times = jnp.broadcast_to(resolution * jnp.arange(count, dtype=jnp.float32), (rows, count))
    times = times + start[:, None]
    period = jnp.exp(uniform(keys[4], *map(math.log, PERIODS)))
    period = jnp.where(jnp.arange(rows) < rows // 2, uniform(keys[5], *SPECIAL), period)
    phase = uniform(keys[6], 0.0, 2 * math.pi)
    values = jnp.sin(2 * math.pi * times / period[:, None] + phase[:, None])
    real = jnp.arange(times.shape[1]) < lengths[:, None]
    special = (period >= SPECIAL[0]) & (period <= SPECIAL[1])
    return Waves(jnp.where(real, values, 0), jnp.where(real, times, 0), lengths, special)


def random_times(key: jax.Array, lengths: jax.Array) -> jax.Array:
    """[B, T] uniform numbers in 0..1, the first `lengths` of each row in order."""
    times = jax.random.uniform(key, (lengths.shape[0], MOST - 1))
    real = jnp.arange(MOST - 1) < lengths[:, None]
    return jnp.sort(jnp.where(real, times, 2.0), axis=1)


def differences(waves: Waves) -> jax.Array:
    """[B, T] time since the sample before, 0 at the first one and in padding."""
    gaps = jnp.diff(waves.times, axis=1, prepend=waves.times[:, :1])
    return jnp.maximum(gaps, 0)  # padding lies at 0
