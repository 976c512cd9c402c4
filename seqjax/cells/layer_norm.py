"""The LSTM with layer normalisation."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import squash
from seqjax.cells.lstm import LSTMCarry, lstm_bias, zero_lstm_carry
from seqjax.core.products import Affine, add_bias, dot
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, Orthogonal, blocks


class LayerNormLSTMParams(NamedTuple):
    """The params of `LayerNormLSTM`; gates in the order i, f, g, o.

    Fields:
      w_x: [D, 4H] of the inputs.
      w_h: [H, 4H] of the state.
      b: [4H].
      scale_x: [4H] gain of the normalised x w_x.
      scale_h: [4H] gain of the normalised h w_h.
      scale_c: [H] gain of the normalised memory.
      bias_c: [H] shift of the normalised memory.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    scale_x: jax.Array
    scale_h: jax.Array
    scale_c: jax.Array
    bias_c: jax.Array

    GATES = Gates("ifgo", keep="f", write="i")


@final
@dataclass(frozen=True)
class LayerNormLSTM(RecurrentCell):
    """Long short-term memory with layer normalisation. Ba, Kiros and Hinton 2016, eq. 20-22.

        i, f, g, o = LN(xₜ w_x; scale_x) + LN(hₜ₋₁ w_h; scale_h) + b
        cₜ = σ(f) ⊙ cₜ₋₁ + σ(i) ⊙ tanh(g)
        hₜ = σ(o) ⊙ tanh(LN(cₜ; scale_c, bias_c)),   yₜ = hₜ

    LN(a; s, b) = s ⊙ (a - mean a) / √(var a + epsilon) + b over the last axis, all four gates of
    a product together as in the paper. Its separate shifts of the two products add up to b.

    The carry is `LSTMCarry`, h [B, H] and c [B, H].

    Attributes:
      hidden_size: H.
      forget_bias: initial value of b's forget gate.
      epsilon: added to the variance.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of each gate's [H, H] block of w_h.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, if
        forget_bias is not a finite number or epsilon not a positive one, or in a step if
        inputs are not floats [..., D].

    Example:
      >>> cell = LayerNormLSTM(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.h.shape, carry.c.shape
      ((4, 3), (4, 3), (4, 3))
    """

    hidden_size: int
    _: KW_ONLY
    forget_bias: float = 1.0
    epsilon: float = 1e-5
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.hold_numbers(self, "forget_bias")
        checks.hold_numbers(self, "epsilon")
        checks.require(
            self.epsilon > 0, f"epsilon is {self.epsilon!r}; expected a small positive number."
        )

    def init(self, key: jax.Array, input_size: int) -> LayerNormLSTMParams:
        """Draws `LayerNormLSTMParams` for inputs [..., D].

        Gains are 1, shifts are 0 but for forget_bias.
        """
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h = jax.random.split(key)
        return LayerNormLSTMParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, size), 4),
            w_h=blocks(self.w_h_init, key_h, (size, size), 4),
            b=lstm_bias(size, self.forget_bias),
            scale_x=jnp.ones(4 * size),
            scale_h=jnp.ones(4 * size),
            scale_c=jnp.ones(size),
            bias_c=jnp.zeros(size),
        )

    def initial_carry(self, params: LayerNormLSTMParams, batch_size: int, key=None) -> LSTMCarry:
        """h = c = 0, both [B, H]."""
        return zero_lstm_carry(params.w_h, batch_size, params.w_h.shape[0])

    def project(self, params: LayerNormLSTMParams, xs: jax.Array) -> jax.Array:
        """LN(x w_x; scale_x) + b: xs [..., D] -> [..., 4H]."""
        return add_bias(self._norm(dot("xs", xs, params.w_x), params.scale_x), params.b)

    def recur(
        self, params: LayerNormLSTMParams, carry: LSTMCarry, z: jax.Array, affine: Affine
    ) -> LSTMCarry:
        """The next h [B, H] and c [B, H], given z [B, 4H]."""
        z = z + self._norm(affine(carry.h, params.w_h), params.scale_h)
        i, f, g, o = squash(z, "ssts", "ifgo")
        c = f * carry.c + i * g
        shown = add_bias(self._norm(c, params.scale_c), params.bias_c)
        h = o * jnp.tanh(shown)
        return LSTMCarry(h.astype(carry.h.dtype), c)

    def output(self, params: LayerNormLSTMParams, carry: LSTMCarry) -> jax.Array:
        """h [B, H], the output."""
        return carry.h

    def _norm(self, a: jax.Array, scale: jax.Array) -> jax.Array:
        centred = a - jnp.mean(a, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return scale.astype(a.dtype) * centred * jax.lax.rsqrt(variance + self.epsilon)
