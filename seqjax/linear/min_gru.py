"""The minimal gated recurrent unit."""

from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate, sigmoid
from seqjax.core.products import accumulator
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, blocks
from seqjax.linear.linear_cell import LinearCell, check_method
from seqjax.linear.linear_scan import Method

Candidate = Literal["linear", "positive"]


class MinGRUParams(NamedTuple):
    """The params of `MinGRU`; blocks in the order z, n, and z = 1 overwrites, as in the paper.

    Fields:
      w_x: [D, 2H] of the inputs.
      b: [2H].
    """

    w_x: jax.Array
    b: jax.Array

    GATES = Gates("zn", write="z")


@final
@dataclass(frozen=True)
class MinGRU(LinearCell):
    """The gated recurrent unit without recurrent weights. Feng et al. 2024, section 3.1.

        z, n = xₜ w_x + b
        hₜ = (1 - σ(z)) ⊙ hₜ₋₁ + σ(z) ⊙ n,   yₜ = hₜ

    Gates see the input alone, so that one layer cannot select by what it has stored. Here z
    writes, as in the paper; in `GRU` it keeps. With candidate="positive" n is replaced by g(n),
    n + 1/2 where n >= 0 and σ(n) elsewhere (appendix B): what the authors train, in order to take
    logarithms of states. Nothing is computed in logarithms here, so a negative carry is as good as
    any other: it decays by the same factors.

    The carry is h [B, H].

    Attributes:
      hidden_size: H.
      candidate: "linear", or "positive" for g(n), which keeps h >= 0 from h >= 0.
      w_x_init: initialiser of both [D, H] blocks of w_x.
      method: how `unroll` evaluates the recurrence, see `linear_scan`.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, candidate or
        method is none of its options, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = MinGRU(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.shape
      ((4, 3), (4, 3))
    """

    hidden_size: int
    _: KW_ONLY
    candidate: Candidate = "linear"
    w_x_init: Initializer = GlorotUniform()
    method: Method = "auto"

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.one_of("candidate", self.candidate, ("linear", "positive"))
        check_method(self.method)

    def init(self, key: jax.Array, input_size: int) -> MinGRUParams:
        """Draws `MinGRUParams` for inputs [..., D]; b is 0."""
        checks.positive_int("input_size", input_size)
        shape = (input_size, self.hidden_size)
        return MinGRUParams(
            w_x=blocks(self.w_x_init, key, shape, 2),
            b=jnp.zeros(2 * self.hidden_size),
        )

    def initial_carry(self, params: MinGRUParams, batch_size: int, key=None) -> jax.Array:
        """h = 0, [B, H]."""
        return zero_state(params.b, batch_size, params.b.shape[0] // 2)

    def coefficients(self, params: MinGRUParams, zs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """a = σ(-z) and b = σ(z) n, both [..., H], from zs [..., 2H]."""
        z, n = jnp.split(zs, 2, axis=-1)
        return sigmoid(-z), name_gate(sigmoid(z), "z") * candidate_value(self.candidate, n)

    def output(self, params: MinGRUParams, h: jax.Array, z: jax.Array) -> jax.Array:
        """h [..., H], the output, in the dtype of the params."""
        return h.astype(params.b.dtype)


def candidate_value(candidate: Candidate, n: jax.Array) -> jax.Array:
    """n itself, or g(n) > 0. Feng et al. 2024, appendix B."""
    return n if candidate == "linear" else jnp.where(n >= 0, n + 0.5, sigmoid(n))


def zero_state(like: jax.Array, *shape: int) -> jax.Array:
    """Zeros for a sum over many steps: in at least float32, whatever the params are."""
    return jnp.zeros(shape, accumulator(like.dtype))
