"""When to store and when to recompute: optimal checkpointing of a sequence of known length.

A schedule is a list of actions over *units* of `block` steps. It knows nothing of cells or arrays.
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from seqjax._internal import checks

ADVANCE, TAPE, REVERSE = range(3)


class Actions(NamedTuple):
    """A schedule's actions in their order, int32 arrays [A].

    Slots 0 .. S - 1 store carries; slot S, the working one, holds the carry under way.

    Fields:
      kind: `ADVANCE` runs a unit and keeps its carry alone; `TAPE` runs it and keeps its tape, the
        residuals of its gradient, besides; `REVERSE` takes the gradient through it.
      unit: which unit.
      source: the slot of the carry before the unit; -1 where a tape is reversed.
      target: the slot for the carry after it; -1 where reversed.
      tape: where the tape is stored, or has been; -1 where there is none.
    """

    kind: np.ndarray
    unit: np.ndarray
    source: np.ndarray
    target: np.ndarray
    tape: np.ndarray


@final
@dataclass(frozen=True)
class Schedule:
    """What to store and what to recompute in the backward pass over T steps, for `unroll`.

    A unit is a block of steps, U = ⌈T / block⌉ of them, the last one shorter where it must be.
    Carries before units and tapes of units (what the gradient of a unit needs) are stored; what is
    not is recomputed from the nearest stored carry before it. One unit's tape, the one that is
    being reversed, and the carry under way come on top.

    Memory: slots · |carry| + (tapes + 1) · |tape of a block|, besides inputs and outputs, which
    are [B, T, ...] in any case. Time: `advances` + T steps forward and T steps backward.

    `binomial_schedule` (Griewank and Walther 2000) and `mixed_schedule` (Gruslys et al. 2016) make
    one.

    Attributes:
      length: T.
      slots: stored carries, the first one included.
      tapes: stored tapes.
      block: steps of a unit. Larger ones have less overhead a step.

    Raises:
      ValueError: if an attribute is not an integer of at least 1 (tapes and, where the tapes hold
        all units, slots: of at least 0).

    Example:
      >>> import seqjax as sj
      >>> schedule = sj.core.Schedule(length=20, slots=3)
      >>> schedule == sj.core.binomial_schedule(20, slots=3), schedule.advances
      (True, 45)
    """

    length: int
    slots: int
    tapes: int = 0
    block: int = 1

    def __post_init__(self):
        checks.hold_ints(self, "length", "block")
        for name in ("slots", "tapes"):
            value = getattr(self, name)
            checks.require(
                checks.is_positive_int(value) or _is_zero(value),
                f"{name} is {value!r}; expected an integer of at least 0.",
            )
            object.__setattr__(self, name, int(value))
        checks.require(
            self.slots > 0 or self.tapes >= self.units - 1,
            f"slots is 0 and tapes is {self.tapes}; expected at least 1 slot, or {self.units - 1} "
            "tapes, one for each unit but the last.",
        )

    @property
    def units(self) -> int:
        """U = ⌈T / block⌉."""
        return -(-self.length // self.block)

    @property
    def advances(self) -> int:
        """Steps that are run without a tape, the first sweep's included: what storing less costs.

        r T - block (tapes + 1) C(slots + r, slots + 1) with the smallest r that reaches U units.
        """
        r = _repetitions(self.units, self.slots, self.tapes)
        saved = (self.tapes + 1) * math.comb(self.slots + r, self.slots + 1)
        return self.block * (r * self.units - saved)

    @property
    def actions(self) -> Actions:
        """The actions, int32 arrays [A]: `advances` / block advances, U reversals, and tapes."""
        return _actions(self.units, *self.stored)

    @property
    def stored(self) -> tuple[int, int]:
        """The slots and tapes in use, which are fewer where T is short."""
        tapes = min(self.tapes, self.units - 1)
        return min(self.slots, -(-self.units // (tapes + 1)) - 1), tapes


def binomial_schedule(length: int, slots: int, *, block: int = 1) -> Schedule:
    """The schedule that recomputes least with a number of stored carries.

    C(t, m) = min over y of y + C(t - y, m - 1) + C(y, m) advances, C(t, 1) = t (t - 1) / 2, in
    units. Carries are stored at binomially distributed places. Griewank and Walther 2000.

    Args:
      length: T, the size of axis 1 of xs [B, T, ...].
      slots: carries that are stored at any time, the first one included.
      block: steps of a unit.

    Returns:
      A `Schedule` for `unroll(..., remat=)`.

    Raises:
      ValueError: if an argument is not an integer of at least 1.

    Example:
      >>> [binomial_schedule(1000, slots).advances for slots in (1, 10, 100)]
      [499500, 3636, 1898]
    """
    return Schedule(length, checks.positive_int("slots", slots), block=block)


def mixed_schedule(length: int, budget: int, tape_cost: int, *, block: int = 1) -> Schedule:
    """The schedule that recomputes least with memory for carries or for tapes.

    A stored tape saves its unit any further run but takes the room of several carries. Of all
    pairs with slots + tape_cost · tapes <= budget, the one whose optimal schedule advances least:
    the mixed strategy of Gruslys et al. 2016 for memory that is split once between the two kinds.

    Args:
      length: T, the size of axis 1 of xs [B, T, ...].
      budget: memory, in carries.
      tape_cost: the size of the tape of one unit, in carries; `tape_cost` tells it.
      block: steps of a unit.

    Returns:
      A `Schedule` for `unroll(..., remat=)`.

    Raises:
      ValueError: if an argument is not an integer of at least 1.

    Example:
      >>> [mixed_schedule(1000, budget, 5).advances for budget in (100, 1000, 5000)]
      [1428, 800, 0]
    """
    for name, value in (("budget", budget), ("tape_cost", tape_cost)):
        checks.positive_int(name, value)
    units = Schedule(length, 1, block=block).units
    schedules = [
        Schedule(length, budget - tape_cost * tapes, tapes, block)
        for tapes in range(min(budget // tape_cost, units - 1) + 1)
        if budget > tape_cost * tapes or tapes >= units - 1
    ]
    return min(schedules, key=lambda schedule: (schedule.advances, schedule.tapes))


def _is_zero(value) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value == 0


def _reach(slots: int, tapes: int, r: int) -> int:
    """The units that can be reversed when none is advanced over more than r times."""
    return (tapes + 1) * math.comb(slots + r, slots)


def _repetitions(units: int, slots: int, tapes: int) -> int:
    """The smallest r with `_reach` >= units."""
    r = 0
    while _reach(slots, tapes, r) < units:
        r += 1
    return r


@functools.lru_cache(maxsize=64)
def _actions(units: int, slots: int, tapes: int) -> Actions:
    """The actions: a stack of parts that are still to be reversed, the last one first."""
    rows: list[tuple[int, int, int, int, int]] = []
    parts = [(0, units, slots, slots if units <= tapes + 1 else 0)]
    while parts:
        first, count, free, source = parts.pop()
        if count <= tapes + 1:
            _leaf(rows, first, count, source, slots)
            continue
        r = _repetitions(count, free, tapes)
        ahead = min(_reach(free, tapes, r - 1), count - _reach(free - 1, tapes, r - 1))
        rest = count - ahead
        target = slots if rest <= tapes + 1 else source + 1
        for i in range(ahead):
            before, after = source if i == 0 else slots, target if i == ahead - 1 else slots
            rows.append((ADVANCE, first + i, before, after, -1))
        parts += [(first, ahead, free, source), (first + ahead, rest, free - 1, target)]
    columns = np.array(rows, np.int32).T
    columns.setflags(write=False)
    return Actions(*columns)


def _leaf(rows: list, first: int, count: int, source: int, working: int) -> None:
    """Units that the tapes hold: all are run once and reversed."""
    for i in range(count - 1):
        rows.append((TAPE, first + i, source, working, i))
        source = working
    rows.append((REVERSE, first + count - 1, source, -1, -1))
    for i in range(count - 2, -1, -1):
        rows.append((REVERSE, first + i, -1, -1, i))
