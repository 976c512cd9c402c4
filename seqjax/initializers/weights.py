"""Initial values of weights, as frozen specs: value-equal, hashable, with a repr that evaluates.

Each is called with (key, shape, dtype), shape [fan_in, fan_out], as `jax.nn.initializers` are; it
holds only what the cells need on top of those: equality, so that two equal cells compile once.
"""

from dataclasses import dataclass
from typing import Protocol, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks


class Initializer(Protocol):
    """Anything that makes an array from (key, shape, dtype); shape is [fan_in, fan_out] in a cell.

    Those of `jax.nn.initializers` do, but compare by identity: two cells with one of them are
    equal, and compiled once, only if it is the same object.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.Elman(4, activation="relu", w_x_init=jax.nn.initializers.he_normal())
      >>> cell.init(jax.random.key(0), input_size=2).w_x.shape
      (2, 4)
    """

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype=None) -> jax.Array:
        """An array of this shape [fan_in, fan_out]; dtype None means JAX's default float."""
        ...


@final
@dataclass(frozen=True)
class GlorotUniform:
    """Uniform in ±sqrt(6 / (fan_in + fan_out)), [fan_in, fan_out]. Glorot and Bengio 2010, eq. 16.

    Raises:
      ValueError: when called, if shape has fewer than two axes or key is not
        a typed key.

    Example:
      >>> w = GlorotUniform()(jax.random.key(0), (2, 4))
      >>> w.shape, bool(jnp.max(jnp.abs(w)) <= 1)
      ((2, 4), True)
    """

    def __call__(self, key, shape, dtype=None):
        """A [fan_in, fan_out] array."""
        checks.key(key)
        return jax.nn.initializers.glorot_uniform()(key, shape, default_dtype(dtype))


@final
@dataclass(frozen=True)
class Orthogonal:
    """`scale` times a random orthogonal matrix, which keeps the norm of a state.

    A [fan_in, fan_out] array with orthonormal rows or columns, whichever are fewer, times scale.
    Saxe, McClelland and Ganguli 2014.

    Raises:
      ValueError: if scale is not a finite number; when called, if shape has fewer than two axes
        or key is not a typed key.

    Example:
      >>> w = Orthogonal()(jax.random.key(0), (3, 3))
      >>> bool(jnp.allclose(w @ w.T, jnp.eye(3), atol=1e-5))
      True
    """

    scale: float = 1.0

    def __post_init__(self):
        checks.hold_numbers(self, "scale")

    def __call__(self, key, shape, dtype=None):
        """A [fan_in, fan_out] array."""
        checks.key(key)
        return jax.nn.initializers.orthogonal(self.scale)(key, shape, default_dtype(dtype))


@final
@dataclass(frozen=True)
class Identity:
    """`scale` times the identity: with ReLU and small input weights the IRNN.

    A square array [H, H]. Le, Jaitly and Hinton 2015, section 3.

    Raises:
      ValueError: if scale is not a finite number; when called, if shape is not square.

    Example:
      >>> print(Identity(0.5)(jax.random.key(0), (2, 2)))
      [[0.5 0. ]
       [0.  0.5]]
    """

    scale: float = 1.0

    def __post_init__(self):
        checks.hold_numbers(self, "scale")

    def __call__(self, key, shape, dtype=None):
        """scale * I, [H, H]. Raises ValueError unless shape is square."""
        square = len(shape) == 2 and shape[0] == shape[1]
        checks.require(square, f"Identity got shape {shape}; expected a square matrix [H, H].")
        return jnp.asarray(self.scale, default_dtype(dtype)) * jnp.eye(*shape, dtype=dtype)


@final
@dataclass(frozen=True)
class Normal:
    """Independent normal draws with mean 0 and standard deviation `stddev`, of any shape [...].

    Krizhevsky, Sutskever and Hinton 2012, section 5, for 0.01.

    Raises:
      ValueError: if stddev is not a finite number; when called, if key is not a typed key.

    Example:
      >>> w = Normal(0.1)(jax.random.key(0), (100, 100))
      >>> w.shape, round(float(jnp.std(w)), 2)
      ((100, 100), 0.1)
    """

    stddev: float = 0.01

    def __post_init__(self):
        checks.hold_numbers(self, "stddev")

    def __call__(self, key, shape, dtype=None):
        """An array of this shape."""
        checks.key(key)
        return jax.nn.initializers.normal(self.stddev)(key, shape, default_dtype(dtype))


@final
@dataclass(frozen=True)
class Uniform:
    """Independent uniform draws in [-bound, bound), of any shape [...].

    torch draws all of a cell's params so, at bound 1/√H. Glorot and Bengio 2010, eq. 1, for
    1/√fan_in.

    Raises:
      ValueError: if bound is not a finite number; when called, if key is not a typed key.

    Example:
      >>> w = Uniform(0.5)(jax.random.key(0), (2, 4))
      >>> w.shape, bool(jnp.max(jnp.abs(w)) <= 0.5)
      ((2, 4), True)
    """

    bound: float

    def __post_init__(self):
        checks.hold_numbers(self, "bound")

    def __call__(self, key, shape, dtype=None):
        """An array of this shape."""
        checks.key(key)
        dtype = default_dtype(dtype)
        return jax.random.uniform(key, shape, dtype, minval=-self.bound, maxval=self.bound)


def default_dtype(dtype=None):
    """dtype, or JAX's default float: float32, or float64 where x64 is enabled."""
    return jnp.zeros((), dtype).dtype


def blocks(initializer: Initializer, key: jax.Array, shape: tuple[int, ...], count: int):
    """Draws `count` arrays of this shape, one a gate, side by side: [..., N, count * M]."""
    keys = jax.random.split(key, count)
    return jnp.concatenate([initializer(k, shape) for k in keys], axis=-1)
