"""Two cells over the same sequence, one in each direction."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.cell import ALL, Encoder, check_cell_like, example_inputs
from seqjax.core.noise import fold_in
from seqjax.core.reverse import reverse_time
from seqjax.core.run import run
from seqjax.core.steps import Steps

MERGES = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "product": lambda a, b: a * b,
}


class BidirectionalParams(NamedTuple):
    """The params of `Bidirectional`.

    Fields:
      forward: of the cell that reads forward, as its `init` draws them.
      backward: of the cell that reads backward.
    """

    forward: Any
    backward: Any


class BidirectionalCarry(NamedTuple):
    """The carries of both directions, leaves [B, ...].

    Fields:
      forward: after an unroll, the state after each row's last real step.
      backward: after an unroll, the state after each row's first step, which it reads last.
    """

    forward: Any
    backward: Any


@final
@dataclass(frozen=True)
class Bidirectional(Encoder):
    """Reads a sequence in both directions. Schuster and Paliwal 1997.

        yₜ = merge(fₜ, bₜ),   f forward from the first step, b backward from each row's last

    An encoder: it needs the whole sequence, so it unrolls and stacks but has no `step`. Never
    use it to predict its own next input, which it has seen. Outputs are [B, T, N], N the sum of
    both widths for "concat"; the carry is `BidirectionalCarry`, leaves [B, ...].

    Attributes:
      cell: reads forward, and backward too with params of its own unless `backward` is given.
      backward: the cell that reads backward; None means `cell`.
      merge: "concat" (forward first), "sum", "mean" or "product".

    Raises:
      ValueError: if a cell is none, merge is unknown, or widths that must be equal differ.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.Bidirectional(sj.GRU(3))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, ys = sj.unroll(cell, params, jnp.ones((2, 5, 2)), lengths=jnp.array([5, 2]))
      >>> ys.shape, carry.backward.shape
      ((2, 5, 6), (2, 3))
    """

    cell: Any
    _: KW_ONLY
    backward: Any = None
    merge: Literal["concat", "sum", "mean", "product"] = "concat"

    def __post_init__(self):
        check_cell_like("cell", self.cell)
        if self.backward is not None:
            check_cell_like("backward", self.backward)
        checks.one_of("merge", self.merge, tuple(MERGES))

    def init(self, key: jax.Array, input_size: int) -> BidirectionalParams:
        """Draws params of both directions for inputs [..., D]."""
        forward, backward = self.members
        key_f, key_b = jax.random.split(key)
        return BidirectionalParams(
            forward.init(key_f, input_size), backward.init(key_b, input_size)
        )

    def example_inputs(self, input_size: int) -> Any:
        """The forward cell's, B = T = 1."""
        return example_inputs(self.cell, input_size)

    def initial_carry(self, params: Any, batch_size: int, key=None) -> BidirectionalCarry:
        """The initial carries of both directions, leaves [B, ...]."""
        forward, backward = self.members
        return BidirectionalCarry(
            forward.initial_carry(params.forward, batch_size, fold_in(key, 0)),
            backward.initial_carry(params.backward, batch_size, fold_in(key, 1)),
        )

    @property
    def members(self) -> tuple[Any, Any]:
        """The cell that reads forward and the one that reads backward."""
        return self.cell, self.cell if self.backward is None else self.backward

    def unroll(
        self, params: BidirectionalParams, carry: Any, xs: Any, steps: Steps = ALL
    ) -> tuple[BidirectionalCarry, jax.Array]:
        """Both directions: (carry, xs [B, T, ...], which steps) -> (carry, ys [B, T, N]).

        Raises:
          ValueError: if widths that must be equal differ.
        """
        forward, backward = self.members
        own = steps.member(lambda carry: carry.forward)
        carry_f, ys_f = run(forward, params.forward, carry.forward, xs, own)
        xs, steps, restore = reverse_time(xs, steps)
        own = steps.member(lambda carry: carry.backward)
        carry_b, ys_b = run(backward, params.backward, carry.backward, xs, own)
        checks.require(
            self.merge == "concat" or ys_f.shape == ys_b.shape,
            f"merge is {self.merge!r} but the directions put out widths {ys_f.shape[-1]} and "
            f"{ys_b.shape[-1]}; expected equal ones, or merge='concat'.",
        )
        return BidirectionalCarry(carry_f, carry_b), MERGES[self.merge](ys_f, restore(ys_b))
