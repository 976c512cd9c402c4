"""A cell over whole sequences, all steps at once."""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax._internal import checks
from seqjax.core.cell import check_steppable
from seqjax.core.layout import Kind, Layout
from seqjax.core.unroll import check_task
from seqjax.newton.solver import Sequences, Solver, evaluate, solve, states_before

Method = Literal["newton", "quasi-newton", "block-newton"]
KINDS: dict[str, Kind] = {"newton": "dense", "quasi-newton": "diagonal", "block-newton": "units"}


class Solution(NamedTuple):
    """What `newton.unroll` found.

    Attributes:
      carry: after each row's last real step, as `unroll` returns it.
      ys: [B, T, ...] outputs, zero where padded.
      carries: the carry after every step, leaves [B, T, ...], in the order of running (under
        `reverse` a row's last step comes first): a `guess` for params that are nearly the same.
      iterations: [B] int32, of Newton's method.
      converged: [B] bool. Rows where it is False were run step by step; without `fallback` they
        hold the last iterate, which need not be finite.
    """

    carry: Any
    ys: Any
    carries: Any
    iterations: jax.Array
    converged: jax.Array


def unroll(
    cell: Any,
    params: Any,
    xs: Any,
    *,
    carry: Any = None,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    reverse: bool = False,
    method: Method = "newton",
    tolerance: float = 1e-5,
    max_iters: int = 100,
    guess: Any = None,
    fallback: bool = True,
) -> Solution:
    """Runs a cell over a batch of sequences with all steps in parallel.

        hᵏ⁺¹ₜ = f(hᵏₜ₋₁, xₜ) + Jₜ (hᵏ⁺¹ₜ₋₁ - hᵏₜ₋₁),   Jₜ = ∂f(hᵏₜ₋₁, xₜ)/∂h

    An iteration evaluates all steps at once at the states of the one before, and solves a linear
    recurrence in O(log T) depth. After k iterations the first k steps are exact, so that T always
    do but for rounding; a recurrence that contracts (negative Lyapunov exponent) takes few, a
    chaotic one may take nearly T (Gonzalez et al. 2025). On a CPU this is slower than `unroll`: it
    is for hardware with parallelism to spare.

    - "newton": the whole Jacobian: O(T N²) memory and O(T N³) work for a carry of N numbers. Lim
      et al. 2024 (DEER).
    - "quasi-newton": its diagonal, O(T N) memory. Converges linearly, and not always. Gonzalez et
      al. 2024 (quasi-DEER).
    - "block-newton": exact at the cost of a diagonal, for cells whose units see only themselves:
      `DiagonalGRU`, `DiagonalLSTM`, or a cell of one's own with an attribute `elementwise` that is
      True. Danieli et al. 2025 (ParaRNN).

    The gradient is that of the recurrence itself: one linear solve at the solution, whatever the
    number of iterations; in parallel, for "quasi-newton" step by step (its diagonal would not do).
    Second derivatives go by `jax.grad` of `jax.grad`.

    Args:
      cell: a cell with a step, whose carry holds floats only.
      params: from `cell.init`.
      xs: [B, T, ...] inputs; a pytree of such arrays is allowed.
      carry: where to start, leaves [B, ...]; None means `cell.initial_carry(params, B)`.
      lengths: [B] integers, as in `unroll`.
      mask: [B, T] bool, as in `unroll`.
      reset: [B, T] bool, as in `unroll`.
      reverse: as in `unroll`.
      method: one of the three.
      tolerance: a row has converged when the last iteration changed none of its numbers h by more
        than tolerance · max(1, |h|).
      max_iters: at most so many iterations, at least 1.
      guess: carries to begin with, leaves [B, T, ...]; None means the initial carry at every step.
      fallback: whether rows that did not converge are run step by step. One such row makes the
        whole batch pay for it; under `vmap` it is always paid for.

    Returns:
      `Solution`: carry and ys as `unroll` returns them, carries, iterations, converged.

    Raises:
      ValueError: as `unroll`; if cell has no step or a carry that is empty or not of floats, or
        does not offer the method; if tolerance is no positive number, max_iters no positive
        integer, or guess not of the carry's structure with an axis of time.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.GRU(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> xs = jax.random.normal(jax.random.key(1), (4, 50, 2))
      >>> found = sj.newton.unroll(cell, params, xs)
      >>> _, ys = sj.unroll(cell, params, xs)
      >>> bool(found.converged.all()), bool(jnp.allclose(found.ys, ys, atol=1e-5))
      (True, True)
    """
    _check(cell, method, tolerance, max_iters)
    given = check_task(cell, params, xs, carry, None, lengths, mask, reset, reverse)
    layout = Layout.of(given.carry, KINDS[method])
    solver = Solver(cell.step, layout, float(tolerance), int(max_iters), bool(fallback))
    steps = given.steps.member(lambda carry: layout.pack(carry)[:, None])  # beside states in time
    task = Sequences(
        params=given.params,
        start=layout.pack(given.carry),
        xs=steps.zero_padding(given.xs),
        steps=steps,
    )
    states, iterations, converged = solve(solver, task, _first(task, layout, given.carry, guess))
    _, ys = evaluate(solver, task, states_before(task, states))
    ends = jnp.concatenate([task.start[:, None], states], axis=1)[:, -1]
    return Solution(
        carry=layout.unpack(ends),
        ys=given.restore(steps.zero_padding(ys)),
        carries=layout.unpack(states),
        iterations=iterations,
        converged=converged,
    )


def _first(task: Sequences, layout: Layout, carry: Any, guess: Any) -> jax.Array:
    """The states to begin with, [B, T, U, k]."""
    length = jax.tree.leaves(task.xs)[0].shape[1]
    if guess is None:
        start = task.start[:, None] if task.steps.reset is None else task.steps.initial
        return jnp.broadcast_to(start, (start.shape[0], length, *start.shape[2:]))
    expected = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((a.shape[0], length, *a.shape[1:]), a.dtype), carry
    )
    checks.same_structure("guess", guess, expected, "the carries after every step are")
    return layout.pack(jax.lax.stop_gradient(guess))


def _check(cell: Any, method: Any, tolerance: Any, max_iters: Any) -> None:
    remedy = "Run the cells of its two directions, the second with reverse=True."
    check_steppable("cell", cell, remedy)
    checks.one_of("method", method, tuple(KINDS))
    checks.require(
        method != "block-newton" or getattr(cell, "elementwise", False) is True,
        f"method is 'block-newton' but {type(cell).__name__} is not elementwise; expected a cell "
        "whose units see only themselves, with elementwise = True (DiagonalGRU, DiagonalLSTM). "
        "Use 'newton' or 'quasi-newton'.",
    )
    checks.require(
        checks.is_number(tolerance) and math.isfinite(tolerance) and tolerance > 0,
        f"tolerance is {tolerance!r}; expected a positive number, such as 1e-5 in float32.",
    )
    checks.positive_int("max_iters", max_iters)
