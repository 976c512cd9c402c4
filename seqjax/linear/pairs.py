"""Complex numbers as two real arrays, and the products that a linear recurrence needs of both."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Complex(NamedTuple):
    """Complex numbers as two real arrays of one shape [...], for `linear_scan` and carries.

    Real arrays compile faster than complex ones, have a bfloat16, and their gradients need no
    convention. `Complex(z.real, z.imag)` makes one from a complex array,
    `jax.lax.complex(*pair)` the other way.

    Fields:
      real: real part [...].
      imag: imaginary part, of the same shape.
    """

    real: Any
    imag: Any


def multiply(a: Any, b: Any) -> Any:
    """a b, elementwise: both real, both `Complex`, or one of each."""
    if not isinstance(a, Complex):
        return jax.tree.map(lambda part: a * part, b)
    if not isinstance(b, Complex):
        return multiply(b, a)
    return Complex(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)


def add(a: Any, b: Any) -> Any:
    """a + b, elementwise, of one kind."""
    return jax.tree.map(jnp.add, a, b)


def conjugate(a: Any) -> Any:
    """The complex conjugate; a real array is its own."""
    return Complex(a.real, -a.imag) if isinstance(a, Complex) else a


def polar(log_radius: jax.Array, angle: jax.Array) -> Complex:
    """exp(log_radius + i angle), [...]."""
    radius = jnp.exp(log_radius)
    return Complex(radius * jnp.cos(angle), radius * jnp.sin(angle))


def ones_like(a: Any) -> Any:
    """Ones of the kind and shape of a."""
    if isinstance(a, Complex):
        return Complex(jnp.ones_like(a.real), jnp.zeros_like(a.imag))
    return jnp.ones_like(a)
