"""A recurrence over time under a checkpointing schedule, as a program whose size is flat in T.

The actions of the schedule are data: one loop runs them, whatever T is.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from seqjax._internal import trees
from seqjax._internal.jaxprs import depend_on
from seqjax.core.scan import strong
from seqjax.core.schedules import REVERSE, TAPE, Actions, Schedule

# (shared, carry, inputs [B, K, ...]) -> (carry, ys [B, K, ...]), for any number of steps K.
Block = Callable[[Any, Any, Any], tuple[Any, Any]]


def run_schedule(
    schedule: Schedule, block: Block, shared: Any, carry: Any, inputs: Any
) -> tuple[Any, Any]:
    """Runs a block over all T steps; its gradient stores and recomputes as a schedule says.

    Args:
      schedule: for the T steps of inputs.
      block: (shared, carry, inputs [B, K, ...]) -> (carry, ys [B, K, ...]), for any K.
      shared: what all steps share, such as params.
      carry: leaves [B, ...].
      inputs: leaves [B, T, ...] of any dtype.

    Returns:
      The carry after the last step, and ys [B, T, ...]. They have gradients (`jax.vjp`) and, over
      those, forward derivatives (`jax.jvp` of `jax.grad`); others are refused by JAX.
    """
    shared, carry = jax.tree.map(jnp.asarray, shared), strong(carry)
    block, captured = _hoisted(schedule, block, shared, carry, inputs)

    @jax.custom_vjp
    def whole(shared, carry, inputs):
        return _Sweep(schedule, block, None, None).forward(shared, carry, inputs)[0]

    def forward(shared, carry, inputs):
        args = (shared, carry, inputs)
        live = jax.tree.map(lambda a: a.perturbed and trees.is_inexact(a.value), args)
        shared, carry, inputs = jax.tree.map(lambda a: a.value, args)
        # A carry depends on all that the steps before it depend on.
        live = (live[0], jax.tree.map(trees.is_inexact, carry), live[2])
        tape = None
        if schedule.stored[1]:
            part = trees.take_steps(inputs, 0, schedule.block)
            tape = _Tape.trace(block, live, shared, carry, part)
        sweep = _Sweep(schedule, block, live, tape)
        out, stored = sweep.forward(shared, carry, inputs)
        return out, jax.tree_util.Partial(sweep.reverse, shared, inputs, stored)

    whole.defvjp(forward, lambda reverse, cotangents: reverse(cotangents), symbolic_zeros=True)
    return whole((shared, captured), carry, inputs)


def _hoisted(schedule: Schedule, block: Block, shared: Any, carry: Any, inputs: Any):
    """A block that takes (shared, captured), and the arrays it captured from outside."""
    last = schedule.length - schedule.block * (schedule.units - 1)
    blocks, captured = {}, {}
    for size in {last, min(schedule.block, schedule.length)}:
        part = jax.tree.map(lambda a: a[:, :size], inputs)  # noqa: B023
        blocks[size], captured[size] = jax.closure_convert(block, shared, carry, part)

    def run(shared, carry, inputs):
        shared, captured = shared
        size = jax.tree.leaves(inputs)[0].shape[1]
        return blocks[size](shared, carry, inputs, *captured[size])

    return run, captured


def square_root_schedule(block: Block, shared: Any, carry: Any, inputs: Any) -> Schedule:
    """Every K-th carry of T stored, with the K that makes carries and one window's tape smallest.

    T / K · |carry| + K · |tape of a step| is least at K = √(T r), r = |carry| / |tape of a step|;
    r is kept in 1/16 .. 1, so that neither loops nor windows become too long. Arguments as in
    `run_schedule`.
    """
    length = jax.tree.leaves(inputs)[0].shape[1]
    step = max(tape_size(block, shared, carry, inputs, 1), 1)
    window = math.ceil(math.sqrt(length * min(max(trees.size_in_bytes(carry) / step, 1 / 16), 1)))
    return Schedule(length, -(-length // window), block=window)


def tape_size(block: Block, shared: Any, carry: Any, inputs: Any, steps: int) -> int:
    """The bytes of the tape of a unit of some steps, by shapes; arguments as in `run_schedule`."""
    shared, carry = jax.tree.map(jnp.asarray, (shared, carry))
    live = jax.tree.map(trees.is_inexact, (shared, carry, inputs))

    def stored(shared, carry, inputs):
        args = (shared, carry, trees.take_steps(inputs, 0, steps))
        return _Tape.trace(block, live, *args).record(*args)[1]

    return trees.size_in_bytes(jax.eval_shape(stored, shared, carry, inputs))


def _with_pull(block: Block, live: Any, shared: Any, carry: Any, inputs: Any) -> tuple[Any, Any]:
    """A unit's (carry, ys), and the function from their cotangents to those of the live."""
    args = (shared, carry, inputs)
    fixed = jax.tree.map(lambda live, a: None if live else a, live, args)

    def run(chosen):
        out = block(*trees.merge(chosen, fixed))
        return trees.inexact(out), trees.exact(out)

    chosen = jax.tree.map(lambda live, a: a if live else None, live, args)
    out, pull, rest = jax.vjp(run, chosen, has_aux=True)
    return trees.merge(out, rest), pull


