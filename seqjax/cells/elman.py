"""The simple recurrent network."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import Activation, activation_function, named_activation
from seqjax.core.products import Affine
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.weights import GlorotUniform, Initializer, Orthogonal


class ElmanParams(NamedTuple):
    """The params of `Elman`.

    Fields:
      w_x: [D, H] of the inputs.
      w_h: [H, H] of the state.
      b: [H], None where use_bias is False.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array | None


@final
@dataclass(frozen=True)
class Elman(RecurrentCell):
    """The simple recurrent network. Elman 1990; Goodfellow et al. 2016, eq. 10.8-10.9.

        hₜ = act(xₜ w_x + hₜ₋₁ w_h + b),   yₜ = hₜ

    The carry is h [B, H]. The IRNN of Le, Jaitly and Hinton 2015 is one line:
    `Elman(100, activation="relu", w_x_init=Normal(0.001), w_h_init=Identity())`.

    Attributes:
      hidden_size: H.
      activation: a name in `jax.nn` ("tanh", "relu", "sigmoid", ...) or any elementwise function.
      use_bias: False leaves b out (params.b is None).
      w_x_init: initialiser of w_x [D, H], see `seqjax.initializers`.
      w_h_init: initialiser of w_h [H, H].

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, if the
        activation is not known, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = Elman(hidden_size=3, activation="relu")
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape
      (4, 3)
    """

    hidden_size: int
    _: KW_ONLY
    activation: Activation = "tanh"
    use_bias: bool = True
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        object.__setattr__(self, "activation", named_activation(self.activation))

    def init(self, key: jax.Array, input_size: int) -> ElmanParams:
        """Draws `ElmanParams` for inputs [..., D]; b is 0."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h = jax.random.split(key)
        return ElmanParams(
            w_x=self.w_x_init(key_x, (input_size, size)),
            w_h=self.w_h_init(key_h, (size, size)),
            b=jnp.zeros(size) if self.use_bias else None,
        )

    def initial_carry(self, params: ElmanParams, batch_size: int, key=None) -> jax.Array:
        """h = 0, [B, H]."""
        return jnp.zeros((batch_size, params.w_h.shape[0]), params.w_h.dtype)

    def recur(
        self, params: ElmanParams, carry: jax.Array, z: jax.Array, affine: Affine
    ) -> jax.Array:
        """The next h [B, H], given z [B, H]."""
        act = activation_function(self.activation)
        return act(affine(carry, params.w_h, z)).astype(carry.dtype)

    def output(self, params: ElmanParams, carry: jax.Array) -> jax.Array:
        """h [B, H] itself."""
        return carry
