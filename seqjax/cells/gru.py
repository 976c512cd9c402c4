"""The gated recurrent unit, in both of its forms."""

from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import squash, tanh
from seqjax.core.products import Affine, accumulator
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, Orthogonal, blocks


class GRUParams(NamedTuple):
    """The params of `GRU`; gates in the order r, z, n.

    Fields:
      w_x: [D, 3H] of the inputs.
      w_h: [H, 3H] of the state.
      b: [3H], None where use_bias is False.
      b_n: [H], None where use_bias is False or the reset acts before the product.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array | None
    b_n: jax.Array | None

    GATES = Gates("rzn", keep="z")


@final
@dataclass(frozen=True)
class GRU(RecurrentCell):
    """The gated recurrent unit. Cho et al. 2014, section 2.3; z = 1 keeps the past.

        r = σ(xₜ W_r + hₜ₋₁ U_r + b_r),   z = σ(xₜ W_z + hₜ₋₁ U_z + b_z)
        n = tanh(xₜ W_n + b + r ⊙ (hₜ₋₁ U_n + b_n))      reset="after" (cuDNN, torch, keras)
        n = tanh(xₜ W_n + b + (r ⊙ hₜ₋₁) U_n)            reset="before" (the paper)
        hₜ = (1 - z) ⊙ n + z ⊙ hₜ₋₁,   yₜ = hₜ

    The two resets are different functions (unless U_n is diagonal). Authors who write
    hₜ = (1 - z) ⊙ hₜ₋₁ + z ⊙ n mean the same function with the update gate's parameters negated,
    since 1 - σ(a) = σ(-a): `negate_update_gate` converts either way. Of two biases, as in torch,
    those of r and z are one (b = b_ih + b_hh); the candidate's second one is b_n.

    The carry is h [B, H], kept in at least float32.

    Attributes:
      hidden_size: H.
      reset: "after" (one product a step) or "before" (two dependent ones).
      use_bias: False leaves b and b_n out.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of each gate's [H, H] block of w_h.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, if reset is
        not one of the two, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = GRU(hidden_size=3, reset="before")
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape
      (4, 3)
    """

    hidden_size: int
    _: KW_ONLY
    reset: Literal["after", "before"] = "after"
    use_bias: bool = True
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.one_of("reset", self.reset, ("after", "before"))

    def init(self, key: jax.Array, input_size: int) -> GRUParams:
        """Draws `GRUParams` for inputs [..., D]; biases are 0."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h = jax.random.split(key)
        after = self.reset == "after"
        return GRUParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, size), 3),
            w_h=blocks(self.w_h_init, key_h, (size, size), 3),
            b=jnp.zeros(3 * size) if self.use_bias else None,
            b_n=jnp.zeros(size) if self.use_bias and after else None,
        )

    def initial_carry(self, params: GRUParams, batch_size: int, key=None) -> jax.Array:
        """h = 0, [B, H]."""
        return jnp.zeros((batch_size, params.w_h.shape[0]), accumulator(params.w_h.dtype))

    def recur(self, params: GRUParams, carry: jax.Array, z: jax.Array, affine: Affine) -> jax.Array:
        """The next h [B, H], given z [B, 3H]."""
        size = params.w_h.shape[0]
        x_rz, x_n = z[..., : 2 * size], z[..., 2 * size :]
        if self.reset == "after":
            b_n = params.b_n
            b = None if b_n is None else jnp.concatenate([jnp.zeros(2 * size, b_n.dtype), b_n])
            hidden = affine(carry, params.w_h, b)
            r, keep = squash(x_rz + hidden[..., : 2 * size], "ss", "rz")
            n = tanh(x_n + r * hidden[..., 2 * size :])
        else:
            r, keep = squash(affine(carry, params.w_h[:, : 2 * size], x_rz), "ss", "rz")
            n = jnp.tanh(affine(r * carry, params.w_h[:, 2 * size :], x_n))
        # Exact where the gate is 0 or 1. Of (1 - keep) n XLA makes a loop without vectors on a CPU.
        return keep * carry + (n - keep * n)

    def output(self, params: GRUParams, carry: jax.Array) -> jax.Array:
        """h [B, H] in the dtype of the params."""
        return carry.astype(params.w_h.dtype)


def negate_update_gate(params: GRUParams) -> GRUParams:
    """Converts between the two conventions of the update gate; its own inverse.

    Params of a GRU that computes hₜ = (1 - z) ⊙ hₜ₋₁ + z ⊙ n (Chung et al. 2014, Haiku, Sonnet)
    become those of `GRU`, hₜ = (1 - z) ⊙ n + z ⊙ hₜ₋₁, and back. The outputs are the same; an
    initial bias of the gate is not: +1 means "keep" in one and "overwrite" in the other.

    Args:
      params: w_x [D, 3H], w_h [H, 3H], b [3H] or None; gates r, z, n.

    Returns:
      The same params with the columns of z negated.

    Example:
      >>> params = GRU(2).init(jax.random.key(0), input_size=1)
      >>> negated = negate_update_gate(params)
      >>> print((negated.w_x / params.w_x).astype(int))
      [[ 1  1 -1 -1  1  1]]
    """
    size = params.w_h.shape[0]

    def negate(a):
        return None if a is None else a.at[..., size : 2 * size].multiply(-1)

    return params._replace(w_x=negate(params.w_x), w_h=negate(params.w_h), b=negate(params.b))
