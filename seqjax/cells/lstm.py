"""Long short-term memory."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import squash
from seqjax.core.products import Affine, accumulator
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, Orthogonal, blocks


class LSTMParams(NamedTuple):
    """The params of `LSTM`; gates in the order i, f, g, o.

    Fields:
      w_x: [D, 4H] of the inputs.
      w_h: [H, 4H] of the state.
      b: [4H], None where use_bias is False.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array | None

    GATES = Gates("ifgo", keep="f", write="i")


class LSTMCarry(NamedTuple):
    """The state of an LSTM, or a number for each part where a setting differs, as in `Zoneout`.

    Fields:
      h: [B, H] hidden state ([B, P] in `ProjectedLSTM`), in the dtype of the params.
      c: [B, H] memory, in at least float32.
    """

    h: Any
    c: Any


@final
@dataclass(frozen=True)
class LSTM(RecurrentCell):
    """Long short-term memory with a forget gate.

        i, f, g, o = xₜ w_x + hₜ₋₁ w_h + b
        cₜ = σ(f) ⊙ cₜ₋₁ + σ(i) ⊙ tanh(g)
        hₜ = σ(o) ⊙ tanh(cₜ),   yₜ = hₜ

    Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000. The forget
    bias is part of b from `init` on and is never added in the step (Jozefowicz et al. 2015 for
    its value). Two biases, as in torch and cuDNN, are one: b = b_ih + b_hh.

    The carry is `LSTMCarry`, h [B, H] and c [B, H].

    Attributes:
      hidden_size: H.
      forget_bias: initial value of b's forget gate; σ(b) is the share of c kept a step.
      use_bias: False leaves b out (params.b is None); forget_bias must then be 0.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of each gate's [H, H] block of w_h.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, if
        forget_bias is not a finite number, or not 0 while use_bias is False, or in a step if
        inputs are not floats [..., D].

    Example:
      >>> cell = LSTM(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.c.shape
      ((4, 3), (4, 3))
    """

    hidden_size: int
    _: KW_ONLY
    forget_bias: float = 1.0
    use_bias: bool = True
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.hold_numbers(self, "forget_bias")
        checks.require(
            self.use_bias or self.forget_bias == 0,
            f"forget_bias is {self.forget_bias!r} but use_bias is False, and the forget bias "
            "lives in b; pass forget_bias=0.0 or use_bias=True.",
        )

    def init(self, key: jax.Array, input_size: int) -> LSTMParams:
        """Draws `LSTMParams` for inputs [..., D]; b is 0 but for the forget gate's forget_bias."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h = jax.random.split(key)
        return LSTMParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, size), 4),
            w_h=blocks(self.w_h_init, key_h, (size, size), 4),
            b=lstm_bias(size, self.forget_bias) if self.use_bias else None,
        )

    def initial_carry(self, params: LSTMParams, batch_size: int, key=None) -> LSTMCarry:
        """h = c = 0, both [B, H]."""
        return zero_lstm_carry(params.w_h, batch_size, params.w_h.shape[0])

    def recur(
        self, params: LSTMParams, carry: LSTMCarry, z: jax.Array, affine: Affine
    ) -> LSTMCarry:
        """The next h [B, H] and c [B, H], given z [B, 4H]."""
        i, f, g, o = squash(affine(carry.h, params.w_h, z), "ssts", "ifgo")
        c = f * carry.c + i * g
        h = o * jnp.tanh(c)
        return LSTMCarry(h.astype(carry.h.dtype), c)

    def output(self, params: LSTMParams, carry: LSTMCarry) -> jax.Array:
        """h [B, H], the output."""
        return carry.h


def lstm_bias(hidden_size: int, forget_bias: float) -> jax.Array:
    """Zeros [4H] with forget_bias in the forget gate's block."""
    return jnp.zeros(4 * hidden_size).at[hidden_size : 2 * hidden_size].set(forget_bias)


def zero_lstm_carry(w_h: jax.Array, batch_size: int, hidden_size: int) -> LSTMCarry:
    """A zero carry for recurrent weights w_h [P, 4H]: h in their dtype, c in at least float32.

    c is a sum over many steps: in bfloat16 an increment under c / 256 would be lost.
    """
    h = jnp.zeros((batch_size, w_h.shape[0]), w_h.dtype)
    return LSTMCarry(h, jnp.zeros((batch_size, hidden_size), accumulator(w_h.dtype)))
