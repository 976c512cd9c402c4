"""A cell over whole sequences."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.experimental import checkify
from jax.typing import ArrayLike

from seqjax import _checks
from seqjax.cells.base import check_cell_like, run, takes
from seqjax.noise import check_key, is_noise
from seqjax.remat import run_schedule, square_root_schedule
from seqjax.reverse import reverse_time
from seqjax.scan import Reset, check_batch, check_flags, check_xs, strong, where_rows
from seqjax.schedules import Schedule

Remat = int | Literal["sqrt"] | Schedule | None


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
    in padding, NaN included, changes no value and no gradient.

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
        episodes), at masked steps too; flags beyond lengths are ignored. Noise goes on.
      reverse: runs from each row's last real step to its first; ys stay in the order of xs.
        The boundaries of reset are those of the forward order.
      remat: activation checkpointing, same numbers for less memory. An int K stores the carry
        every K steps and recomputes the steps between in the backward pass; "sqrt" chooses K
        near √(T |carry| / |what a step stores|), at most ⌈√T⌉; Chen et al. 2016, section 4. A
        `Schedule` for T steps (`binomial_schedule`, `mixed_schedule`) stores what it says. Under
        the last two `jax.jvp` is refused, but not that of `jax.grad`.
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
    check_cell_like("cell", cell)
    batch_size, length = check_xs(xs)
    xs = jax.tree.map(jnp.asarray, xs)
    real = check_flags("mask", mask, batch_size, length)
    real = _real_steps(lengths, real, jax.tree.leaves(xs)[0].shape)
    flags = check_flags("reset", reset, batch_size, length)
    if flags is not None and lengths is not None:
        flags = flags & _within(lengths, length)
    carry, initial = _start(cell, params, carry, key, batch_size)
    run_cell = _windowed(remat, truncate, length)
    restore = lambda ys: ys
    if reverse:
        xs, real, flags, restore = reverse_time(xs, real, flags)
    anew = None if flags is None else Reset(flags, initial)
    carry, ys = run_cell(cell, params, carry, xs, real, anew)
    return carry, restore(ys)


def _windowed(remat: Remat, truncate: int | None, length: int) -> Callable:
    """`run` in windows, after checks of both arguments."""
    if isinstance(remat, Schedule):
        _checks.require(
            remat.length == length,
            f"remat is a schedule for {remat.length} steps but xs has T = {length}; expected one "
            f"for T steps. Make it with binomial_schedule({length}, slots).",
        )
    elif remat != "sqrt":
        _check_window("remat", remat, "None, 'sqrt', a Schedule or")
    _check_window("truncate", truncate, "None or")
    if length == 0 or (remat is None and truncate is None):
        return run

    def run_windows(cell, params, carry, xs, mask, reset):
        if hasattr(cell, "step"):
            return _in_windows(remat, truncate, cell, params, carry, xs, mask, reset)
        _checks.require(  # an encoder: its members run in windows, each its own way
            takes(cell.unroll, "run"),
            f"remat or truncate was given but {type(cell).__name__}, an encoder, has an "
            "unroll without a run argument, by which it would run its members in windows.",
        )
        return cell.unroll(params, carry, xs, mask, reset, run=run_windows)

    return run_windows


def _in_windows(remat: Remat, truncate: int | None, cell, params, carry, xs, mask, reset):
    """`run` for a cell with a step: truncation outside, recomputation inside."""
    flags, initial = reset or (None, None)
    length = jax.tree.leaves(xs)[0].shape[1]
    cuts = None if truncate is None or truncate >= length else _cuts(xs, mask, truncate)

    def block(shared, carry, inputs):
        (params, initial), (xs, mask, flags, cuts) = shared, inputs
        if cuts is not None:
            carry = where_rows(cuts[:, 0], jax.lax.stop_gradient(carry), carry)
        reset = None if flags is None else Reset(flags, initial)
        return run(cell, params, carry, xs, mask, reset)

    args = (params, initial), carry, (xs, mask, flags, cuts)
    policy = square_root_schedule(block, *args) if remat == "sqrt" else remat
    if isinstance(policy, Schedule):
        # No part of a unit goes across a cut.
        part = policy.block if cuts is None else math.gcd(policy.block, truncate or 0)
        return run_schedule(policy, _split(block, part), *args)
    inner = block
    if policy is not None:
        inner = _split(jax.checkpoint(block, prevent_cse=False), policy)
    return (inner if truncate is None else _split(inner, truncate))(*args)


def _cuts(xs: Any, mask: jax.Array | None, size: int) -> jax.Array:
    """Where no gradient flows from a step to the one before it, [B, T] bool.

    Those are the first steps of all windows but the first one. A row whose window is all padding
    is left alone: it holds its carry, and the gradient of a final carry must reach the row's last
    real window however much padding follows.
    """
    batch_size, length = jax.tree.leaves(xs)[0].shape[:2]
    real = jnp.ones((batch_size, length), bool) if mask is None else mask
    real = jnp.pad(real, ((0, 0), (0, -length % size)))
    rows = jnp.any(_windows(real, real.shape[1] // size), axis=2)  # [B, windows]
    steps = jnp.arange(length)
    return rows[:, steps // size] & (steps > 0) & (steps % size == 0)


def _split(block: Callable, size: int) -> Callable:
    """Runs a block over windows of `size` steps, the last one shorter where it must be."""

    def run_all(shared, carry, inputs):
        length = jax.tree.leaves(inputs)[0].shape[1]
        count, rest = divmod(length, size)
        if count == 0 or length == size:
            return block(shared, carry, inputs)
        window = functools.partial(block, shared)
        split = lambda a: jnp.moveaxis(_windows(a[:, : count * size], count), 1, 0)
        carry, ys = jax.lax.scan(window, strong(carry), jax.tree.map(split, inputs))
        ys = jax.tree.map(lambda a: _merge(jnp.moveaxis(a, 0, 1)), ys)
        if rest:
            carry, last = window(carry, jax.tree.map(lambda a: a[:, count * size :], inputs))
            ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), ys, last)
        return carry, ys

    return run_all


def _windows(a: jax.Array, count: int) -> jax.Array:
    return a.reshape(a.shape[0], count, a.shape[1] // count, *a.shape[2:])  # [B, n, K, ...]


def _merge(a: jax.Array) -> jax.Array:
    return a.reshape(a.shape[0], a.shape[1] * a.shape[2], *a.shape[3:])  # [B, n * K, ...]


def _check_window(name: str, value: Any, others: str) -> None:
    _checks.require(
        value is None or _checks.is_positive_int(value),
        f"{name} is {value!r}; expected {others} a number of steps of at least 1.",
    )


def _real_steps(lengths, mask, shape: tuple[int, ...]):
    """The mask [B, T] that lengths and mask make together, None where all steps are real."""
    if lengths is None:
        return mask
    batch_size, length = shape[:2]
    lengths = jnp.asarray(lengths)
    _checks.require(
        lengths.shape == (batch_size,),
        f"lengths has shape {lengths.shape} but xs has batch size {batch_size} (xs is [B, T, ...] "
        f"= {shape}); is xs time-major? seqjax is batch-major.",
    )
    _checks.require(
        jnp.issubdtype(lengths.dtype, jnp.integer),
        f"lengths has dtype {lengths.dtype}; expected integers [B]. For a bool mask use mask=.",
    )
    known = _checks.concrete(lengths)
    if known is not None and known.size:
        _checks.require(
            bool(known.min() >= 0 and known.max() <= length),
            f"lengths has values from {known.min()} to {known.max()}; expected 0 <= lengths <= T "
            f"= {length}, the size of axis 1 of xs.",
        )
    lengths = lengths.astype(jnp.int32)  # T may be beyond a smaller dtype
    checkify.debug_check(
        jnp.all((lengths >= 0) & (lengths <= length)), "lengths must lie in 0..T of xs"
    )
    within = _within(lengths, length)
    return within if mask is None else within & mask


def _within(lengths, length: int) -> jax.Array:
    return jnp.arange(length, dtype=jnp.int32) < jnp.asarray(lengths).astype(jnp.int32)[:, None]


def _start(cell: Any, params: Any, carry: Any, key: Any, batch_size: int) -> tuple[Any, Any]:
    """The carry to start from, checked against the cell's own, and what a reset returns to."""
    _checks.require(
        carry is None or key is None,
        "both carry and key were given; expected one. A carry holds its own stream of noise: "
        "start one with cell.initial_carry(params, batch_size, key=key).",
    )
    if key is not None:
        check_key(key, batch_size)
    if carry is None:
        carry = cell.initial_carry(params, batch_size, key=key)
        return carry, carry
    check_batch("carry", carry, batch_size)
    expected = jax.eval_shape(lambda: _initial(cell, params, batch_size, carry))
    _checks.same_structure(
        "carry", carry, expected, f"{type(cell).__name__}.initial_carry(params, B) makes it"
    )
    return carry, _initial(cell, params, batch_size, carry)


def _initial(cell: Any, params: Any, batch_size: int, carry: Any) -> Any:
    """The cell's initial carry, of the structure of the one under way."""
    # Streams of noise go on through a reset, so the keys only give the carry its structure.
    streams = [node for node in jax.tree.leaves(carry, is_leaf=is_noise) if is_noise(node)]
    key = streams[0].key if streams else None
    return cell.initial_carry(params, batch_size, key=key)
