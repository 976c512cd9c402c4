"""Zoneout: a regulariser that keeps state instead of dropping it."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.cell import example_inputs
from seqjax.core.noise import Noise, draw_rows, fold_in
from seqjax.core.products import Affine
from seqjax.core.recurrent import RecurrentCell

LEAF = jax.tree.structure(0.0)


class ZoneoutCarry(NamedTuple):
    """The carry of `Zoneout`.

    Fields:
      cell: the wrapped cell's carry, leaves [B, ...].
      noise: a `Noise` of [B] rows, None without a key.
    """

    cell: Any
    noise: Noise | None


@final
@dataclass(frozen=True)
class Zoneout(RecurrentCell):
    """Each unit of the state keeps its old value with probability `rate`. Krueger et al. 2017.

        hₜ = d ⊙ hₜ₋₁ + (1 - d) ⊙ h̃ₜ,   d ~ Bernoulli(rate) a unit and step

    Without a key d is its expectation, `rate`. Padding overrides it: a masked step holds the
    whole carry. Params are those of the wrapped cell, and the output is read off the state after
    zoneout. The carry is `ZoneoutCarry`, the wrapped cell's (leaves [B, ...]) and the noise.

    Attributes:
      cell: a `RecurrentCell` (all of the package's plain and gated cells are).
      rate: one probability for the whole carry, or a carry of them, such as
        `LSTMCarry(h=0.05, c=0.5)`.

    Raises:
      ValueError: if the cell is not a RecurrentCell, a rate is outside [0, 1), or, when the carry
        is made, rate has neither one number nor the structure of the carry; otherwise as the cell.

    Example:
      >>> from seqjax.cells import GRU
      >>> cell = Zoneout(GRU(3), rate=0.1)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry = cell.initial_carry(params, 4, key=jax.random.key(1))
      >>> carry, y = cell.step(params, carry, jnp.ones((4, 2)))
      >>> y.shape
      (4, 3)
    """

    cell: Any
    rate: Any

    def __post_init__(self):
        checks.require(
            isinstance(self.cell, RecurrentCell),
            f"cell is {self.cell!r}; expected a RecurrentCell, whose output is read off its "
            "carry. Zone the members of a Stack out one by one, and subclass RecurrentCell for a "
            "cell of your own.",
        )
        rates = jax.tree.leaves(self.rate)
        for rate in rates or [self.rate]:
            checks.rate("rate", rate)
        checks.require(
            isinstance(self.rate, Hashable),
            f"rate is {self.rate!r}; expected a number or a carry of numbers, not a list.",
        )
        object.__setattr__(self, "rate", jax.tree.map(float, self.rate))

    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws the wrapped cell's params for inputs [..., D]."""
        return self.cell.init(key, input_size)

    def example_inputs(self, input_size: int) -> Any:
        """The wrapped cell's, B = T = 1."""
        return example_inputs(self.cell, input_size)

    def initial_carry(self, params: Any, batch_size: int, key=None) -> ZoneoutCarry:
        """The wrapped cell's carry, leaves [B, ...], and with a key a `Noise` of [B] rows.

        Raises:
          ValueError: if rate fits the carry in no way, or key is not typed.
        """
        own = fold_in(key, 1)
        carry = self.cell.initial_carry(params, batch_size, fold_in(key, 0))
        fits = jax.tree.structure(self.rate) in (LEAF, jax.tree.structure(carry))
        checks.require(
            fits,
            f"rate is {self.rate!r}; expected one number, or a carry of them as "
            f"{type(self.cell).__name__} makes it.",
        )
        return ZoneoutCarry(
            cell=carry,
            noise=None if own is None else Noise.from_key(own, batch_size),
        )

    def project(self, params: Any, xs: jax.Array) -> Any:
        """The wrapped cell's: [..., D] -> [..., N]."""
        return self.cell.project(params, xs)

    def recur(self, params: Any, carry: ZoneoutCarry, z: Any, affine: Affine) -> ZoneoutCarry:
        """The wrapped cell's, given z [B, N], with some units held."""
        new = self.cell.recur(params, carry.cell, z, affine)
        old_leaves, structure = jax.tree.flatten(carry.cell)
        rates = jax.tree.leaves(jax.tree.broadcast(self.rate, carry.cell))
        keys = None if carry.noise is None else carry.noise.each_step()
        mixed = [
            _mix(fold_in(keys, index), rate, a, b)
            for index, (rate, a, b) in enumerate(
                zip(rates, old_leaves, jax.tree.leaves(new), strict=True)
            )
        ]
        noise = None if carry.noise is None else carry.noise.advance()
        return ZoneoutCarry(jax.tree.unflatten(structure, mixed), noise)

    def output(self, params: Any, carry: ZoneoutCarry) -> Any:
        """The wrapped cell's, [B, ...]."""
        return self.cell.output(params, carry.cell)


def _mix(keys: jax.Array | None, rate: float, old: jax.Array, new: jax.Array) -> jax.Array:
    if not checks.is_float(old):
        return new
    if keys is None:
        return rate * old + (1 - rate) * new
    held = draw_rows(lambda key: jax.random.bernoulli(key, rate, old.shape[keys.ndim :]), keys)
    return jnp.where(held, old, new)
