"""The minimal long short-term memory."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate, sigmoid
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, blocks
from seqjax.linear.linear_cell import LinearCell, check_method
from seqjax.linear.linear_scan import Method
from seqjax.linear.min_gru import Candidate, candidate_value, zero_state


class MinLSTMParams(NamedTuple):
    """The params of `MinLSTM`; blocks in the order i, f, g.

    Fields:
      w_x: [D, 3H] of the inputs.
      b: [3H].
    """

    w_x: jax.Array
    b: jax.Array

    GATES = Gates("ifg", keep="f", write="i")


@final
@dataclass(frozen=True)
class MinLSTM(LinearCell):
    """Long short-term memory without recurrent weights. Feng et al. 2024, section 3.2.

        i, f, g = xₜ w_x + b
        f' = σ(f) / (σ(f) + σ(i)),   i' = σ(i) / (σ(f) + σ(i)) = 1 - f'
        hₜ = f' ⊙ hₜ₋₁ + i' ⊙ g,   yₜ = hₜ

    The quotient is computed as f' = σ(softplus(-i) - softplus(-f)), which is right where both
    gates underflow. The paper's output gate is gone too. candidate="positive" replaces g as in
    `MinGRU`, where more is said on logarithms and negative states.

    The carry is h [B, H].

    Attributes:
      hidden_size: H.
      candidate: "linear", or "positive", which keeps h >= 0 from h >= 0.
      forget_bias: initial value of b's forget gate; at 0 both shares begin near 1/2.
      w_x_init: initialiser of the three [D, H] blocks of w_x.
      method: how `unroll` evaluates the recurrence, see `linear_scan`.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, candidate or
        method is none of its options, forget_bias is not a finite number, or in a step if inputs
        are not floats [..., D].

    Example:
      >>> cell = MinLSTM(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.shape
      ((4, 3), (4, 3))
    """

    hidden_size: int
    _: KW_ONLY
    candidate: Candidate = "linear"
    forget_bias: float = 0.0
    w_x_init: Initializer = GlorotUniform()
    method: Method = "auto"

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.one_of("candidate", self.candidate, ("linear", "positive"))
        checks.hold_numbers(self, "forget_bias")
        check_method(self.method)

    def init(self, key: jax.Array, input_size: int) -> MinLSTMParams:
        """Draws `MinLSTMParams` for inputs [..., D]; b is 0 but for forget_bias."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        return MinLSTMParams(
            w_x=blocks(self.w_x_init, key, (input_size, size), 3),
            b=jnp.zeros(3 * size).at[size : 2 * size].set(self.forget_bias),
        )

    def initial_carry(self, params: MinLSTMParams, batch_size: int, key=None) -> jax.Array:
        """h = 0, [B, H]."""
        return zero_state(params.b, batch_size, params.b.shape[0] // 3)

    def coefficients(self, params: MinLSTMParams, zs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """a = f' and b = i' g, both [..., H], from zs [..., 3H]."""
        i, f, g = jnp.split(zs, 3, axis=-1)
        odds = jax.nn.softplus(-i) - jax.nn.softplus(-f)  # of f' against i', in logarithms
        return name_gate(sigmoid(odds), "f"), sigmoid(-odds) * candidate_value(self.candidate, g)

    def output(self, params: MinLSTMParams, h: jax.Array, z: jax.Array) -> jax.Array:
        """h [..., H], the output, in the dtype of the params."""
        return h.astype(params.b.dtype)
