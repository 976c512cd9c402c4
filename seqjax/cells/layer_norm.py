"""The LSTM with layer normalisation."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax import _checks
from seqjax.cells.base import RecurrentCell, add_bias, dot
from seqjax.cells.lstm import LSTMCarry, lstm_bias, zero_lstm_carry
from seqjax.initializers import GlorotUniform, Initializer, Orthogonal, blocks


class LayerNormLSTMParams(NamedTuple):
    """w_x [D, 4H], w_h [H, 4H], b [4H], gates i, f, g, o.

    Gains scale_x, scale_h [4H] of the two products; scale_c, bias_c [H] of the memory.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    scale_x: jax.Array
    scale_h: jax.Array
    scale_c: jax.Array
    bias_c: jax.Array


@final
@dataclass(frozen=True)
class LayerNormLSTM(RecurrentCell):
    """Long short-term memory with layer normalisation. Ba, Kiros and Hinton 2016, eq. 20-22.

        i, f, g, o = LN(xₜ w_x; scale_x) + LN(hₜ₋₁ w_h; scale_h) + b
        cₜ = σ(f) ⊙ cₜ₋₁ + σ(i) ⊙ tanh(g)
        hₜ = σ(o) ⊙ tanh(LN(cₜ; scale_c, bias_c)),   yₜ = hₜ

    LN(a; s, b) = s ⊙ (a - mean a) / √(var a + epsilon) + b over the last axis, all four gates of
    a product together as in the paper. Its separate shifts of the two products add up to b.

    Attributes:
      hidden_size: H.
      forget_bias: initial value of b's forget gate.
      epsilon: added to the variance.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of each gate's [H, H] block of w_h.

    Raises:
      ValueError: if hidden_size or epsilon is not positive.
    """

    hidden_size: int
    forget_bias: float = 1.0
    epsilon: float = 1e-5
    _: KW_ONLY
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        _checks.hold_ints(self, "hidden_size")
        _checks.hold_numbers(self, "forget_bias")
        _checks.hold_numbers(self, "epsilon")
        _checks.require(
            self.epsilon > 0, f"epsilon is {self.epsilon!r}; expected a small positive number."
        )

    def init(self, key: jax.Array, input_size: int) -> LayerNormLSTMParams:
        """Draws params; gains are 1, shifts are 0 but for forget_bias."""
        _checks.positive_int("input_size", input_size)
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
        """h = c = 0, [B, H]."""
        return zero_lstm_carry(params.w_h, batch_size, params.w_h.shape[0])

    def project(self, params: LayerNormLSTMParams, xs: jax.Array) -> jax.Array:
        """LN(x w_x) + b, [..., 4H]."""
        return add_bias(self._norm(dot("xs", xs, params.w_x), params.scale_x), params.b)

    def recur(self, params: LayerNormLSTMParams, carry: LSTMCarry, z: jax.Array) -> LSTMCarry:
        """The next h and c."""
        z = z + self._norm(dot("carry.h", carry.h, params.w_h), params.scale_h)
        i, f, g, o = jnp.split(z, 4, axis=-1)
        c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        shown = add_bias(self._norm(c, params.scale_c), params.bias_c)
        h = jax.nn.sigmoid(o) * jnp.tanh(shown)
        return LSTMCarry(h.astype(carry.h.dtype), c)

    def output(self, params: LayerNormLSTMParams, carry: LSTMCarry) -> jax.Array:
        """h."""
        return carry.h

    def _norm(self, a: jax.Array, scale: jax.Array) -> jax.Array:
        centred = a - jnp.mean(a, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return scale.astype(a.dtype) * centred * jax.lax.rsqrt(variance + self.epsilon)
