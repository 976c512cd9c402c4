"""Dropout inside of the recurrence, where it should not stand."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

import seqjax as sj
from seqjax.core.noise import Noise, draw_rows, fold_in


class RecurrentDropoutCarry(NamedTuple):
    """The wrapped cell's carry, leaves [B, ...], and a `Noise` of [B] rows, None without a key."""

    cell: Any
    noise: Noise | None


@final
@dataclass(frozen=True)
class RecurrentDropout(sj.RecurrentCell):
    """Drops a share of the state before each step.

        hₜ = cell(m ⊙ hₜ₋₁ / (1 - rate), xₜ),   m ~ Bernoulli(1 - rate) a unit

    A new m at each step is what a wrapper around a step does at first thought; one m a sequence is
    the variational dropout of Gal and Ghahramani 2016.

    Attributes:
      cell: a `RecurrentCell`.
      rates: a carry of probabilities, such as `LSTMCarry(h=0.25, c=0.0)`.
      variational: one mask a sequence.
    """

    cell: Any
    rates: Any
    variational: bool = False

    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws the wrapped cell's params."""
        return self.cell.init(key, input_size)

    def initial_carry(self, params: Any, batch_size: int, key=None) -> RecurrentDropoutCarry:
        """The wrapped cell's carry, and a stream of noise if there is a key."""
        carry = self.cell.initial_carry(params, batch_size, fold_in(key, 0))
        own = fold_in(key, 1)
        return RecurrentDropoutCarry(
            carry, None if own is None else Noise.from_key(own, batch_size)
        )

    def project(self, params: Any, xs: jax.Array) -> Any:
        """The wrapped cell's."""
        return self.cell.project(params, xs)

    def recur(self, params: Any, carry: RecurrentDropoutCarry, z: Any, affine) -> Any:
        """The wrapped cell's next carry, from a state of which a share is 0."""
        noise = carry.noise
        if noise is None:
            return carry._replace(cell=self.cell.recur(params, carry.cell, z, affine))
        keys = noise.each_sequence() if self.variational else noise.each_step()
        leaves, structure = jax.tree.flatten(carry.cell)
        rates = jax.tree.leaves(self.rates)
        pairs = enumerate(zip(leaves, rates, strict=True))
        dropped = [_drop(fold_in(keys, i), leaf, rate) for i, (leaf, rate) in pairs]
        new = self.cell.recur(params, jax.tree.unflatten(structure, dropped), z, affine)
        return RecurrentDropoutCarry(new, noise.advance())

    def output(self, params: Any, carry: RecurrentDropoutCarry) -> Any:
        """The wrapped cell's."""
        return self.cell.output(params, carry.cell)


def _drop(keys, leaf: jax.Array, rate: float) -> jax.Array:
    if rate == 0:
        return leaf
    keep = lambda key: jax.random.bernoulli(key, 1 - rate, leaf.shape[1:])
    return jnp.where(draw_rows(keep, keys), leaf / (1 - rate), 0)
