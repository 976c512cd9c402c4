"""The real-gated linear recurrent unit."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate, sigmoid
from seqjax.core.products import add_bias, dot
from seqjax.initializers.weights import GlorotUniform, Initializer, blocks, default_dtype
from seqjax.linear.linear_cell import LinearCell, check_method
from seqjax.linear.linear_scan import Method
from seqjax.linear.lru import check_ring
from seqjax.linear.min_gru import zero_state

SHARPNESS = 8.0  # c in the paper


class RGLRUParams(NamedTuple):
    """The params of `RGLRU`; gates in the order r, i.

    Fields:
      w_in: [D, H] of the inputs; None where H = D and the inputs enter as they are.
      w_x: [H, 2H] of what enters.
      b: [2H].
      log_odds: [H], Λ of the decay σ(Λ)^c. A large Λ holds the state; code that computes
        ln a = -c r softplus(Λ') keeps Λ' = -Λ.
    """

    w_in: jax.Array | None
    w_x: jax.Array
    b: jax.Array
    log_odds: jax.Array


@final
@dataclass(frozen=True)
class RGLRU(LinearCell):
    """The real-gated linear recurrent unit, of Griffin. De et al. 2024, eq. 1-4.

        u = xₜ w_in, or xₜ;   r, i = u w_x + b
        aₜ = σ(Λ)^(c σ(r)),   c = 8
        hₜ = aₜ ⊙ hₜ₋₁ + √(1 - aₜ²) ⊙ σ(i) ⊙ u,   yₜ = hₜ

    The gate r can only slow the decay down, towards holding the state and taking nothing in. The
    root is computed from ln a, without cancellation near a = 1; at a = 1 itself, where its slope
    is infinite, its gradient is 0. The paper takes both gates' matrices block-diagonal, and the
    authors' code the root for 1 where a sequence begins; here they are full, and it is not.

    The carry is h [B, H].

    Attributes:
      hidden_size: H; None means D, the width of the inputs, which then enter without w_in.
      min_radius: smallest initial σ(Λ)^c, 0 <= min_radius < max_radius.
      max_radius: largest, at most 1.
      w_x_init: initialiser of w_in and of both [H, H] blocks of w_x.
      method: how `unroll` evaluates the recurrence, see `linear_scan`.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, radii lie
        elsewhere, method is none of its options, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = RGLRU(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.shape
      ((4, 3), (4, 3))
    """

    hidden_size: int | None = None
    _: KW_ONLY
    min_radius: float = 0.9
    max_radius: float = 0.999
    w_x_init: Initializer = GlorotUniform()
    method: Method = "auto"

    def __post_init__(self):
        if self.hidden_size is not None:
            checks.hold_ints(self, "hidden_size")
        check_ring(self)
        check_method(self.method)

    def init(self, key: jax.Array, input_size: int) -> RGLRUParams:
        """Draws `RGLRUParams` for inputs [..., D]; b is 0, σ(Λ)^c uniform between the radii."""
        checks.positive_int("input_size", input_size)
        size, dtype = self.hidden_size or input_size, default_dtype()
        key_in, key_x, key_decay = jax.random.split(key, 3)
        radius = jax.random.uniform(
            key_decay, (size,), dtype, minval=self.min_radius, maxval=self.max_radius
        )
        limits = jnp.finfo(dtype)
        log_sigma = jnp.log(jnp.clip(radius, limits.tiny, 1 - limits.epsneg)) / SHARPNESS
        return RGLRUParams(
            w_in=self.w_x_init(key_in, (input_size, size)) if self.hidden_size else None,
            w_x=blocks(self.w_x_init, key_x, (size, size), 2),
            b=jnp.zeros(2 * size),
            log_odds=log_sigma - jnp.log(-jnp.expm1(log_sigma)),
        )

    def initial_carry(self, params: RGLRUParams, batch_size: int, key=None) -> jax.Array:
        """h = 0, [B, H]."""
        return zero_state(params.b, batch_size, *params.log_odds.shape)

    def project(self, params: RGLRUParams, xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """σ(r), σ(i), side by side [..., 2H], and u [..., H]."""
        u = xs if params.w_in is None else dot("xs", xs, params.w_in)
        gates = sigmoid(add_bias(dot("xs", u, params.w_x), params.b))
        return gates, u.astype(gates.dtype)

    def coefficients(self, params: RGLRUParams, zs: tuple) -> tuple[jax.Array, jax.Array]:
        """a and √(1 - a²) σ(i) u, both [..., H]."""
        gates, u = zs
        r, i = map(name_gate, jnp.split(gates, 2, axis=-1), "ri")
        log_a = -SHARPNESS * r * jax.nn.softplus(-params.log_odds.astype(r.dtype))
        return jnp.exp(log_a), root_of_rest(log_a) * i * u

    def output(self, params: RGLRUParams, h: jax.Array, z: tuple) -> jax.Array:
        """h [..., H], the output, in the dtype of the params."""
        return h.astype(params.b.dtype)


def root_of_rest(log_a: jax.Array) -> jax.Array:
    """√(1 - a²) for ln a <= 0, with gradient 0 at a = 1."""
    rest = -jnp.expm1(2 * log_a)
    inside = rest > 0
    return jnp.where(inside, jnp.sqrt(jnp.where(inside, rest, 1)), 0)
