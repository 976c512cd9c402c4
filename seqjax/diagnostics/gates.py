"""The values of a cell's gates, and how often they saturate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.jaxprs import named_values
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry, Params, Tree
from seqjax.cells.activations import GATE
from seqjax.core.cell import check_cell_like
from seqjax.core.scan import check_batch, check_xs, scan


class Saturation(NamedTuple):
    """How often each unit of a gate is shut, and how often it is open.

    Fields:
      left: [H], the share of rows and steps at which the unit's gate is below `low`.
      right: [H], the share of rows and steps at which it is above `high`.
    """

    left: jax.Array
    right: jax.Array


@own_ranks
def gate_values(
    cell: Any, params: Params, xs: Tree, *, carry: Carry | None = None
) -> dict[str, jax.Array]:
    """Runs a cell over inputs and returns the values of its gates, by name.

    A step marks its gates with `name_gate`. The library's gated cells do so (`LSTM`: i, f, o;
    `GRU`: r, z), and gates inside `Stack`, `Zoneout` and their kin are found too: the second gate
    named f is "f 2". Gates that a step computes inside its own loop or branch are not found. Gers,
    Schmidhuber and Cummins 2000 look at gates in this way.

    Args:
      cell: a cell with a step.
      params: from `cell.init`.
      xs: [B, T, ...] inputs; a pytree of such arrays is allowed.
      carry: where to start, leaves [B, ...]; None means `cell.initial_carry(params, B)`.

    Returns:
      Arrays [B, T, ..., H] by name; {} for a cell without gates.

    Raises:
      ValueError: if cell is not a cell, xs has no batch and time axes, or the carry is not
        [B, ...].

    Example:
      >>> import seqjax as sj
      >>> cell = sj.GRU(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> gates = sj.diagnostics.gate_values(cell, params, jnp.ones((4, 5, 2)))
      >>> {name: gate.shape for name, gate in gates.items()}
      {'r': (4, 5, 3), 'z': (4, 5, 3)}
    """
    check_cell_like("cell", cell)
    batch_size, _ = check_xs(xs)
    carry = cell.initial_carry(params, batch_size) if carry is None else carry
    check_batch("carry", carry, batch_size)
    step = named_values(lambda carry, x: cell.step(params, carry, x)[0], GATE)
    return scan(step, carry, xs)[1]


@own_ranks
def gate_saturation(
    cell: Any,
    params: Params,
    xs: Tree,
    *,
    carry: Carry | None = None,
    low: float = 0.1,
    high: float = 0.9,
) -> dict[str, Saturation]:
    """Counts how often each unit of each gate is shut or open, over all rows and steps.

    A gate is left-saturated below 0.1 and right-saturated above 0.9: Karpathy, Johnson and Fei-Fei
    2016, section 4.2. A right-saturated forget gate keeps its memory, a left-saturated output gate
    hides it. A gate at either end passes almost no gradient to its own weights.

    Args:
      cell: a cell with a step; see `gate_values` for what counts as a gate.
      params: from `cell.init`.
      xs: [B, T, ...] inputs; a pytree of such arrays is allowed.
      carry: where to start, leaves [B, ...]; None means `cell.initial_carry(params, B)`.
      low: a gate below it is shut.
      high: a gate above it is open; 0 <= low < high <= 1.

    Returns:
      A `Saturation`, arrays [H], by name of the gate; {} for a cell without gates.

    Raises:
      ValueError: if not 0 <= low < high <= 1, cell is not a cell, xs has no
        batch and time axes, or the carry is not [B, ...].

    Example:
      >>> import seqjax as sj
      >>> cell = sj.LSTM(2, forget_bias=5.0)
      >>> params = cell.init(jax.random.key(0), 1)
      >>> found = sj.diagnostics.gate_saturation(cell, params, jnp.ones((1, 9, 1)))
      >>> print(found["f"].right, found["f"].left)
      [1. 1.] [0. 0.]
    """
    checks.require(
        checks.is_number(low) and checks.is_number(high) and 0 <= low < high <= 1,
        f"low is {low!r} and high {high!r}; expected 0 <= low < high <= 1.",
    )
    share = lambda flags: jnp.mean(flags, axis=(0, 1), dtype=jnp.float32)
    return {
        name: Saturation(left=share(gate < low), right=share(gate > high))
        for name, gate in gate_values(cell, params, xs, carry=carry).items()
    }
