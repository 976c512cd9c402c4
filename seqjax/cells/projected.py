"""The LSTM whose hidden state is projected to fewer units."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import squash
from seqjax.cells.lstm import LSTMCarry, lstm_bias, zero_lstm_carry
from seqjax.core.products import Affine
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, blocks


class ProjectedLSTMParams(NamedTuple):
    """The params of `ProjectedLSTM`; gates in the order i, f, g, o.

    Fields:
      w_x: [D, 4H] of the inputs.
      w_h: [P, 4H] of the projected state.
      b: [4H].
      w_p: [H, P] projection.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    w_p: jax.Array

    GATES = Gates("ifgo", keep="f", write="i")


@final
@dataclass(frozen=True)
class ProjectedLSTM(RecurrentCell):
    """Long short-term memory with a recurrent projection (LSTMP). Sak, Senior and Beaufays 2014.

        i, f, g, o = xₜ w_x + hₜ₋₁ w_h + b
        cₜ = σ(f) ⊙ cₜ₋₁ + σ(i) ⊙ tanh(g)
        hₜ = (σ(o) ⊙ tanh(cₜ)) w_p,   yₜ = hₜ

    A large memory with a small recurrent product. The paper's peepholes and its second,
    non-recurrent projection are left out.

    The carry is `LSTMCarry`, h [B, P] and c [B, H].

    Attributes:
      hidden_size: H.
      projection_size: P.
      forget_bias: initial value of b's forget gate.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of each gate's [P, H] block of w_h.

    Raises:
      ValueError: if a size, input_size in `init` included, is not a positive integer, if
        forget_bias is not a finite number, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = ProjectedLSTM(hidden_size=5, projection_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.h.shape, carry.c.shape
      ((4, 3), (4, 3), (4, 5))
    """

    hidden_size: int
    _: KW_ONLY
    projection_size: int
    forget_bias: float = 1.0
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = GlorotUniform()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.hold_ints(self, "projection_size")
        checks.hold_numbers(self, "forget_bias")

    def init(self, key: jax.Array, input_size: int) -> ProjectedLSTMParams:
        """Draws `ProjectedLSTMParams` for inputs [..., D]; b is 0 but for forget_bias."""
        checks.positive_int("input_size", input_size)
        hidden, projection = self.hidden_size, self.projection_size
        key_x, key_h, key_p = jax.random.split(key, 3)
        return ProjectedLSTMParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, hidden), 4),
            w_h=blocks(self.w_h_init, key_h, (projection, hidden), 4),
            b=lstm_bias(hidden, self.forget_bias),
            w_p=GlorotUniform()(key_p, (hidden, projection)),
        )

    def initial_carry(self, params: ProjectedLSTMParams, batch_size: int, key=None) -> LSTMCarry:
        """h = 0 [B, P], c = 0 [B, H]."""
        return zero_lstm_carry(params.w_h, batch_size, params.w_p.shape[0])

    def recur(
        self, params: ProjectedLSTMParams, carry: LSTMCarry, z: jax.Array, affine: Affine
    ) -> LSTMCarry:
        """The next h [B, P] and c [B, H], given z [B, 4H]."""
        i, f, g, o = squash(affine(carry.h, params.w_h, z), "ssts", "ifgo")
        c = f * carry.c + i * g
        h = affine(o * jnp.tanh(c), params.w_p)
        return LSTMCarry(h.astype(carry.h.dtype), c)

    def output(self, params: ProjectedLSTMParams, carry: LSTMCarry) -> jax.Array:
        """h [B, P], the output."""
        return carry.h
