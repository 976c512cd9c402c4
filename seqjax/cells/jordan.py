"""Jordan's network, which feeds its output back."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import Activation, activation_function, named_activation
from seqjax.core.products import Affine
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.weights import GlorotUniform


class JordanParams(NamedTuple):
    """The params of `Jordan`.

    Fields:
      w_x: [D, H] of the inputs.
      w_y: [P, H] of the output fed back.
      b: [H].
      w_o: [H, P] of the output.
      b_o: [P].
    """

    w_x: jax.Array
    w_y: jax.Array
    b: jax.Array
    w_o: jax.Array
    b_o: jax.Array


@final
@dataclass(frozen=True)
class Jordan(RecurrentCell):
    """The network that feeds its output back instead of its hidden layer. Jordan 1986.

        hₜ = act(xₜ w_x + yₜ₋₁ w_y + b),   yₜ = out(hₜ w_o + b_o)

    The carry is y [B, P]; h [B, H] is not kept.

    Attributes:
      hidden_size: H.
      output_size: P.
      activation: of the hidden layer, as in `Elman`.
      output_activation: of the output.

    Raises:
      ValueError: if a size, input_size in `init` included, is not a positive integer, if an
        activation is not known, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = Jordan(hidden_size=5, output_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.shape
      ((4, 3), (4, 3))
    """

    hidden_size: int
    _: KW_ONLY
    output_size: int
    activation: Activation = "tanh"
    output_activation: Activation = "sigmoid"

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.hold_ints(self, "output_size")
        for name in ("activation", "output_activation"):
            object.__setattr__(self, name, named_activation(getattr(self, name), name))

    def init(self, key: jax.Array, input_size: int) -> JordanParams:
        """Draws `JordanParams` for inputs [..., D]: Glorot-uniform weights, zero biases."""
        checks.positive_int("input_size", input_size)
        key_x, key_y, key_o = jax.random.split(key, 3)
        draw, hidden, output = GlorotUniform(), self.hidden_size, self.output_size
        return JordanParams(
            w_x=draw(key_x, (input_size, hidden)),
            w_y=draw(key_y, (output, hidden)),
            b=jnp.zeros(hidden),
            w_o=draw(key_o, (hidden, output)),
            b_o=jnp.zeros(output),
        )

    def initial_carry(self, params: JordanParams, batch_size: int, key=None) -> jax.Array:
        """y = 0, [B, P]."""
        return jnp.zeros((batch_size, params.w_o.shape[1]), params.w_o.dtype)

    def recur(
        self, params: JordanParams, carry: jax.Array, z: jax.Array, affine: Affine
    ) -> jax.Array:
        """The next y [B, P], given z [B, H]."""
        hidden = activation_function(self.activation)(affine(carry, params.w_y, z))
        output = affine(hidden, params.w_o, params.b_o)
        return activation_function(self.output_activation)(output).astype(carry.dtype)

    def output(self, params: JordanParams, carry: jax.Array) -> jax.Array:
        """y [B, P] itself."""
        return carry
