"""Initial values of weights, as frozen specs: value-equal, hashable, with a repr that evaluates.

Each is called with (key, shape, dtype), shape [fan_in, fan_out], as `jax.nn.initializers` are; it
holds only what the cells need on top of those: equality, so that two equal cells compile once.
"""

from dataclasses import dataclass
from typing import Protocol, final

import jax
import jax.numpy as jnp

from seqjax import _checks


class Initializer(Protocol):
    """Anything that makes an array from (key, shape, dtype)."""

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype=None) -> jax.Array:
        """An array of this shape; dtype None means JAX's default float."""
        ...


@final
@dataclass(frozen=True)
class GlorotUniform:
    """Uniform in ±sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010, eq. 16."""

    def __call__(self, key, shape, dtype=None):
        """A [fan_in, fan_out] array."""
        return jax.nn.initializers.glorot_uniform()(key, shape, default_dtype(dtype))


@final
@dataclass(frozen=True)
class Orthogonal:
    """`scale` times a random orthogonal matrix, which keeps the norm of a state.

    Saxe, McClelland and Ganguli 2014.
    """

    scale: float = 1.0

    def __post_init__(self):
        _checks.hold_numbers(self, "scale")

    def __call__(self, key, shape, dtype=None):
        """An array with orthonormal rows or columns, whichever are fewer, times scale."""
        return jax.nn.initializers.orthogonal(self.scale)(key, shape, default_dtype(dtype))


@final
@dataclass(frozen=True)
class Identity:
    """`scale` times the identity: with ReLU and small input weights the IRNN.

    Le, Jaitly and Hinton 2015, section 3.
    """

    scale: float = 1.0

    def __post_init__(self):
        _checks.hold_numbers(self, "scale")

    def __call__(self, key, shape, dtype=None):
        """scale * I. Raises ValueError unless shape is square."""
        square = len(shape) == 2 and shape[0] == shape[1]
        _checks.require(square, f"Identity got shape {shape}; expected a square matrix [H, H].")
        return jnp.asarray(self.scale, default_dtype(dtype)) * jnp.eye(*shape, dtype=dtype)


@final
@dataclass(frozen=True)
class Normal:
    """Independent normal draws with mean 0 and standard deviation `stddev`."""

    stddev: float = 0.01

    def __post_init__(self):
        _checks.hold_numbers(self, "stddev")

    def __call__(self, key, shape, dtype=None):
        """An array of this shape."""
        return jax.nn.initializers.normal(self.stddev)(key, shape, default_dtype(dtype))


@final
@dataclass(frozen=True)
class Uniform:
    """Independent uniform draws in [-bound, bound]; torch draws all of a cell's so, at 1/√H."""

    bound: float

    def __post_init__(self):
        _checks.hold_numbers(self, "bound")

    def __call__(self, key, shape, dtype=None):
        """An array of this shape."""
        dtype = default_dtype(dtype)
        return jax.random.uniform(key, shape, dtype, minval=-self.bound, maxval=self.bound)


def default_dtype(dtype=None):
    """dtype, or JAX's default float: float32, or float64 where x64 is enabled."""
    return jnp.zeros((), dtype).dtype


def blocks(initializer: Initializer, key: jax.Array, shape: tuple[int, int], count: int):
    """Draws `count` matrices of this shape, one a gate, side by side: [N, count * M]."""
    keys = jax.random.split(key, count)
    return jnp.concatenate([initializer(k, shape) for k in keys], axis=-1)
