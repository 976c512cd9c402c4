"""Gated cells whose units see only themselves: Newton's method over time is exact and cheap."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate
from seqjax.cells.lstm import LSTMCarry
from seqjax.core.products import Affine, accumulator
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, Uniform, blocks


class DiagonalGRUParams(NamedTuple):
    """The params of `DiagonalGRU`; gates in the order r, z, n.

    Fields:
      w_x: [D, 3H] of the inputs.
      w_h: [3, H] of the state, a diagonal for each gate.
      b: [3H], None where use_bias is False.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array | None

    GATES = Gates("rzn", keep="z")


@final
@dataclass(frozen=True)
class DiagonalGRU(RecurrentCell):
    """A GRU with diagonal recurrent matrices, the ParaGRU of Danieli et al. 2025.

        r = σ(xₜ W_r + u_r ⊙ hₜ₋₁ + b_r),   z = σ(xₜ W_z + u_z ⊙ hₜ₋₁ + b_z)
        n = tanh(xₜ W_n + u_n ⊙ (r ⊙ hₜ₋₁) + b_n)
        hₜ = (1 - z) ⊙ n + z ⊙ hₜ₋₁,   yₜ = hₜ

    dhₜ/dhₜ₋₁ is diagonal, so that `newton.unroll(..., method="block-newton")` is exact Newton at
    the cost of an elementwise recurrence. Units meet in the next layer only. z = 1 keeps the past,
    as in `GRU`. The carry is h [B, H], kept in at least float32.

    Attributes:
      hidden_size: H.
      use_bias: False leaves b out.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of w_h [3, H].

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, or in a step
        if inputs are not floats [..., D].

    Example:
      >>> cell = DiagonalGRU(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape
      (4, 3)
    """

    elementwise: ClassVar[bool] = True

    hidden_size: int
    _: KW_ONLY
    use_bias: bool = True
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Uniform(1.0)

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")

    def init(self, key: jax.Array, input_size: int) -> DiagonalGRUParams:
        """Draws `DiagonalGRUParams` for inputs [..., D]; biases are 0."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h = jax.random.split(key)
        return DiagonalGRUParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, size), 3),
            w_h=self.w_h_init(key_h, (3, size)),
            b=jnp.zeros(3 * size) if self.use_bias else None,
        )

    def initial_carry(self, params: DiagonalGRUParams, batch_size: int, key=None) -> jax.Array:
        """h = 0, [B, H]."""
        return jnp.zeros((batch_size, params.w_h.shape[1]), accumulator(params.w_h.dtype))

    def recur(
        self, params: DiagonalGRUParams, carry: jax.Array, z: jax.Array, affine: Affine
    ) -> jax.Array:
        """The next h [B, H], given z [B, 3H]."""
        del affine  # nothing is multiplied by a matrix
        u_r, u_z, u_n = params.w_h.astype(carry.dtype)
        x_r, x_z, x_n = jnp.split(z.astype(carry.dtype), 3, axis=-1)
        r = name_gate(jax.nn.sigmoid(x_r + u_r * carry), "r")
        keep = name_gate(jax.nn.sigmoid(x_z + u_z * carry), "z")
        n = jnp.tanh(x_n + u_n * (r * carry))
        return (1 - keep) * n + keep * carry

    def output(self, params: DiagonalGRUParams, carry: jax.Array) -> jax.Array:
        """h [B, H] in the dtype of the params."""
        return carry.astype(params.w_h.dtype)


class DiagonalLSTMParams(NamedTuple):
    """The params of `DiagonalLSTM`; gates in the order f, g, o.

    Fields:
      w_x: [D, 3H] of the inputs.
      w_h: [3, H] of h, a diagonal for each gate.
      w_c: [2, H] of c, for f and o.
      b: [3H], None where use_bias is False.
    """

    w_x: jax.Array
    w_h: jax.Array
    w_c: jax.Array
    b: jax.Array | None

    GATES = Gates("fgo", keep="f")


@final
@dataclass(frozen=True)
class DiagonalLSTM(RecurrentCell):
    """A coupled LSTM with peepholes and diagonal matrices, the ParaLSTM of Danieli et al. 2025.

        f = σ(xₜ W_f + u_f ⊙ hₜ₋₁ + p_f ⊙ cₜ₋₁ + b_f),   g = tanh(xₜ W_g + u_g ⊙ hₜ₋₁ + b_g)
        cₜ = f ⊙ cₜ₋₁ + (1 - f) ⊙ g
        o = σ(xₜ W_o + u_o ⊙ hₜ₋₁ + p_o ⊙ cₜ + b_o),   hₜ = o ⊙ tanh(cₜ),   yₜ = hₜ

    A unit's (h, c) have a Jacobian of 2 x 2 numbers, and all others are zero, so that
    `newton.unroll(..., method="block-newton")` is exact Newton. The carry is
    `LSTMCarry(h [B, H], c [B, H])`, both in at least float32.

    Attributes:
      hidden_size: H.
      forget_bias: of f at `init`; 0 without a bias.
      use_bias: False leaves b out.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of w_h [3, H] and w_c [2, H].

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, forget_bias is
        not a finite number, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = DiagonalLSTM(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> carry.c.shape, y.shape
      ((4, 3), (4, 3))
    """

    elementwise: ClassVar[bool] = True

    hidden_size: int
    _: KW_ONLY
    forget_bias: float = 1.0
    use_bias: bool = True
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Uniform(1.0)

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.hold_numbers(self, "forget_bias")

    def init(self, key: jax.Array, input_size: int) -> DiagonalLSTMParams:
        """Draws `DiagonalLSTMParams` for inputs [..., D]; the forget bias is in b."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h, key_c = jax.random.split(key, 3)
        return DiagonalLSTMParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, size), 3),
            w_h=self.w_h_init(key_h, (3, size)),
            w_c=self.w_h_init(key_c, (2, size)),
            b=jnp.zeros(3 * size).at[:size].set(self.forget_bias) if self.use_bias else None,
        )

    def initial_carry(self, params: DiagonalLSTMParams, batch_size: int, key=None) -> LSTMCarry:
        """h = c = 0, [B, H]."""
        zeros = jnp.zeros((batch_size, params.w_h.shape[1]), accumulator(params.w_h.dtype))
        return LSTMCarry(h=zeros, c=zeros)

    def recur(
        self, params: DiagonalLSTMParams, carry: LSTMCarry, z: jax.Array, affine: Affine
    ) -> LSTMCarry:
        """The next (h, c), given z [B, 3H]."""
        del affine  # nothing is multiplied by a matrix
        h, c = carry
        u_f, u_g, u_o = params.w_h.astype(h.dtype)
        p_f, p_o = params.w_c.astype(c.dtype)
        x_f, x_g, x_o = jnp.split(z.astype(h.dtype), 3, axis=-1)
        f = name_gate(jax.nn.sigmoid(x_f + u_f * h + p_f * c), "f")
        c = f * c + (1 - f) * jnp.tanh(x_g + u_g * h)
        o = name_gate(jax.nn.sigmoid(x_o + u_o * h + p_o * c), "o")
        return LSTMCarry(h=o * jnp.tanh(c), c=c)

    def output(self, params: DiagonalLSTMParams, carry: LSTMCarry) -> jax.Array:
        """h [B, H] in the dtype of the params."""
        return carry.h.astype(params.w_h.dtype)
