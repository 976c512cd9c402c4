"""The LSTM whose units are open at certain times only."""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate
from seqjax.cells.lstm import LSTMCarry, lstm_bias, zero_lstm_carry
from seqjax.cells.peephole import remember
from seqjax.core.products import Affine, accumulator, add_bias, dot
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import (
    GlorotUniform,
    Initializer,
    Orthogonal,
    blocks,
    default_dtype,
)

# What keeps the logistic function's slope and the gate's, 2 / r, finite.
SMALLEST_RATIO = 1e-6


class Timed(NamedTuple):
    """Inputs with the time of each.

    Fields:
      values: [B, T, D], or [B, D] in a step.
      times: [B, T], or [B] in a step; floats, in any unit.
    """

    values: Any
    times: Any


class PhasedLSTMParams(NamedTuple):
    """The params of `PhasedLSTM`; gates in the order i, f, g, o.

    Fields:
      w_x: [D, 4H] of the inputs.
      w_h: [H, 4H] of the state.
      b: [4H].
      log_period: [H]; the period is τ = exp(log_period), in the unit of times.
      shift: [H] s, in the unit of times.
      ratio_logit: [H]; the open ratio is r = σ(ratio_logit).
      p_i: [H] peephole of the input gate, None without peepholes.
      p_f: [H] peephole of the forget gate, or None.
      p_o: [H] peephole of the output gate, or None.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    log_period: jax.Array
    shift: jax.Array
    ratio_logit: jax.Array
    p_i: jax.Array | None
    p_f: jax.Array | None
    p_o: jax.Array | None

    GATES = Gates("ifgo", keep="f", write="i")


@final
@dataclass(frozen=True)
class PhasedLSTM(RecurrentCell):
    """The LSTM with a gate of time. Neil, Pfeiffer and Liu 2016.

        φₜ = (tₜ - s) / τ - ⌊(tₜ - s) / τ⌋
        kₜ = 2 φₜ / r   if φₜ < r / 2;   2 - 2 φₜ / r   if φₜ < r;   α φₜ   otherwise
        c̃ₜ, h̃ₜ = an LSTM's step from cₜ₋₁, hₜ₋₁
        cₜ = kₜ ⊙ c̃ₜ + (1 - kₜ) ⊙ cₜ₋₁,   hₜ = kₜ ⊙ h̃ₜ + (1 - kₜ) ⊙ hₜ₋₁,   yₜ = hₜ

    Inputs are `Timed(values [B, T, D], times [B, T])`. A unit is open for the share r of each
    period; while it is closed it keeps c and h, but for the leak α, which lets a gradient through
    in training. Afterwards `dataclasses.replace(cell, leak=0.0)` closes it, with the same params.

    Period τ = exp(log_period) and ratio r = σ(ratio_logit) are learned and stay positive, and
    below 1, as they are; the shift s is learned. Gradients are those of the formula: between its
    jumps ⌊⌋ is constant, so that ∂φ/∂log τ = -(t - s) / τ grows with time. Count times from the
    start of each sequence (`relative_times`), also because float32 rounds large stamps. With x64
    enabled and float64 times the phase is computed in float64, whatever the params' dtype.

    The gate is a function of the stamp alone: stamps may go backwards. A stamp that is NaN or
    infinite makes its row NaN from there on. `relative_times` refuses both.

    The carry is `LSTMCarry`, h [B, H] and c [B, H]. In a `Stack` it can be the first member, as its
    outputs have no times; unroll a second one over `Timed(ys, times)`.

    Attributes:
      hidden_size: H.
      period_range: periods are drawn as exp(U(log low, log high)), in the unit of times; shifts
        as U(0, τ).
      open_ratio: r at first, of every unit. 1 starts a millionth below, where it can be learned.
      leak: α, the slope of the closed gate.
      forget_bias: initial value of b's forget gate.
      peepholes: whether gates see the memory, as in the paper. They start at 0.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of each gate's [H, H] block of w_h.

    Raises:
      ValueError: if hidden_size, or input_size in `init`, is not a positive integer, period_range
        is no pair with 0 < low <= high, open_ratio is not in (0, 1], leak is not in [0, 1],
        forget_bias is not a finite number, or in a step if inputs are not `Timed` floats.

    Example:
      >>> cell = PhasedLSTM(hidden_size=3, period_range=(1.0, 10.0))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> x = Timed(jnp.ones((4, 2)), times=jnp.array([0.0, 0.5, 7.2, 7.3]))
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), x)
      >>> y.shape, cell.time_gate(params, x.times).shape
      ((4, 3), (4, 3))
    """

    hidden_size: int
    _: KW_ONLY
    period_range: Sequence[float] = (1.0, 1000.0)
    open_ratio: float = 0.05
    leak: float = 0.001
    forget_bias: float = 1.0
    peepholes: bool = False
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size")
        checks.hold_numbers(self, "open_ratio", "leak", "forget_bias")
        _hold_range(self)
        checks.require(
            0 < self.open_ratio <= 1,
            f"open_ratio is {self.open_ratio!r}; expected a share with 0 < open_ratio <= 1.",
        )
        checks.require(
            0 <= self.leak <= 1,
            f"leak is {self.leak!r}; expected a slope with 0 <= leak <= 1, such as 0.001.",
        )

    def init(self, key: jax.Array, input_size: int) -> PhasedLSTMParams:
        """Draws `PhasedLSTMParams` for values [..., D]; peepholes, where there are any, are 0."""
        checks.positive_int("input_size", input_size)
        size = self.hidden_size
        key_x, key_h, key_p, key_s = jax.random.split(key, 4)
        low, high = map(math.log, self.period_range)
        log_period = jax.random.uniform(key_p, (size,), minval=low, maxval=high)
        ratio = min(self.open_ratio, 1 - SMALLEST_RATIO)
        peephole = lambda: jnp.zeros(size) if self.peepholes else None
        return PhasedLSTMParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, size), 4),
            w_h=blocks(self.w_h_init, key_h, (size, size), 4),
            b=lstm_bias(size, self.forget_bias),
            log_period=log_period,
            shift=jax.random.uniform(key_s, (size,)) * jnp.exp(log_period),
            ratio_logit=jnp.full(size, math.log(ratio / (1 - ratio)), default_dtype()),
            p_i=peephole(),
            p_f=peephole(),
            p_o=peephole(),
        )

    def initial_carry(self, params: PhasedLSTMParams, batch_size: int, key=None) -> LSTMCarry:
        """h = c = 0, both [B, H]."""
        return zero_lstm_carry(params.w_h, batch_size, params.w_h.shape[0])

    def example_inputs(self, input_size: int) -> Timed:
        """`Timed` zeros, values [1, 1, D] and times [1, 1]: what a `Stack` shows its members."""
        return Timed(jnp.zeros((1, 1, input_size)), jnp.zeros((1, 1)))

    def time_gate(self, params: PhasedLSTMParams, times: jax.Array) -> jax.Array:
        """k [..., H] at times [...], in at least float32 and the dtype of times."""
        phase, ratio = _phase_and_ratio(params, times)
        position = 2 * phase / ratio
        closed = self.leak * phase
        falling = jnp.where(phase < ratio, 2 - position, closed)
        return jnp.where(position < 1, position, falling)

    def open_share(self, params: PhasedLSTMParams, times: jax.Array, mask=None) -> jax.Array:
        """The share [H] of real steps at which each unit is open: how often it is updated.

        times is [B, T]; mask [B, T] bool, True = real, None for all. Without real steps it is 0.
        """
        phase, ratio = _phase_and_ratio(params, times)
        real = jnp.ones(times.shape, bool) if mask is None else jnp.asarray(mask)
        opened = jnp.sum((phase < ratio) & real[..., None], axis=(0, 1), dtype=phase.dtype)
        return opened / jnp.maximum(jnp.sum(real, dtype=phase.dtype), 1)

    def project(self, params: PhasedLSTMParams, xs: Timed) -> tuple[jax.Array, jax.Array]:
        """What needs no state, for all steps at once: z [..., 4H] and the gate k [..., H].

        Raises:
          ValueError: if xs is not `Timed`, of floats [..., D] and floats [...].
        """
        _check_timed(xs)
        z = add_bias(dot("xs.values", xs.values, params.w_x), params.b)
        k = self.time_gate(params, xs.times).astype(accumulator(params.w_h.dtype))
        return z, name_gate(k, "k")

    def recur(
        self, params: PhasedLSTMParams, carry: LSTMCarry, z: tuple[Any, Any], affine: Affine
    ) -> LSTMCarry:
        """The next h [B, H] and c [B, H], given z [B, 4H] and k [B, H]."""
        z, k = z
        new = remember(affine(carry.h, params.w_h, z), carry.c, params)
        h = k * new.h + (1 - k) * carry.h.astype(k.dtype)
        return LSTMCarry(h.astype(carry.h.dtype), k * new.c + (1 - k) * carry.c)

    def output(self, params: PhasedLSTMParams, carry: LSTMCarry) -> jax.Array:
        """h [B, H], the output."""
        return carry.h


def _phase_and_ratio(params: PhasedLSTMParams, times: jax.Array) -> tuple[jax.Array, jax.Array]:
    """φ [..., H] in [0, 1] and r [H], in at least float32 and the dtype of times [...]."""
    wide = accumulator(params.log_period.dtype), accumulator(times.dtype)
    dtype = max(wide, key=lambda dtype: jnp.finfo(dtype).bits)
    own = (params.log_period, params.shift, params.ratio_logit)
    log_period, shift, ratio_logit = (a.astype(dtype) for a in own)
    cycles = (times.astype(dtype)[..., None] - shift) / jnp.exp(log_period)
    ratio = jnp.maximum(jax.nn.sigmoid(ratio_logit), SMALLEST_RATIO)
    return cycles - jnp.floor(cycles), ratio


def _check_timed(xs: Any) -> None:
    what = "an array" if hasattr(xs, "shape") else f"a {type(xs).__name__}"
    checks.require(
        isinstance(xs, Timed),
        f"xs is {what}; expected Timed(values [B, T, D], times [B, T]), the time of each step.",
    )
    values, times = xs
    checks.require(
        times.ndim == values.ndim - 1,
        f"xs.times has {times.ndim} axes and xs.values {values.ndim}; expected one time a step: "
        "times [B, T] for values [B, T, D].",
    )
    checks.require(
        times.shape == values.shape[:-1],
        f"xs.times has shape {times.shape} and xs.values {values.shape}; expected one time a row: "
        "times [B] for values [B, D].",
    )
    checks.require(
        checks.is_float(times),
        f"xs.times has dtype {times.dtype}; expected floating point. Take relative_times(times), "
        "which subtracts before it rounds.",
    )


def _hold_range(spec: PhasedLSTM) -> None:
    """Checks period_range, and keeps it as a pair of Python's own floats."""
    given: Any = spec.period_range
    pair = isinstance(given, (tuple, list)) and len(given) == 2
    low, high = given if pair and all(map(checks.is_number, given)) else (0, 0)
    checks.require(
        0 < low <= high < math.inf,
        f"period_range is {given!r}; expected a pair of positive numbers, low <= high, in the "
        "unit of times.",
    )
    object.__setattr__(spec, "period_range", (float(low), float(high)))
