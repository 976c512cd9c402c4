"""Products of states and inputs with weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks

Affine = Callable[..., jax.Array]


def affine(x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """x w + b: x [..., N], w [N, M], b [..., M]; the sum in at least float32.

    Raises:
      ValueError: if x is not floating or not of width N.
    """
    u = dot("carry", x, w)
    return u if b is None else u + b.astype(u.dtype)


def dot(name: str, x: jax.Array, w: jax.Array) -> jax.Array:
    """x [..., N] times w [N, M] in w's dtype, accumulated in at least float32.

    Raises:
      ValueError: if x, called `name` in the message, is not floating or not of width N.
    """
    checks.require(
        checks.is_float(x),
        f"{name} has dtype {x.dtype}; expected floating point. Embed or one-hot tokens first.",
    )
    checks.require(
        x.shape[-1:] == w.shape[:1],
        f"{name} has width {x.shape[-1] if x.ndim else None} but meets weights {list(w.shape)}; "
        f"expected width {w.shape[0]}, the size that these params were initialised for.",
    )
    rows = x.astype(w.dtype).reshape(-1, w.shape[0])  # a product of matrices, also when transposed
    product = jnp.matmul(rows, w, preferred_element_type=accumulator(w.dtype))
    return product.reshape(*x.shape[:-1], w.shape[1])


def accumulator(dtype: Any) -> Any:
    """The dtype in which sums over many terms or steps are kept: at least float32."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)


def add_bias(z: jax.Array, b: jax.Array | None) -> jax.Array:
    """z + b, in z's dtype; None adds nothing."""
    return z if b is None else z + b.astype(z.dtype)