@dataclass(frozen=True, eq=False)
class _Tape:
    """What must be stored of a unit to take its gradient without running it again.

    A pull is a tree of arrays. Those made from shared alone, and inputs as they are, can be had
    again for nothing; the others are stored.

    Attributes:
      unit: `_with_pull` of a whole unit, traced once so that all its pulls have the same arrays.
      stored: which leaves of a pull must be stored.
    """

    unit: Callable[[Any, Any, Any], tuple[Any, Any]]
    stored: tuple[bool, ...]

    @classmethod
    def trace(cls, block: Block, live: Any, shared: Any, carry: Any, part: Any) -> "_Tape":
        """The tape of units of the shapes of these arguments."""
        with_pull = functools.partial(_with_pull, block, live)
        closed, captured = jax.closure_convert(with_pull, shared, carry, part)
        unit = lambda *args: closed(*args, *captured)
        jaxpr = jax.make_jaxpr(lambda *args: jax.tree.leaves(unit(*args)[1]))(shared, carry, part)
        variables, first = jaxpr.jaxpr.invars, len(jax.tree.leaves(shared))
        inputs = {id(var) for var in variables[first + len(jax.tree.leaves(carry)) :]}
        pairs = zip(jaxpr.jaxpr.outvars, depend_on(jaxpr.jaxpr, variables[first:]), strict=True)
        return cls(unit, tuple(varies and id(var) not in inputs for var, varies in pairs))

    def record(self, shared: Any, carry: Any, part: Any) -> tuple[Any, list[Any]]:
        """A unit's (carry, ys), and the arrays that must be stored."""
        out, pull = self.unit(shared, carry, part)
        pairs = zip(jax.tree.leaves(pull), self.stored, strict=True)
        return out, [a for a, stored in pairs if stored]

    def pull(self, shared: Any, carry: Any, part: Any, arrays: list[Any]) -> Any:
        """A unit's pull, given what `record` stored; nothing else in it depends on carry."""
        leaves, structure = jax.tree.flatten(self.unit(shared, carry, part)[1])
        rest, pairs = iter(arrays), zip(leaves, self.stored, strict=True)
        return jax.tree.unflatten(structure, [next(rest) if kept else a for a, kept in pairs])

    def buffers(self, count: int, shared: Any, carry: Any, part: Any) -> list[Any]:
        """Zeros for the stored arrays of some units, [count, ...]."""
        shapes = jax.eval_shape(lambda *args: self.record(*args)[1], shared, carry, part)
        return trees.vary_like([jnp.zeros((count, *a.shape), a.dtype) for a in shapes], carry)


