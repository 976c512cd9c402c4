"""A cell over time: by its own unroll where it has one, else step by step; whole or in windows."""

import math
from typing import Any

import jax

from seqjax._internal import checks
from seqjax.core.cell import ALL, is_encoder, members_of
from seqjax.core.remat import run_schedule, square_root_schedule
from seqjax.core.scan import scan_steps
from seqjax.core.schedules import Schedule
from seqjax.core.steps import Steps, Windows, where_rows
from seqjax.core.windows import cut_flags, split_time


def run(cell: Any, params: Any, carry: Any, xs: Any, steps: Steps = ALL) -> tuple[Any, Any]:
    """Runs a cell over time, for a cell that has others inside; users call `unroll`.

    An encoder gets all of the sequence, and passes on to its members in what windows their
    gradients are computed. Any other cell runs in these windows itself.

    Args:
      cell: any `Cell` or `Encoder`.
      params: from `cell.init`.
      carry: where to start, leaves [B, ...].
      xs: [B, T, ...] inputs; a pytree of such arrays is allowed.
      steps: which steps are real, and where the state begins again: `steps.member(...)` of those
        that the outer cell got.

    Returns:
      The carry after each row's last real step, and ys [B, T, ...], zero where padded.

    Raises:
      ValueError: as the cell; if there are windows and an encoder has no members to run in them.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.GRU(3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, ys = run(cell, params, cell.initial_carry(params, 4), jnp.ones((4, 5, 2)))
      >>> ys.shape
      (4, 5, 3)

    References:
      Graves, Mohamed and Hinton, Speech recognition with deep recurrent neural networks, 2013,
      for layers that each read the outputs of the one below.
    """
    if steps.windows is not None:
        if not is_encoder(cell):
            return _run_windows(steps.windows, cell, params, carry, xs, steps)
        checks.require(
            bool(members_of(cell)),
            f"remat or truncate was given but {type(cell).__name__}, an encoder, has no members to "
            "run in windows. Give it `members`, and run them by core.run(..., steps.member(...)).",
        )
    if hasattr(cell, "unroll"):
        return cell.unroll(params, carry, xs, steps)
    return run_steps(cell, params, carry, xs, steps)


def run_steps(cell: Any, params: Any, carry: Any, xs: Any, steps: Steps = ALL) -> tuple[Any, Any]:
    """Runs a cell over xs [B, T, ...] by its `step`: the definition that `unroll` must equal."""
    return scan_steps(lambda carry, x: cell.step(params, carry, x), carry, xs, steps)


def _run_windows(windows: Windows, cell, params, carry, xs, steps: Steps) -> tuple[Any, Any]:
    """`run` in windows: truncation outside, recomputation inside."""
    remat, truncate = windows.remat, windows.truncate
    length = jax.tree.leaves(xs)[0].shape[1]
    cuts = None if truncate is None or truncate >= length else cut_flags(xs, steps.mask, truncate)

    def block(shared, carry, inputs):
        (params, initial), (xs, mask, reset, cuts) = shared, inputs
        if cuts is not None:
            carry = where_rows(cuts[:, 0], jax.lax.stop_gradient(carry), carry)
        return run(cell, params, carry, xs, Steps(mask, reset, initial))

    args = (params, steps.initial), carry, (xs, steps.mask, steps.reset, cuts)
    policy = square_root_schedule(block, *args) if remat == "sqrt" else remat
    if isinstance(policy, Schedule):
        # No part of a unit goes across a cut.
        part = policy.block if cuts is None else math.gcd(policy.block, truncate or 0)
        return run_schedule(policy, split_time(block, part), *args)
    inner = block
    if policy is not None:
        inner = split_time(jax.checkpoint(block, prevent_cse=False), policy)
    return (inner if truncate is None else split_time(inner, truncate))(*args)
