"""The selective state space block."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.products import add_bias, dot
from seqjax.initializers.weights import GlorotUniform, Initializer, Uniform, blocks
from seqjax.linear.causal import ConvolvedCarry, ConvolvedCell
from seqjax.linear.linear_cell import check_method
from seqjax.linear.linear_scan import Method
from seqjax.linear.min_gru import zero_state
from seqjax.linear.s5 import check_steps, log_uniform


class MambaParams(NamedTuple):
    """The params of `Mamba`, with E channels of N states, and step sizes of rank R.

    Fields:
      w_in: [D, 2E] of the inputs, for the channels and for their gates.
      w_conv: [K, E] of the last K inputs of each channel, oldest first.
      b_conv: [E].
      w_select: [E, R + 2N], for step sizes, B and C.
      w_step: [R, E] of step sizes.
      b_step: [E].
      log_rate: [E, N], A = -exp(log_rate).
      skip: [E] past the state.
      w_out: [E, H].
    """

    w_in: jax.Array
    w_conv: jax.Array
    b_conv: jax.Array
    w_select: jax.Array
    w_step: jax.Array
    b_step: jax.Array
    log_rate: jax.Array
    skip: jax.Array
    w_out: jax.Array


@final
@dataclass(frozen=True)
class Mamba(ConvolvedCell):
    """The selective state space block. Gu and Dao 2023, algorithm 2 and section 3.4.

        u, g = xₜ w_in;   u = silu(a causal convolution of u, channel by channel)
        δ, B, C = u w_select;   Δ = softplus(δ w_step + b_step)
        hₜ = exp(Δ A) ⊙ hₜ₋₁ + (Δ ⊙ u) B      one outer product [E, N] a step
        yₜ = ((hₜ C + skip ⊙ u) ⊙ silu(g)) w_out

    What enters and what is read depend on the input, which `LRU` and `S5` lack; the discrete B is
    Δ B, as in the authors' code. Coefficients and states are E N numbers a step, too many to
    keep: `unroll` works on windows of `remat` steps, keeps the state between them and computes
    the rest again in the backward pass.

    The carry is `ConvolvedCarry`, inputs of the convolution [B, K - 1, E] and h [B, E, N].

    Attributes:
      hidden_size: H, the width of the outputs.
      channels: E; None means 2H.
      state_size: N.
      kernel_size: K.
      step_rank: R; None means H / 16, rounded up.
      min_step: smallest initial Δ, 0 < min_step <= max_step.
      max_step: largest initial Δ.
      w_init: initialiser of w_in (both blocks), w_select and w_out.
      remat: steps of a window; None keeps everything.
      method: how `unroll` evaluates the recurrence, see `linear_scan`.

    Raises:
      ValueError: if a size, remat, or input_size in `init`, is not a positive integer, steps lie
        elsewhere, method is none of its options, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = Mamba(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.inputs.shape, carry.h.shape
      ((4, 3), (4, 3, 6), (4, 6, 16))
    """

    hidden_size: int
    _: KW_ONLY
    channels: int | None = None
    state_size: int = 16
    kernel_size: int = 4
    step_rank: int | None = None
    min_step: float = 0.001
    max_step: float = 0.1
    w_init: Initializer = GlorotUniform()
    remat: int | None = 64
    method: Method = "auto"

    def __post_init__(self):
        given = ("channels", "step_rank", "remat")
        names = [name for name in given if getattr(self, name) is not None]
        checks.hold_ints(self, "hidden_size", "state_size", "kernel_size", *names)
        check_steps(self)
        check_method(self.method)

    def init(self, key: jax.Array, input_size: int) -> MambaParams:
        """Draws `MambaParams` for inputs [..., D]: A = -1, ..., -N, and Δ by b_step alone."""
        checks.positive_int("input_size", input_size)
        size, states, width = (
            self.hidden_size,
            self.state_size,
            self.channels or 2 * self.hidden_size,
        )
        rank = self.step_rank or -(-size // 16)
        keys = jax.random.split(key, 6)
        step = jnp.exp(log_uniform(keys[4], width, self.min_step, self.max_step))
        return MambaParams(
            w_in=blocks(self.w_init, keys[0], (input_size, width), 2),
            w_conv=Uniform(self.kernel_size**-0.5)(keys[1], (self.kernel_size, width)),
            b_conv=jnp.zeros(width),
            w_select=self.w_init(keys[2], (width, rank + 2 * states)),
            w_step=Uniform(rank**-0.5)(keys[3], (rank, width)),
            b_step=step + jnp.log(-jnp.expm1(-step)),  # the inverse of softplus
            log_rate=jnp.log(jnp.broadcast_to(jnp.arange(1.0, states + 1), (width, states))),
            skip=jnp.ones(width),
            w_out=self.w_init(keys[5], (width, size)),
        )

    def initial_carry(self, params: MambaParams, batch_size: int, key=None) -> ConvolvedCarry:
        """Inputs [B, K - 1, E] and h [B, E, N], all 0."""
        kernel_size, width = params.w_conv.shape
        inputs = zero_state(params.w_conv, batch_size, kernel_size - 1, width)
        return ConvolvedCarry(
            inputs, zero_state(params.log_rate, batch_size, *params.log_rate.shape)
        )

    def enter(self, params: MambaParams, xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The channels' inputs and gates, both [..., E]."""
        channels, gates = jnp.split(dot("xs", xs, params.w_in), 2, axis=-1)
        return channels, gates

    def project(self, params: MambaParams, lags: list[jax.Array], rest: jax.Array) -> tuple:
        """u and Δ [..., E], B and C [..., N], gates [..., E], from K lags [..., E]."""
        kernel = params.w_conv.astype(lags[0].dtype)
        u = sum(weight * lag for weight, lag in zip(kernel, lags, strict=True))
        u = jax.nn.silu(add_bias(jnp.asarray(u), params.b_conv))
        rank, states = params.w_step.shape[0], params.log_rate.shape[1]
        small, b, c = jnp.split(dot("xs", u, params.w_select), [rank, rank + states], axis=-1)
        step = jax.nn.softplus(add_bias(dot("xs", small, params.w_step), params.b_step))
        return u, step, b, c, rest

    def coefficients(self, params: MambaParams, zs: tuple) -> tuple[jax.Array, jax.Array]:
        """a = exp(Δ A) and b = Δ u B, both [..., E, N]."""
        u, step, b, _, _ = zs
        rate = -jnp.exp(params.log_rate.astype(step.dtype))
        return jnp.exp(step[..., None] * rate), (step * u)[..., None] * b[..., None, :]

    def output(self, params: MambaParams, h: jax.Array, z: tuple) -> jax.Array:
        """((h C + skip u) silu(g)) w_out, [..., H]."""
        u, _, _, c, gates = z
        read = jnp.sum(h * c[..., None, :], axis=-1) + params.skip.astype(u.dtype) * u
        return dot("carry", read * jax.nn.silu(gates), params.w_out).astype(params.w_out.dtype)
