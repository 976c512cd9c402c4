"""The minimal gated unit."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate, sigmoid
from seqjax.core.products import Affine, accumulator
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, Orthogonal, blocks


class MGUParams(NamedTuple):
    """The params of `MGU`; blocks in the order f, n, and f = 1 overwrites, as in the paper.

    Fields:
      w_x: [D, 2H] of the inputs.
      w_h: [H, 2H] of the state.
      b: [2H].
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array

    GATES = Gates("fn", write="f")


@final
@dataclass(frozen=True)
class MGU(RecurrentCell):
    """The minimal gated unit: a GRU with one gate. Zhou et al. 2016.

        f = σ(xₜ W_f + hₜ₋₁ U_f + b_f)
        n = tanh(xₜ W_n + (f ⊙ hₜ₋₁) U_n + b_n)
        hₜ = (1 - f) ⊙ hₜ₋₁ + f ⊙ n,   yₜ = hₜ

    It is `GRU` with reset="before" where r = 1 - z = f: two thirds of the parameters, and what a
    unit forgets is what it does not show to the candidate. The gate is called forget gate in the
    paper, and 1 forgets.

    The carry is h [B, H], kept in at least float32.

    Attributes:
      hidden_size: H.
      w_x_init: initialiser of both [D, H] blocks of w_x.
      w_h_init: initialiser of both [H, H] blocks of w_h.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, or in a step
        if inputs are not floats [..., D].

    Example:
      >>> cell = MGU(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape
      (4, 3)
    """

    hidden_size: int
    _: KW_ONLY
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")

    def init(self, key: jax.Array, input_size: int) -> MGUParams:
        """Draws `MGUParams` for inputs [..., D]; b is 0."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h = jax.random.split(key)
        return MGUParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, size), 2),
            w_h=blocks(self.w_h_init, key_h, (size, size), 2),
            b=jnp.zeros(2 * size),
        )

    def initial_carry(self, params: MGUParams, batch_size: int, key=None) -> jax.Array:
        """h = 0, [B, H]."""
        return jnp.zeros((batch_size, params.w_h.shape[0]), accumulator(params.w_h.dtype))

    def recur(self, params: MGUParams, carry: jax.Array, z: jax.Array, affine: Affine) -> jax.Array:
        """The next h [B, H], given z [B, 2H]."""
        u_f, u_n = jnp.split(params.w_h, 2, axis=1)
        x_f, x_n = jnp.split(z, 2, axis=-1)
        f = name_gate(sigmoid(affine(carry, u_f, x_f)), "f")
        n = jnp.tanh(affine(f * carry, u_n, x_n))
        return (1 - f) * carry + f * n

    def output(self, params: MGUParams, carry: jax.Array) -> jax.Array:
        """h [B, H] in the dtype of the params."""
        return carry.astype(params.w_h.dtype)
