"""The simple recurrent network, and Jordan's, which feeds its output back."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax import _checks
from seqjax.cells.base import RecurrentCell, add_bias, dot
from seqjax.initializers import GlorotUniform, Initializer, Orthogonal

Activation = str | Callable[[jax.Array], jax.Array]


class ElmanParams(NamedTuple):
    """w_x [D, H], w_h [H, H], b [H] or None."""

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array | None


@final
@dataclass(frozen=True)
class Elman(RecurrentCell):
    """The simple recurrent network. Elman 1990; Goodfellow et al. 2016, eq. 10.8-10.9.

        hₜ = act(xₜ w_x + hₜ₋₁ w_h + b),   yₜ = hₜ

    The carry is h [B, H]. The IRNN of Le, Jaitly and Hinton 2015 is one line:
    `Elman(100, "relu", w_x_init=Normal(0.001), w_h_init=Identity())`.

    Attributes:
      hidden_size: H.
      activation: a name in `jax.nn` ("tanh", "relu", "sigmoid", ...) or any elementwise function.
      use_bias: False leaves b out (params.b is None).
      w_x_init: initialiser of w_x, see `seqjax.initializers`.
      w_h_init: initialiser of w_h.

    Raises:
      ValueError: if hidden_size is not positive or the activation is not known.

    Example:
      >>> cell = Elman(hidden_size=3, activation="relu")
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape
      (4, 3)
    """

    hidden_size: int
    activation: Activation = "tanh"
    _: KW_ONLY
    use_bias: bool = True
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        _checks.hold_ints(self, "hidden_size")
        object.__setattr__(self, "activation", named_activation(self.activation))

    def init(self, key: jax.Array, input_size: int) -> ElmanParams:
        """Draws params; b is 0."""
        _checks.positive_int("input_size", input_size)
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

    def recur(self, params: ElmanParams, carry: jax.Array, z: jax.Array) -> jax.Array:
        """The next h."""
        act = activation_function(self.activation)
        return act(z + dot("carry", carry, params.w_h)).astype(carry.dtype)

    def output(self, params: ElmanParams, carry: jax.Array) -> jax.Array:
        """h itself."""
        return carry


class JordanParams(NamedTuple):
    """w_x [D, H], w_y [P, H], b [H], w_o [H, P], b_o [P]."""

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

    The carry is y [B, P].

    Attributes:
      hidden_size: H.
      output_size: P.
      activation: of the hidden layer, as in `Elman`.
      output_activation: of the output.

    Raises:
      ValueError: if a size is not positive or an activation is not known.
    """

    hidden_size: int
    output_size: int
    activation: Activation = "tanh"
    output_activation: Activation = "sigmoid"

    def __post_init__(self):
        _checks.hold_ints(self, "hidden_size")
        _checks.hold_ints(self, "output_size")
        for name in ("activation", "output_activation"):
            object.__setattr__(self, name, named_activation(getattr(self, name), name))

    def init(self, key: jax.Array, input_size: int) -> JordanParams:
        """Draws params: Glorot-uniform weights, zero biases."""
        _checks.positive_int("input_size", input_size)
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

    def recur(self, params: JordanParams, carry: jax.Array, z: jax.Array) -> jax.Array:
        """The next y."""
        hidden = activation_function(self.activation)(z + dot("carry", carry, params.w_y))
        output = add_bias(dot("h", hidden, params.w_o), params.b_o)
        return activation_function(self.output_activation)(output).astype(carry.dtype)

    def output(self, params: JordanParams, carry: jax.Array) -> jax.Array:
        """y itself."""
        return carry


def named_activation(activation: Activation, argument: str = "activation") -> Activation:
    """Turns a function of `jax.nn` into its name, so that the spec's repr evaluates.

    Raises:
      ValueError: if a name is not in `jax.nn`, or what came is neither name nor function.
    """
    if isinstance(activation, str):
        known = callable(getattr(jax.nn, activation, None))
        _checks.require(
            known,
            f"{argument} is {activation!r}; expected a name in jax.nn such as 'tanh', 'relu' or "
            "'sigmoid', or an elementwise function.",
        )
        return activation
    _checks.require(
        callable(activation),
        f"{argument} is {activation!r}; expected a name in jax.nn or an elementwise function.",
    )
    name = getattr(activation, "__name__", "")
    same = activation in (getattr(jax.nn, name, None), getattr(jnp, name, None))
    return name if same and hasattr(jax.nn, name) else activation


def activation_function(activation: Activation) -> Callable[[jax.Array], jax.Array]:
    """The function that a name in `jax.nn` stands for."""
    return getattr(jax.nn, activation) if isinstance(activation, str) else activation
