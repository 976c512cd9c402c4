"""The simplified state space layer, diagonal."""

import functools
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks
from seqjax.core.products import accumulator, dot
from seqjax.initializers.weights import GlorotUniform, Initializer, default_dtype
from seqjax.linear.linear_cell import LinearCell, check_method
from seqjax.linear.linear_scan import Method
from seqjax.linear.min_gru import zero_state
from seqjax.linear.pairs import Complex, multiply, polar


class S5Params(NamedTuple):
    """The params of `S5`, with N complex states.

    Fields:
      log_decay: [N], Re λ = -exp(log_decay), per unit of time.
      phase: [N], Im λ, in radians per unit of time.
      log_step: [N], ln Δ, units of time a step.
      w_b: [D, 2N] of the inputs: Re B beside Im B.
      w_c: [2N, H] of the states: Re C above -Im C, as Re(h C) = Re h Re C - Im h Im C. The factor
        2 is not in it.
      w_d: [D, H] past the state; the paper's D is its diagonal.
    """

    log_decay: jax.Array
    phase: jax.Array
    log_step: jax.Array
    w_b: jax.Array
    w_c: jax.Array
    w_d: jax.Array


@final
@dataclass(frozen=True)
class S5(LinearCell):
    """The simplified structured state space layer. Smith, Warrington and Linderman 2023, eq. 6.

        h' = λ ⊙ h + x B,   y = 2 Re(h C) + x w_d     in continuous time
        hₜ = exp(λΔ) ⊙ hₜ₋₁ + (exp(λΔ) - 1) / λ ⊙ (xₜ B)     inputs held for a time Δ

    Each of the N states stands for itself and its conjugate, hence the 2. λ begins as the upper
    half of the 2N eigenvalues of the normal part of HiPPO-LegS ("hippo"), or as -1/2 + iπn
    ("linear": S4D-Lin of Gu et al. 2022), Δ log-uniform. The paper turns real normal B and C into
    the eigenvectors' basis; they are drawn there, which is the same law. It takes w_d diagonal.
    The layer is linear: a `Stack` needs something else between two.

    The carry is h, a `Complex` of two [B, N].

    Attributes:
      hidden_size: H, the width of the outputs.
      state_size: N complex numbers; None means H.
      spectrum: the initial λ, "hippo" or "linear".
      min_step: smallest initial Δ, 0 < min_step <= max_step.
      max_step: largest initial Δ.
      w_d_init: initialiser of w_d; `Normal(0.0)` begins without it.
      method: how `unroll` evaluates the recurrence, see `linear_scan`.

    Raises:
      ValueError: if a size, or input_size in `init`, is not a positive integer, steps lie
        elsewhere, spectrum or method is none of its options, or in a step if inputs are not
        floats [..., D].

    Example:
      >>> cell = S5(hidden_size=3, state_size=5)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.real.shape
      ((4, 3), (4, 5))

      Published weights, Λ [N], B [N, D], C [H, N], D [H] and Δ [N], with Λ, B and C complex:

      >>> rate, B, C = -0.5 + 1j * np.arange(5), np.ones((5, 2)) + 1j, np.ones((3, 5)) - 2j
      >>> loaded = params._replace(
      ...     log_decay=jnp.log(-rate.real),
      ...     phase=jnp.asarray(rate.imag),
      ...     w_b=jnp.concatenate([B.T.real, B.T.imag], axis=1),
      ...     w_c=jnp.concatenate([C.T.real, -C.T.imag], axis=0),
      ... )  # and log_step=jnp.log(Δ); w_d=jnp.diag(D) where the input is as wide as the output
      >>> loaded.w_b.shape, loaded.w_c[0, 0].item(), loaded.w_c[5, 0].item()
      ((2, 10), 1.0, 2.0)
    """

    hidden_size: int
    _: KW_ONLY
    state_size: int | None = None
    spectrum: Literal["hippo", "linear"] = "hippo"
    min_step: float = 0.001
    max_step: float = 0.1
    w_d_init: Initializer = GlorotUniform()
    method: Method = "auto"

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        if self.state_size is not None:
            checks.hold_ints(self, "state_size")
        checks.one_of("spectrum", self.spectrum, ("hippo", "linear"))
        check_steps(self)
        check_method(self.method)

    def init(self, key: jax.Array, input_size: int) -> S5Params:
        """Draws `S5Params` for inputs [..., D]."""
        checks.positive_int("input_size", input_size)
        size, states, dtype = self.hidden_size, self.state_size or self.hidden_size, default_dtype()
        keys = jax.random.split(key, 4)
        phase = hippo_phases(states) if self.spectrum == "hippo" else np.pi * np.arange(states)
        draw = lambda key, shape, scale: jax.random.normal(key, shape, dtype) / np.sqrt(scale)
        return S5Params(
            log_decay=jnp.full(states, np.log(0.5), dtype),
            phase=jnp.asarray(phase, dtype),
            log_step=log_uniform(keys[0], states, self.min_step, self.max_step),
            w_b=draw(keys[1], (input_size, 2 * states), 2 * input_size),
            w_c=draw(keys[2], (2 * states, size), 4 * states),
            w_d=self.w_d_init(keys[3], (input_size, size)),
        )

    def initial_carry(self, params: S5Params, batch_size: int, key=None) -> Complex:
        """h = 0, two [B, N]."""
        zeros = zero_state(params.phase, batch_size, *params.phase.shape)
        return Complex(zeros, zeros)

    def project(self, params: S5Params, xs: jax.Array) -> tuple[Complex, jax.Array]:
        """x B, two [..., N], and x w_d, [..., H]."""
        u = dot("xs", xs, jnp.concatenate([params.w_b, params.w_d], axis=1))
        states = params.phase.size
        real, imag, past = jnp.split(u, [states, 2 * states], axis=-1)
        return Complex(real, imag), past

    def coefficients(self, params: S5Params, zs: tuple) -> tuple[Complex, Complex]:
        """a = exp(λΔ), two [N], and b = (a - 1) / λ x B, two [..., N]."""
        wide = accumulator(params.phase.dtype)
        log_decay, phase, log_step = (x.astype(wide) for x in params[:3])
        a, gain = held_input(Complex(-jnp.exp(log_decay), phase), jnp.exp(log_step))
        return a, multiply(gain, zs[0])

    def output(self, params: S5Params, h: Complex, z: tuple) -> jax.Array:
        """2 Re(h C) + x w_d, [..., H]."""
        read = dot("carry", jnp.concatenate(h, axis=-1), params.w_c)
        return (2 * read + z[1]).astype(params.w_c.dtype)


