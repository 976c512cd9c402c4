"""A cell over whole sequences."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax._internal import checks, trees
from seqjax._internal.specs import check_params
from seqjax.core.carry import checked_initial
from seqjax.core.cell import check_cell_like
from seqjax.core.lengths import check_lengths, within
from seqjax.core.remat import tape_size
from seqjax.core.reverse import reverse_time
from seqjax.core.run import run
from seqjax.core.scan import check_flags, check_xs
from seqjax.core.schedules import Schedule
from seqjax.core.steps import Steps, Windows

Remat = int | Literal["sqrt"] | Schedule | None

USE_MASK = "For a bool mask use mask=."
FORWARD_MODE = (
    "unroll has a rule for reverse mode alone. For forward mode (jax.jvp, jax.jacfwd) run "
    "sj.scan(functools.partial(cell.step, params), carry, xs)."
)


def unroll(
    cell: Any,
    params: Any,
    xs: Any,
    *,
    carry: Any = None,
    key: jax.Array | None = None,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    reverse: bool = False,
    remat: Remat = None,
    truncate: int | None = None,
) -> tuple[Any, Any]:
    """Runs a cell over a batch of sequences.

        hₜ, yₜ = step(hₜ₋₁, xₜ)   at real steps;   hₜ = hₜ₋₁, yₜ = 0   at padding

    All combinations of the arguments are legal and equal a Python loop over each row. What stands
    in padding, NaN included, changes no value and no gradient. A `RecurrentCell` is differentiated
    by a rule of its own: reverse mode (`jax.grad`) of any order and forward over reverse
    (`jax.hessian`). For forward mode alone (`jax.jvp`, `jax.jacfwd`) run `cell.step` by `scan`.

    Args:
      cell: any `Cell`; its `unroll` is used where it has one.
      params: from `cell.init`.
      xs: [B, T, ...] inputs; a pytree of such arrays is allowed.
      carry: where to start, leaves [B, ...]; None means `cell.initial_carry(params, B, key=key)`.
      key: starts the noise of a stochastic cell: one key, or [B] keys. Not together with carry,
        which holds its own.
      lengths: [B] integers, 0 <= lengths <= T: steps from there on do not exist. Length 0 returns
        the carry it started from. None means T.
      mask: [B, T] bool, True = real; any pattern. Together with lengths both must hold.
      reset: [B, T] bool. True: the carry before step t is the initial one (packed documents,
        episodes), at masked steps too; flags beyond lengths are ignored. Noise continues. An agent
        that acts step by step does the same by `core.reset_carry`. Of segment
        ids: `jnp.diff(ids, prepend=ids[:, :1]) != 0`; of flags that end an episode: those of the
        step before.
      reverse: runs from each row's last real step to its first; ys stay in the order of xs.
        The boundaries of reset are those of the forward order.
      remat: activation checkpointing, same numbers for less memory. An int K stores the carry
        every K steps and recomputes the steps between in the backward pass; "sqrt" chooses K
        near √(T |carry| / |what a step stores|), at most ⌈√T⌉; Chen et al. 2016, section 4. A
        `Schedule` for T steps (`binomial_schedule`, `mixed_schedule`) stores what it says. Under
        the last two, second derivatives go by `jax.jvp` of `jax.grad`.
      truncate: an int K: no gradient crosses the boundaries between windows of K steps, counted
        from where each row begins (truncated backpropagation through time; Williams and Peng
        1990 with h = h' = K).

    Returns:
      The carry after each row's last real step, and ys [B, T, ...], zero where padded.

    Raises:
      ValueError: if cell is not a cell, or an argument has the wrong shape or dtype; if lengths,
        where its values are known, leaves 0..T; if both carry and key are given; if remat or
        truncate is no window, or remat is a schedule for another T.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.LSTM(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, ys = sj.unroll(cell, params, jnp.ones((2, 5, 2)), lengths=jnp.array([5, 1]))
      >>> ys.shape, bool((ys[1, 1:] == 0).all())
      ((2, 5, 3), True)
    """
    task = check_task(cell, params, xs, carry, key, lengths, mask, reset, reverse)
    windows = _check_windows(remat, truncate, jax.tree.leaves(task.xs)[0].shape[1])
    steps = replace(task.steps, windows=windows)
    try:
        carry, ys = run(cell, task.params, task.carry, task.xs, steps)
    except TypeError as error:
        if "(jvp)" in str(error):
            error.add_note(FORWARD_MODE)
        raise
    return carry, task.restore(ys)


class Task(NamedTuple):
    """Sequences to be run over, checked, in the order of running.

    Attributes:
      params: of the cell.
      carry: where to start, leaves [B, ...].
      xs: [B, T, ...] inputs.
      steps: which of them are real, by lengths and mask together, and where state begins again.
      restore: turns results [B, T, ...] into the order of the inputs.
    """

    params: Any
    carry: Any
    xs: Any
    steps: Steps
    restore: Callable[[Any], Any]


def check_task(cell, params, xs, carry, key, lengths, mask, reset, reverse) -> Task:
    """Checks the arguments that `unroll` shares with other ways of running a cell."""
    check_cell_like("cell", cell)
    if not hasattr(cell, "bind"):  # whose params are what bind makes
        check_params(cell, params)
    batch_size, length = check_xs(xs)
    _check_orientation(carry, batch_size, length)
    xs = jax.tree.map(jnp.asarray, xs)
    real = check_flags("mask", mask, batch_size, length)
    flags = check_flags("reset", reset, batch_size, length)
    if lengths is not None:
        shape = jax.tree.leaves(xs)[0].shape
        lengths = check_lengths("lengths", lengths, "xs", shape, remedy=USE_MASK)
        exists = within(lengths, length)
        real = exists if real is None else exists & real
        flags = flags if flags is None else flags & exists
    carry, initial = _start(cell, params, carry, key, batch_size)
    steps, restore = Steps(real, flags, None if flags is None else initial), lambda ys: ys
    if reverse:
        xs, steps, restore = reverse_time(xs, steps)
    everything = (params, carry, xs, steps)
    params, carry, xs, steps = trees.vary_like(everything, everything)
    return Task(params, carry, xs, steps, restore)


def tape_cost(cell: Any, params: Any, xs: Any, *, block: int = 1, key=None) -> int:
    """What the gradient of a block of steps stores, in carries: for `mixed_schedule`.

    The weight of an internal state in Gruslys et al. 2016. Read off shapes; nothing is computed.

    Args:
      cell: a cell with a step.
      params: from `cell.init`.
      xs: [B, T, ...] inputs; a pytree of such arrays is allowed.
      block: steps of a unit, at most T.
      key: as in `unroll`, for a stochastic cell.

    Returns:
      The size of the tape, divided by that of the carry and rounded up; at least 1.

    Raises:
      ValueError: if cell is not a cell, xs has no batch and time axes, block is no integer of
        1..T, or the cell's carry is empty.

    Example:
      >>> import seqjax as sj
      >>> cell, xs = sj.LSTM(hidden_size=3), jnp.ones((2, 100, 2))
      >>> cost = sj.core.tape_cost(cell, cell.init(jax.random.key(0), input_size=2), xs, block=5)
      >>> cost > 5, sj.core.mixed_schedule(100, 4 * cost, cost, block=5).tapes
      (True, 3)
    """
    check_cell_like("cell", cell)
    batch_size, length = check_xs(xs)
    checks.require(
        checks.is_positive_int(block) and block <= length,
        f"block is {block!r}; expected an integer of 1..T = {length}, the size of axis 1 of xs.",
    )
    carry = cell.initial_carry(params, batch_size, key=key)
    size = trees.size_in_bytes(carry)
    checks.require(
        size > 0,
        f"cell is {cell!r}, whose carry is empty; expected one with a state. Without a state "
        "there is nothing to store between units: pass remat an int.",
    )

    def one(params, carry, xs):
        return run(cell, params, carry, xs)

    return max(-(-tape_size(one, params, carry, jax.tree.map(jnp.asarray, xs), block) // size), 1)


def _check_windows(remat: Remat, truncate: int | None, length: int) -> Windows | None:
    """Both arguments as a record, None where there is nothing to divide."""
    if isinstance(remat, Schedule):
        checks.require(
            remat.length == length,
            f"remat is a schedule for {remat.length} steps but xs has T = {length}; expected one "
            f"for T steps. Make it with binomial_schedule({length}, slots).",
        )
    elif remat != "sqrt":
        _check_window("remat", remat, "None, 'sqrt', a Schedule or")
    _check_window("truncate", truncate, "None or")
    divided = length > 0 and (remat is not None or truncate is not None)
    return Windows(remat, truncate) if divided else None


def _check_window(name: str, value: Any, others: str) -> None:
    checks.require(
        value is None or checks.is_positive_int(value),
        f"{name} is {value!r}; expected {others} a number of steps of at least 1.",
    )


def _check_orientation(carry: Any, batch_size: int, length: int) -> None:
    rows = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(carry)}
    checks.require(
        rows != {(length,)} or length == batch_size,
        f"carry has {length} rows but xs has B = {batch_size} and T = {length}; is xs time-major? "
        "seqjax is batch-major. Pass jnp.swapaxes(xs, 0, 1).",
    )


def _start(cell: Any, params: Any, carry: Any, key: Any, batch_size: int) -> tuple[Any, Any]:
    """The carry to start from, checked against the cell's own, and what a reset returns to."""
    checks.require(
        carry is None or key is None,
        "both carry and key were given; expected one. A carry holds its own stream of noise: "
        "start one with cell.initial_carry(params, batch_size, key=key).",
    )
    if key is not None:
        checks.key(key, batch_size)
    if carry is None:
        carry = cell.initial_carry(params, batch_size, key=key)
        return carry, carry
    return carry, checked_initial(cell, params, carry, batch_size)
