"""The simple recurrent unit."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import (
    Activation,
    activation_function,
    name_gate,
    named_activation,
    sigmoid,
)
from seqjax.core.products import dot
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, blocks
from seqjax.linear.linear_cell import LinearCell, check_method
from seqjax.linear.linear_scan import Method
from seqjax.linear.min_gru import zero_state


class SRUParams(NamedTuple):
    """The params of `SRU`; blocks in the order n, f, r, s.

    f = 1 keeps, and r = 1 shows the state rather than the input, as in the paper.

    Fields:
      w_x: [D, 4H] of the inputs, [D, 3H] without s where D = H.
      b: [2H], of f and r.
    """

    w_x: jax.Array
    b: jax.Array

    GATES = Gates("fr", keep="f")


@final
@dataclass(frozen=True)
class SRU(LinearCell):
    """The simple recurrent unit, with its highway. Lei, Zhang and Artzi 2017.

        n, f, r, s = xₜ w_x + (0, b, 0);   s = xₜ where D = H
        cₜ = σ(f) ⊙ cₜ₋₁ + (1 - σ(f)) ⊙ n
        yₜ = σ(r) ⊙ φ(cₜ) + (1 - σ(r)) ⊙ s

    This is the first version, linear in c; the later one adds v ⊙ cₜ₋₁ to both gates and is
    not. Where the input is as wide as the state, the highway carries the input itself.

    The carry is c [B, H].

    Attributes:
      hidden_size: H.
      activation: φ, by name in `jax.nn` or a function.
      w_x_init: initialiser of each [D, H] block of w_x.
      method: how `unroll` evaluates the recurrence, see `linear_scan`.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, activation
        is unknown, method is none of its options, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = SRU(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.shape
      ((4, 3), (4, 3))
    """

    hidden_size: int
    _: KW_ONLY
    activation: Activation = "tanh"
    w_x_init: Initializer = GlorotUniform()
    method: Method = "auto"

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        object.__setattr__(self, "activation", named_activation(self.activation))
        check_method(self.method)

    def init(self, key: jax.Array, input_size: int) -> SRUParams:
        """Draws `SRUParams` for inputs [..., D]; b is 0."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        count = 3 if input_size == size else 4
        return SRUParams(
            w_x=blocks(self.w_x_init, key, (input_size, size), count),
            b=jnp.zeros(2 * size),
        )

    def initial_carry(self, params: SRUParams, batch_size: int, key=None) -> jax.Array:
        """c = 0, [B, H]."""
        return zero_state(params.b, batch_size, params.b.shape[0] // 2)

    def project(self, params: SRUParams, xs: jax.Array) -> tuple[jax.Array, ...]:
        """n, σ(f), σ(r) and what the highway carries, all [..., H], from xs [..., D]."""
        size = params.b.shape[0] // 2
        u = dot("xs", xs, params.w_x)
        n, f, r = (u[..., k * size : (k + 1) * size] for k in range(3))
        b_f, b_r = jnp.split(params.b.astype(u.dtype), 2)
        skip = u[..., 3 * size :] if u.shape[-1] > 3 * size else xs.astype(u.dtype)
        f, r = name_gate(sigmoid(f + b_f), "f"), name_gate(sigmoid(r + b_r), "r")
        return n, f, r, skip

    def coefficients(self, params: SRUParams, zs: tuple) -> tuple[jax.Array, jax.Array]:
        """a = σ(f) and b = (1 - σ(f)) n, both [..., H]."""
        n, f, _, _ = zs
        return f, (1 - f) * n

    def output(self, params: SRUParams, h: jax.Array, z: tuple) -> jax.Array:
        """σ(r) φ(c) + (1 - σ(r)) s, [..., H]."""
        _, _, r, skip = z
        return (r * activation_function(self.activation)(h) + (1 - r) * skip).astype(params.b.dtype)
