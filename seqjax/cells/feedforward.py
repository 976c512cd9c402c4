"""A layer without state, as a cell."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.cells.activations import Activation, activation_function, named_activation
from seqjax.core.cell import ALL
from seqjax.core.products import add_bias, dot
from seqjax.core.steps import Steps
from seqjax.initializers.weights import GlorotUniform, Initializer


class FeedforwardParams(NamedTuple):
    """The params of `Feedforward`.

    Fields:
      w: [D, H] of the inputs.
      b: [H], None where use_bias is False.
    """

    w: jax.Array
    b: jax.Array | None


@final
@dataclass(frozen=True)
class Feedforward(Spec):
    """The same layer at every step, of no memory: the controller of an `NTM`, or a read-out.

        yₜ = act(xₜ w + b)

    Goodfellow et al. 2016, eq. 6.36. The carry is the empty tuple, for any batch [B].

    Attributes:
      hidden_size: H, the width of the outputs.
      activation: a name in `jax.nn` ("tanh", "relu", "identity", ...) or any elementwise function.
      use_bias: False leaves b out (params.b is None).
      w_init: initialiser of w [D, H], see `seqjax.initializers`.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, if the
        activation is not known, or in a step if inputs are not floats [..., D].

    Example:
      >>> import seqjax as sj
      >>> cell = sj.Stack((sj.LSTM(8), sj.cells.Feedforward(3, activation="identity")))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, ys = sj.unroll(cell, params, jnp.ones((4, 5, 2)))
      >>> ys.shape
      (4, 5, 3)
    """

    hidden_size: int
    _: KW_ONLY
    activation: Activation = "tanh"
    use_bias: bool = True
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        object.__setattr__(self, "activation", named_activation(self.activation))

    def init(self, key: jax.Array, input_size: int) -> FeedforwardParams:
        """Draws `FeedforwardParams` for inputs [..., D]; b is 0."""
        checks.positive_int("input_size", input_size)
        return FeedforwardParams(
            w=self.w_init(key, (input_size, self.hidden_size)),
            b=jnp.zeros(self.hidden_size) if self.use_bias else None,
        )

    def initial_carry(self, params: FeedforwardParams, batch_size: int, key=None) -> tuple[()]:
        """Nothing."""
        return ()

    def step(self, params: FeedforwardParams, carry: tuple[()], x: jax.Array):
        """x [B, D] -> y [B, H]."""
        z = add_bias(dot("xs", x, params.w), params.b)
        return carry, activation_function(self.activation)(z).astype(params.w.dtype)

    def unroll(self, params: FeedforwardParams, carry: tuple[()], xs, steps: Steps = ALL):
        """All steps at once: (carry, xs [B, T, D], which steps) -> (carry, ys [B, T, H])."""
        checks.vectors(xs)
        carry, ys = self.step(params, carry, steps.zero_padding(xs))
        return carry, steps.zero_padding(ys)
