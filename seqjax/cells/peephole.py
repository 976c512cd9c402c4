"""The LSTM whose gates see its memory."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate, sigmoid, squash
from seqjax.cells.lstm import LSTMCarry, lstm_bias, zero_lstm_carry
from seqjax.core.products import Affine
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, Orthogonal, blocks


class PeepholeLSTMParams(NamedTuple):
    """The params of `PeepholeLSTM`; gates in the order i, f, g, o.

    Fields:
      w_x: [D, 4H] of the inputs.
      w_h: [H, 4H] of the state.
      b: [4H].
      p_i: [H] peephole of the input gate.
      p_f: [H] peephole of the forget gate.
      p_o: [H] peephole of the output gate.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    p_i: jax.Array
    p_f: jax.Array
    p_o: jax.Array

    GATES = Gates("ifgo", keep="f", write="i")


@final
@dataclass(frozen=True)
class PeepholeLSTM(RecurrentCell):
    """Long short-term memory with peepholes. Gers, Schraudolph and Schmidhuber 2002.

        i, f, g, o = xₜ w_x + hₜ₋₁ w_h + b
        cₜ = σ(f + p_f ⊙ cₜ₋₁) ⊙ cₜ₋₁ + σ(i + p_i ⊙ cₜ₋₁) ⊙ tanh(g)
        hₜ = σ(o + p_o ⊙ cₜ) ⊙ tanh(cₜ),   yₜ = hₜ

    The input and forget gates see the old memory, the output gate the new one. With all
    peepholes at 0, as `init` leaves them, it is `LSTM`.

    The carry is `LSTMCarry`, h [B, H] and c [B, H].

    Attributes:
      hidden_size: H.
      forget_bias: initial value of b's forget gate.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of each gate's [H, H] block of w_h.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, if
        forget_bias is not a finite number, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = PeepholeLSTM(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.h.shape, carry.c.shape
      ((4, 3), (4, 3), (4, 3))
    """

    hidden_size: int
    _: KW_ONLY
    forget_bias: float = 1.0
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.hold_numbers(self, "forget_bias")

    def init(self, key: jax.Array, input_size: int) -> PeepholeLSTMParams:
        """Draws `PeepholeLSTMParams` for inputs [..., D].

        Peepholes are 0, b is 0 but for forget_bias.
        """
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h = jax.random.split(key)
        return PeepholeLSTMParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, size), 4),
            w_h=blocks(self.w_h_init, key_h, (size, size), 4),
            b=lstm_bias(size, self.forget_bias),
            p_i=jnp.zeros(size),
            p_f=jnp.zeros(size),
            p_o=jnp.zeros(size),
        )

    def initial_carry(self, params: PeepholeLSTMParams, batch_size: int, key=None) -> LSTMCarry:
        """h = c = 0, both [B, H]."""
        return zero_lstm_carry(params.w_h, batch_size, params.w_h.shape[0])

    def recur(
        self, params: PeepholeLSTMParams, carry: LSTMCarry, z: jax.Array, affine: Affine
    ) -> LSTMCarry:
        """The next h [B, H] and c [B, H], given z [B, 4H]."""
        h, c = remember(affine(carry.h, params.w_h, z), carry.c, params)
        return LSTMCarry(h.astype(carry.h.dtype), c)

    def output(self, params: PeepholeLSTMParams, carry: LSTMCarry) -> jax.Array:
        """h [B, H], the output."""
        return carry.h


def remember(u: jax.Array, c: jax.Array, params: Any) -> LSTMCarry:
    """The next h and c [..., H], both in c's dtype, from gates u [..., 4H] and the old memory c.

    params has the peepholes p_i, p_f and p_o, [..., H] each or all None.
    """
    if params.p_i is None:
        i, f, g, o = squash(u, "ssts", "ifgo")
        c = f * c + i * g
        return LSTMCarry(o * jnp.tanh(c), c)
    i, f, g, o = jnp.split(u, 4, axis=-1)
    peep = lambda p, c: p.astype(c.dtype) * c
    keep = name_gate(sigmoid(f + peep(params.p_f, c)), "f")
    write = name_gate(sigmoid(i + peep(params.p_i, c)), "i")
    c = keep * c + write * jnp.tanh(g)
    show = name_gate(sigmoid(o + peep(params.p_o, c)), "o")
    return LSTMCarry(show * jnp.tanh(c), c)