@dataclass(frozen=True, eq=False)
class _Sweep:
    """The two loops over a schedule's actions: forward, and back.

    Attributes:
      schedule: over T steps.
      block: what runs a unit.
      live: bools of the structure of (shared, carry, inputs): of which leaves a gradient is taken;
        None where none is.
      tape: None where no tapes are stored.
    """

    schedule: Schedule
    block: Block
    live: Any
    tape: _Tape | None

    def forward(self, shared: Any, carry: Any, inputs: Any) -> tuple[Any, Any]:
        """The first sweep: (carry, ys), and what it stores: slots, tapes, the last unit's."""
        schedule = self.schedule
        slots = jax.tree.map(
            lambda a: jnp.broadcast_to(a, (schedule.stored[0] + 1, *a.shape)), carry
        )
        tapes = []
        if self.tape is not None:
            part = trees.take_steps(inputs, 0, schedule.block)
            tapes = self.tape.buffers(schedule.stored[1], shared, carry, part)
        state = (slots, tapes)
        start, length = schedule.block * (schedule.units - 1), schedule.length
        last = jax.tree.map(lambda a: a[:, start:], inputs)
        ys = jax.eval_shape(self.block, shared, carry, last)[1]
        ys = jax.tree.map(lambda a: jnp.zeros((a.shape[0], length, *a.shape[2:]), a.dtype), ys)
        ys = trees.vary_like(ys, carry)
        forward, reversals, _ = _program(schedule)
        if schedule.units > 1:

            def body(state, row):
                state, ys = state
                state, part = self._act(state, row, shared, inputs)
                return (state, trees.put_steps(ys, part, row.unit * schedule.block)), None

            rows = jax.tree.map(lambda a: jnp.asarray(a[: schedule.units - 1]), forward)
            (state, ys), _ = jax.lax.scan(body, (state, ys), rows)
        carry = trees.at_index(state[0], int(reversals.source[0]))
        if self.live is None:
            (carry, part), pull = self.block(shared, carry, last), None
        else:
            (carry, part), pull = _with_pull(self.block, self.live, shared, carry, last)
        return (carry, trees.put_steps(ys, part, start)), (state, pull)

    def reverse(self, shared: Any, inputs: Any, stored: Any, cotangents: Any) -> Any:
        """The cotangents of (shared, carry, inputs) from those of (carry, ys)."""
        state, pull_last = stored
        schedule, (later, ys) = self.schedule, cotangents
        start, length = schedule.block * (schedule.units - 1), schedule.length
        later = jax.tree.map(lambda a: _cotangent(a, lambda a: a, a.shape), later)
        alike = lambda tree: trees.vary_like(tree, inputs)
        later, part = alike((later, _part(ys, start, length - start)))
        of_shared, later, of_inputs = pull_last((later, part))[0]
        zeros = jax.tree.map(
            lambda live, a: jnp.zeros_like(a) if live else None, self.live[2], inputs
        )
        # Sums over units are kept in float32 at least.
        total = (trees.widen(of_shared), trees.put_steps(zeros, of_inputs, start))
        forward, reversals, bounds = jax.tree.map(jnp.asarray, _program(schedule))

        def body(carried, row):
            state, later, (total, collected) = carried
            begin, end, row = row
            act = lambda i, state: self._act(state, trees.at_index(forward, i), shared, inputs)[0]
            state = jax.lax.fori_loop(begin, end, act, state)
            start = row.unit * schedule.block
            pull = self._pull(state, row, shared, inputs)
            of_shared, later, of_inputs = pull((later, alike(_part(ys, start, schedule.block))))[0]
            total = jax.tree.map(lambda a, b: a + b.astype(a.dtype), total, of_shared)
            return (state, later, (total, trees.put_steps(collected, of_inputs, start))), None

        if schedule.units > 1:
            rows = (bounds[:-1], bounds[1:], jax.tree.map(lambda a: a[1:], reversals))
            (_, later, total), _ = jax.lax.scan(body, (state, later, total), rows)
        of_shared = jax.tree.map(lambda a, b: a.astype(b.dtype), total[0], of_shared)
        return of_shared, later, total[1]

    def _act(self, state: Any, row: Actions, shared: Any, inputs: Any) -> tuple[Any, Any]:
        """One advance or tape: the state after it, and the unit's ys."""
        (slots, tapes), tape = state, self.tape
        carry, part = trees.at_index(slots, row.source), self._unit(inputs, row)
        if tape is None:
            carry, ys = self.block(shared, carry, part)
            return (trees.set_index(slots, carry, row.target), tapes), ys
        at = jnp.maximum(row.tape, 0)  # an advance puts back what it finds

        def record(carry, part):
            out, arrays = tape.record(shared, carry, part)
            return strong(out), arrays

        def advance(carry, part):
            return strong(self.block(shared, carry, part)), trees.at_index(tapes, at)

        (carry, ys), kept = jax.lax.cond(row.kind == TAPE, record, advance, carry, part)
        return (trees.set_index(slots, carry, row.target), trees.set_index(tapes, kept, at)), ys

    def _pull(self, state: Any, row: Actions, shared: Any, inputs: Any) -> Any:
        """The pull of the unit that is to be reversed, from a stored tape if there is one."""
        (slots, tapes), tape = state, self.tape
        carry, part = trees.at_index(slots, row.source), self._unit(inputs, row)
        if tape is None:
            return _with_pull(self.block, self.live, shared, carry, part)[1]
        load = lambda carry, part: trees.at_index(tapes, row.tape)
        compute = lambda carry, part: tape.record(shared, carry, part)[1]
        arrays = jax.lax.cond(row.tape >= 0, load, compute, carry, part)
        return tape.pull(shared, carry, part, arrays)

    def _unit(self, inputs: Any, row: Actions) -> Any:
        return trees.take_steps(inputs, row.unit * self.schedule.block, self.schedule.block)


@functools.lru_cache(maxsize=64)
def _program(schedule: Schedule) -> tuple[Actions, Actions, Any]:
    """Advances and tapes, reversals, and how many of the first stand before each reversal."""
    actions = schedule.actions
    last = actions.kind == REVERSE
    forward, reversals = (jax.tree.map(lambda a: a[which], actions) for which in (~last, last))  # noqa: B023
    return forward, reversals, (~last).cumsum()[last].astype("int32")


def _part(cotangents: Any, start: Any, size: int) -> Any:
    """The cotangents of ys [B, T, ...] at `size` steps from `start` on."""

    def one(a):
        return _cotangent(
            a, lambda a: trees.take_steps(a, start, size), (a.shape[0], size, *a.shape[2:])
        )

    return jax.tree.map(one, cotangents)


def _cotangent(a: Any, take: Callable, shape: tuple[int, ...]) -> Any:
    if not isinstance(a, SymbolicZero):
        return take(a)
    dtype: Any = a.dtype
    return jnp.zeros(shape, dtype) if trees.is_inexact(a) else None