def held_input(rate: Complex, step: jax.Array) -> tuple[Complex, Complex]:
    """exp(λΔ) and (exp(λΔ) - 1) / λ, the second without cancellation for small Δ; [N]."""
    decay, angle = rate.real * step, rate.imag * step
    a = polar(decay, angle)
    less = Complex(jnp.expm1(decay) * jnp.cos(angle) - 2 * jnp.sin(angle / 2) ** 2, a.imag)
    square = rate.real**2 + rate.imag**2
    return a, multiply(less, Complex(rate.real / square, -rate.imag / square))


@functools.lru_cache(maxsize=16)
def hippo_phases(states: int) -> np.ndarray:
    """Im λ > 0 of the normal part of HiPPO-LegS of 2N states, ascending, [N]; all Re λ are -1/2.

    Smith, Warrington and Linderman 2023, appendix B.1.1.
    """
    roots = np.sqrt(np.arange(2 * states) + 0.5)
    skew = np.tril(np.outer(roots, roots), -1)
    phases = np.linalg.eigvalsh(1j * (skew - skew.T))[states:]
    phases.flags.writeable = False
    return phases


def log_uniform(key: jax.Array, size: int, low: float, high: float) -> jax.Array:
    """ln Δ, [size], uniform between the logarithms of two step sizes."""
    limits = {"minval": np.log(low), "maxval": np.log(high)}
    return jax.random.uniform(key, (size,), default_dtype(), **limits)


def check_steps(spec) -> None:
    """Checks the step sizes of a frozen spec, and holds them as Python's own floats."""
    checks.hold_numbers(spec, "min_step", "max_step")
    checks.require(
        0 < spec.min_step <= spec.max_step,
        f"min_step is {spec.min_step!r} and max_step {spec.max_step!r}; expected "
        "0 < min_step <= max_step.",
    )
