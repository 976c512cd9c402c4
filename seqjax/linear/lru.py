"""The linear recurrent unit."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks
from seqjax.core.products import accumulator, dot
from seqjax.initializers.weights import GlorotUniform, Initializer, default_dtype
from seqjax.linear.linear_cell import LinearCell, check_method
from seqjax.linear.linear_scan import Method
from seqjax.linear.min_gru import zero_state
from seqjax.linear.pairs import Complex, polar


class LRUParams(NamedTuple):
    """The params of `LRU`, with N complex states.

    Fields:
      log_decay: [N], ν: |λ| = exp(-exp(ν)).
      log_phase: [N], θ: arg λ = exp(θ).
      log_scale: [N], ln γ of the inputs.
      w_b: [D, 2N] of the inputs: Re B beside Im B.
      w_c: [2N, H] of the states: Re C above -Im C, as Re(h C) = Re h Re C - Im h Im C.
      w_d: [D, H] past the state; the paper's D is its diagonal.
    """

    log_decay: jax.Array
    log_phase: jax.Array
    log_scale: jax.Array
    w_b: jax.Array
    w_c: jax.Array
    w_d: jax.Array


@final
@dataclass(frozen=True)
class LRU(LinearCell):
    """The linear recurrent unit, diagonal and complex. Orvieto et al. 2023, sections 3.2-3.4.

        λ = exp(-exp(ν) + i exp(θ)),   |λ| < 1 whatever ν is
        hₜ = λ ⊙ hₜ₋₁ + γ ⊙ (xₜ B),   yₜ = Re(hₜ C) + xₜ w_d

    λ is drawn uniformly from a ring, and γ = √(1 - |λ|²), learned from there on, keeps states as
    large as inputs at any radius. The layer is linear: a `Stack` needs something else between two.
    The paper's code takes w_d diagonal, which asks for D = H.

    The carry is h, a `Complex` of two [B, N].

    Attributes:
      hidden_size: H, the width of the outputs.
      state_size: N complex numbers; None means H.
      min_radius: inner radius of the ring, 0 <= min_radius < max_radius.
      max_radius: outer radius, at most 1: near 1 for long sequences.
      max_phase: largest angle, in radians, in (0, 2π].
      w_d_init: initialiser of w_d; `Normal(0.0)` begins without it.
      method: how `unroll` evaluates the recurrence, see `linear_scan`.

    Raises:
      ValueError: if a size, or input_size in `init`, is not a positive integer, radii or
        max_phase lie elsewhere, method is none of its options, or in a step if inputs are not
        floats [..., D].

    Example:
      >>> cell = LRU(hidden_size=3, state_size=5)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.real.shape
      ((4, 3), (4, 5))

      Published weights, ν, θ and ln γ [N] as they are, and complex B [N, D] and C [H, N]:

      >>> B, C = np.ones((5, 2)) + 1j, np.ones((3, 5)) - 2j
      >>> loaded = params._replace(
      ...     w_b=jnp.concatenate([B.T.real, B.T.imag], axis=1),
      ...     w_c=jnp.concatenate([C.T.real, -C.T.imag], axis=0),
      ... )
      >>> loaded.w_b.shape, loaded.w_c[0, 0].item(), loaded.w_c[5, 0].item()
      ((2, 10), 1.0, 2.0)
    """

    hidden_size: int
    _: KW_ONLY
    state_size: int | None = None
    min_radius: float = 0.0
    max_radius: float = 1.0
    max_phase: float = 6.28
    w_d_init: Initializer = GlorotUniform()
    method: Method = "auto"

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        if self.state_size is not None:
            checks.hold_ints(self, "state_size")
        check_ring(self)
        checks.hold_numbers(self, "max_phase")
        checks.require(
            0 < self.max_phase <= 2 * np.pi,
            f"max_phase is {self.max_phase!r}; expected an angle in (0, 2π], in radians.",
        )
        check_method(self.method)

    def init(self, key: jax.Array, input_size: int) -> LRUParams:
        """Draws `LRUParams` for inputs [..., D]; appendix A of the paper."""
        checks.positive_int("input_size", input_size)
        size, states, dtype = self.hidden_size, self.state_size or self.hidden_size, default_dtype()
        keys = jax.random.split(key, 5)
        decay = -ring_log_radius(keys[0], states, self.min_radius, self.max_radius)
        phase = self.max_phase * (1 - jax.random.uniform(keys[1], (states,), dtype))  # not 0
        draw = lambda key, shape, scale: jax.random.normal(key, shape, dtype) / np.sqrt(scale)
        return LRUParams(
            log_decay=jnp.log(decay),
            log_phase=jnp.log(phase),
            log_scale=0.5 * jnp.log(-jnp.expm1(-2 * decay)),
            w_b=draw(keys[2], (input_size, 2 * states), 2 * input_size),
            w_c=draw(keys[3], (2 * states, size), states),
            w_d=self.w_d_init(keys[4], (input_size, size)),
        )

    def initial_carry(self, params: LRUParams, batch_size: int, key=None) -> Complex:
        """h = 0, two [B, N]."""
        zeros = zero_state(params.log_decay, batch_size, *params.log_decay.shape)
        return Complex(zeros, zeros)

    def project(self, params: LRUParams, xs: jax.Array) -> tuple[Complex, jax.Array]:
        """γ x B, two [..., N], and x w_d, [..., H]."""
        u = dot("xs", xs, jnp.concatenate([params.w_b, params.w_d], axis=1))
        scale = jnp.exp(params.log_scale.astype(u.dtype))
        real, imag, past = jnp.split(u, [scale.size, 2 * scale.size], axis=-1)
        return Complex(scale * real, scale * imag), past

    def coefficients(self, params: LRUParams, zs: tuple) -> tuple[Complex, Complex]:
        """a = λ, two [N], and b = γ x B, two [..., N]."""
        wide = accumulator(params.log_decay.dtype)
        log_decay, log_phase = params.log_decay.astype(wide), params.log_phase.astype(wide)
        return polar(-jnp.exp(log_decay), jnp.exp(log_phase)), zs[0]

    def output(self, params: LRUParams, h: Complex, z: tuple) -> jax.Array:
        """Re(h C) + x w_d, [..., H]."""
        read = dot("carry", jnp.concatenate(h, axis=-1), params.w_c)
        return (read + z[1]).astype(params.w_c.dtype)


def check_ring(spec) -> None:
    """Checks the radii of a frozen spec, and holds them as Python's own floats."""
    checks.hold_numbers(spec, "min_radius", "max_radius")
    checks.require(
        0 <= spec.min_radius < spec.max_radius <= 1,
        f"min_radius is {spec.min_radius!r} and max_radius {spec.max_radius!r}; expected "
        "0 <= min_radius < max_radius <= 1.",
    )


def ring_log_radius(key: jax.Array, size: int, inner: float, outer: float) -> jax.Array:
    """ln |λ| < 0, [size], of λ uniform over a ring. Orvieto et al. 2023, lemma 3.2."""
    u = jax.random.uniform(key, (size,), default_dtype())
    squared = outer**2 - u * (outer**2 - inner**2)
    tiny = jnp.finfo(squared.dtype).tiny
    return jnp.minimum(0.5 * jnp.log(jnp.maximum(squared, tiny)), -jnp.finfo(squared.dtype).eps)
