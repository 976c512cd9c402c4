"""Dropout as a layer of a stack, so that it stands on non-recurrent edges."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.core.cell import ALL
from seqjax.core.noise import Noise, draw_rows, over_time
from seqjax.core.steps import Steps


@final
@dataclass(frozen=True)
class Dropout(Spec):
    """Zeroes a share `rate` of its inputs and scales the rest by 1 / (1 - rate).

        yₜ = mₜ ⊙ xₜ / (1 - rate),   mₜ ~ Bernoulli(1 - rate) a unit, row and step

    A member of a `Stack`, between the layers that it regularises: Zaremba, Sutskever and Vinyals
    2014, who leave the recurrent edges alone. It is at work only where the carry was started
    with a key, and is the identity otherwise. Inputs and outputs are [B, T, ...]. It has no
    params: `()`; the carry is a `Noise` of [B] rows, or `()` without a key.

    Attributes:
      rate: probability of dropping, 0 <= rate < 1.
      variational: one mask a sequence instead of one a step (Gal and Ghahramani 2016); a reset
        begins a new sequence.

    Raises:
      ValueError: if rate is outside [0, 1), or a key is not a typed key or [B] typed keys.

    Example:
      >>> layer = Dropout(0.5)
      >>> carry = layer.initial_carry((), 2, key=jax.random.key(0))
      >>> carry, y = layer.step((), carry, jnp.ones((2, 4)))
      >>> sorted(set(y.ravel().tolist()))
      [0.0, 2.0]
    """

    rate: float
    _: KW_ONLY
    variational: bool = False

    def __post_init__(self):
        checks.rate("rate", self.rate)
        checks.hold_numbers(self, "rate")

    def init(self, key: jax.Array, input_size: int) -> tuple[()]:
        """No params, whatever the width of the inputs [..., D]."""
        return ()

    def initial_carry(self, params: Any, batch_size: int, key: jax.Array | None = None) -> Any:
        """A `Noise` of [B] rows, or () without a key."""
        return () if key is None else Noise.from_key(key, batch_size)

    def step(self, params: Any, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        """One step: x [B, ...] -> y [B, ...]."""
        if not isinstance(carry, Noise):
            return carry, x
        return carry.advance(), self._drop(self._keys(carry), x)

    def unroll(
        self, params: Any, carry: Any, xs: jax.Array, steps: Steps = ALL
    ) -> tuple[Any, jax.Array]:
        """All steps at once: (carry, xs [B, T, ...], which steps) -> (carry, ys [B, T, ...])."""
        if isinstance(carry, Noise):
            carry, seen = over_time(carry, xs.shape[1], steps.mask, steps.reset)
            xs = self._drop(self._keys(seen), xs)
        return carry, steps.zero_padding(xs)

    def _keys(self, noise: Noise) -> jax.Array:
        return noise.each_sequence() if self.variational else noise.each_step()

    def _drop(self, keys: jax.Array, x: jax.Array) -> jax.Array:
        keep = lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[keys.ndim :])
        keep = draw_rows(keep, keys)
        return jnp.where(keep, x / (1 - self.rate), jnp.zeros((), x.dtype))
