"""The last inputs of every step: what a causal convolution in front of a recurrence needs."""

import abc
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.core.cell import ALL
from seqjax.core.steps import Steps, where_rows
from seqjax.linear.linear_cell import step_linear, unroll_linear
from seqjax.linear.linear_scan import Method


class ConvolvedCarry(NamedTuple):
    """The carry of a linear recurrence behind a causal convolution of K steps.

    Fields:
      inputs: [B, K - 1, M] what entered the convolution last, oldest first.
      h: the state, [B, ...].
    """

    inputs: Any
    h: Any


class ConvolvedCell(Spec, abc.ABC):
    """A `LinearCell` that projects a window of the last K inputs instead of one.

        uₜ, rₜ = enter(xₜ);   zₜ = project(uₜ₋ₖ₊₁, ..., uₜ, rₜ);   the rest as in `LinearCell`

    x is [B, D], u [B, M]; the carry is `ConvolvedCarry`. A masked input is in no window, and a
    reset empties it.
    """

    method: Method = "auto"
    remat: int | None = None

    @abc.abstractmethod
    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws params for inputs [..., input_size]."""

    @abc.abstractmethod
    def initial_carry(self, params: Any, batch_size: int, key: jax.Array | None = None) -> Any:
        """The carry before the first step."""

    @abc.abstractmethod
    def enter(self, params: Any, xs: jax.Array) -> tuple[jax.Array, Any]:
        """What is remembered of inputs [..., D], [..., M], and what is not."""

    @abc.abstractmethod
    def project(self, params: Any, lags: list[jax.Array], rest: Any) -> Any:
        """What needs no state, from K lags [..., M], oldest first, and the rest of `enter`."""

    @abc.abstractmethod
    def coefficients(self, params: Any, zs: Any) -> tuple[Any, Any]:
        """a, which broadcasts to b, and b [..., H] of the recurrence, from projected inputs."""

    @abc.abstractmethod
    def output(self, params: Any, h: Any, z: Any) -> jax.Array:
        """The outputs [..., H] that go with states and projected inputs."""

    @final
    def step(self, params: Any, carry: ConvolvedCarry, x: jax.Array) -> tuple[Any, Any]:
        """One step: (carry, x [B, D]) -> (carry, y [B, H])."""
        u, rest = self.enter(params, x)
        inputs, lags = push(carry.inputs, u)
        h, y = step_linear(self, params, carry.h, self.project(params, lags, rest))
        return ConvolvedCarry(inputs, h), y

    @final
    def unroll(
        self, params: Any, carry: ConvolvedCarry, xs: jax.Array, steps: Steps = ALL
    ) -> tuple[Any, Any]:
        """Over time: (carry, xs [B, T, D], which steps) -> (carry, ys [B, T, H])."""
        checks.vectors(xs)
        us, rest = self.enter(params, steps.zero_padding(xs))
        own = steps.member(lambda carry: carry.inputs)
        inputs, lags = push_all(carry.inputs, us, own)
        zs = self.project(params, lags, rest)
        h, ys = unroll_linear(self, params, carry.h, zs, steps.member(lambda carry: carry.h))
        return ConvolvedCarry(inputs, h), steps.zero_padding(ys)


def push(window: jax.Array, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
    """One input [B, M] behind the last ones [B, K - 1, M]: the new window, and K lags [B, M].

    Lags stand oldest first, the input itself last.
    """
    inputs = jnp.concatenate([window, x.astype(window.dtype)[:, None]], axis=1)
    return inputs[:, 1:], [inputs[:, k] for k in range(inputs.shape[1])]


def push_all(window: jax.Array, xs: jax.Array, steps: Steps) -> tuple[jax.Array, list[jax.Array]]:
    """`push` over xs [B, T, M]: the last window, and K lags [B, T, M].

    Args:
      window: [B, K - 1, M].
      xs: [B, T, M].
      steps: which of them are real, for padding is in no window, and where the window becomes
        `initial`, [B, K - 1, M].
    """
    before, length = window.shape[1], xs.shape[1]
    inputs = jnp.concatenate([window, xs.astype(window.dtype)], axis=1)
    if steps.mask is None and steps.reset is None:
        lags = [inputs[:, k : k + length] for k in range(before + 1)]
        return inputs[:, length:], lags
    real = jnp.ones(xs.shape[:2], bool) if steps.mask is None else steps.mask
    flags = jnp.zeros_like(real) if steps.reset is None else steps.reset
    initial = window if steps.reset is None else steps.initial
    lags = _gathered(inputs, initial, real, flags)
    after = [lag[:, -1] for lag in lags[:-1]]
    return jnp.stack(after, axis=1) if before else window, [lag[:, :-1] for lag in lags]


def _gathered(inputs, initial, real, flags) -> list[jax.Array]:
    """Lags [B, T + 1, M] of the real steps, and of one more behind the last.

    inputs are [B, K - 1 + T, M], initial is [B, K - 1, M], real and flags are [B, T].
    """
    before = initial.shape[1]
    inputs = jnp.pad(inputs, ((0, 0), (0, 1), (0, 0)))
    real = jnp.pad(real, ((0, 0), (0, 1)), constant_values=True)
    flags = jnp.pad(flags, ((0, 0), (0, 1)))
    known = jnp.pad(real, ((0, 0), (before, 0)), constant_values=True)
    places = jnp.where(known, jnp.arange(known.shape[1]), 0)
    places = jnp.pad(jax.lax.cummax(places, axis=1), ((0, 0), (1, 0)))[:, :-1]
    at = jnp.broadcast_to(jnp.arange(real.shape[1]) + before, real.shape)
    ones = real.astype(jnp.int32)
    count = jnp.cumsum(ones, axis=1) - ones  # of real steps before each
    begun = jnp.cumsum(flags, axis=1) > 0
    behind = count - jax.lax.cummax(jnp.where(flags, count, 0), axis=1)  # in its own segment
    lags = []
    for lag in range(before + 1):
        own = jnp.take_along_axis(inputs, at[..., None], axis=1)
        if lag:
            index = jnp.clip(before - lag + behind, 0, before - 1)
            start = jnp.take_along_axis(initial, index[..., None], axis=1)
            own = where_rows(begun & (lag > behind), start, own)
        lags.append(own)
        at = jnp.take_along_axis(places, at, axis=1)
    return lags[::-1]
