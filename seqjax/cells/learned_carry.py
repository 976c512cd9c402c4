"""A cell whose initial state is learned."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.cell import ALL, Composite, check_cell_like, check_steppable, example_inputs
from seqjax.core.run import run
from seqjax.core.steps import Steps


class LearnedCarryParams(NamedTuple):
    """The params of `LearnedCarry`.

    Fields:
      cell: the wrapped cell's params.
      carry: its initial carry without the batch axis, leaves [...]; None where not learned.
    """

    cell: Any
    carry: Any


@final
@dataclass(frozen=True)
class LearnedCarry(Composite):
    """Makes a cell's initial carry part of its params, the same for every row.

        h₀ = params.carry, [...] repeated over B rows;   hₜ, yₜ = step(hₜ₋₁, xₜ)

    Every floating-point leaf of the carry is learned, starting at the wrapped cell's own initial
    carry; counters and noise are not. A reset returns to the learned carry, whose gradient counts.

    Forcada and Carrasco 1995.

    Attributes:
      cell: any cell or encoder.

    Raises:
      ValueError: if cell is not a cell; otherwise as the wrapped cell.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.LearnedCarry(sj.LSTM(3))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> params.carry.h.shape
      (3,)
    """

    cell: Any

    def __post_init__(self):
        check_cell_like("cell", self.cell)

    def init(self, key: jax.Array, input_size: int) -> LearnedCarryParams:
        """Draws the wrapped cell's params; the carry starts as the cell's own."""
        params = self.cell.init(key, input_size)
        carry = self.cell.initial_carry(params, 1)
        learn = lambda leaf: leaf[0] if checks.is_float(leaf) else None
        return LearnedCarryParams(params, jax.tree.map(learn, carry))

    def example_inputs(self, input_size: int) -> Any:
        """The wrapped cell's, B = T = 1."""
        return example_inputs(self.cell, input_size)

    def initial_carry(self, params: LearnedCarryParams, batch_size: int, key=None) -> Any:
        """The learned carry, once a row: leaves [B, ...]."""
        learned = iter(jax.tree.leaves(params.carry))

        def fill(leaf):
            if not checks.is_float(leaf):
                return leaf
            return jnp.broadcast_to(next(learned).astype(leaf.dtype), leaf.shape)

        return jax.tree.map(fill, self.cell.initial_carry(params.cell, batch_size, key))

    @property
    def members(self) -> tuple[Any, ...]:
        """The wrapped cell."""
        return (self.cell,)

    def step(self, params: LearnedCarryParams, carry: Any, x: Any) -> tuple[Any, Any]:
        """The wrapped cell's step: (carry, x [B, ...]) -> (carry, y [B, ...]).

        Raises:
          ValueError: if the wrapped cell is an encoder.
        """
        check_steppable("cell", self)
        return self.cell.step(params.cell, carry, x)

    def unroll(
        self, params: LearnedCarryParams, carry: Any, xs: Any, steps: Steps = ALL
    ) -> tuple[Any, Any]:
        """The wrapped cell: (carry, xs [B, T, ...], which steps) -> (carry, ys [B, T, ...])."""
        return run(self.cell, params.cell, carry, xs, steps)
