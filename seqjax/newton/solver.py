"""Newton's method for the states of all steps, and its gradient by one linear solve."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import trees
from seqjax.core.layout import Layout
from seqjax.core.steps import Steps, where_rows


class Sequences(NamedTuple):
    """What a recurrence runs over: every argument of it but the states.

    Attributes:
      params: of the cell.
      start: [B, U, k], the packed carry before the first step.
      xs: [B, T, ...] inputs, zero at padding.
      steps: which of them are real, and where the state becomes `initial`, [B, 1, U, k] packed.
    """

    params: Any
    start: jax.Array
    xs: Any
    steps: Steps


class Solver(NamedTuple):
    """How the states are found.

    Attributes:
      step: (params, carry, x) -> (carry, y).
      layout: of the carry.
      tolerance: of a change, for numbers of at most 1 absolute, for others relative.
      max_iters: at most so many iterations.
      fallback: whether rows without success are run step by step.
    """

    step: Callable
    layout: Layout
    tolerance: float
    max_iters: int
    fallback: bool


def solve(solver: Solver, task: Sequences, guess: jax.Array):
    """The states [B, T, U, k] after every step, iterations [B] and success [B].

    Gradients reach everything in `task`; that of the guess is zero.
    """

    @jax.custom_vjp
    def run(task, guess):
        return _iterate(solver, task, guess)

    def forward(task, guess):
        found = run(task, guess)
        return found, (task, found[0])

    def backward(kept, cotangents):
        task, states = kept
        return _pull(solver, task, states, cotangents[0]), jnp.zeros_like(states)

    run.defvjp(forward, backward)
    return run(task, guess)


def evaluate(solver: Solver, task: Sequences, before: jax.Array) -> tuple[jax.Array, Any]:
    """One step of every row and time: states before [B, T, U, k] -> states after, and ys."""
    before = task.steps.restart(before)
    batch_size, length = before.shape[:2]
    rows = lambda tree: jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), tree)
    carry = solver.layout.unpack(rows(before))
    carry, ys = solver.step(task.params, carry, rows(task.xs))
    after = solver.layout.pack(carry).reshape(before.shape)
    ys = jax.tree.map(lambda a: a.reshape(batch_size, length, *a.shape[1:]), ys)
    return task.steps.hold(after, before), ys


def states_before(task: Sequences, states: jax.Array) -> jax.Array:
    """The states before every step, [B, T, U, k], of those after every step."""
    return jnp.concatenate([task.start[:, None], states], axis=1)[:, :-1]


def _iterate(solver: Solver, task: Sequences, guess: jax.Array):
    def body(loop):
        i, states, iterations, active, converged = loop
        after, jacobian = _linearize(solver, task, states_before(task, states))
        change = linear_recurrence(jacobian, after - states)
        new = states + change
        axes = tuple(range(1, new.ndim))
        close = jnp.abs(change) <= solver.tolerance * jnp.maximum(jnp.abs(new), 1)
        done, finite = jnp.all(close, axis=axes), jnp.all(jnp.isfinite(new), axis=axes)
        states = where_rows(active, new, states)
        iterations, converged = (
            iterations + active.astype(jnp.int32),
            converged | (active & done & finite),
        )
        return i + 1, states, iterations, active & ~done & finite, converged

    none = jnp.zeros(guess.shape[:1], bool)
    start = (jnp.int32(0), guess, none.astype(jnp.int32), ~none, none)
    start = trees.vary_like(start, (task, guess))
    go_on = lambda loop: jnp.any(loop[3]) & (loop[0] < solver.max_iters)
    _, states, iterations, _, converged = jax.lax.while_loop(go_on, body, start)
    if solver.fallback:
        one_by_one = lambda: where_rows(converged, states, _one_by_one(solver, task))
        states = jax.lax.cond(jnp.all(converged), lambda: states, one_by_one)
    return states, iterations, converged


def _linearize(solver: Solver, task: Sequences, before: jax.Array):
    """The states after, and the blocks of the Jacobian [B, T, U, k, k]."""
    after, push = jax.linearize(lambda h: evaluate(solver, task, h)[0], before)
    units, size = before.shape[-2:]
    if solver.layout.kind != "diagonal":
        columns = jnp.broadcast_to(jnp.eye(size, dtype=before.dtype)[:, None], (size, units, size))
        pushed = jax.vmap(lambda column: push(jnp.broadcast_to(column, before.shape)))(columns)
        return after, jnp.moveaxis(pushed, 0, -1)

    def entry(unit):  # one at a time: the whole Jacobian is never stored
        column = jnp.zeros((units, 1), before.dtype).at[unit].set(1)
        return push(jnp.broadcast_to(column, before.shape))[:, :, unit, 0]

    diagonal = jax.lax.map(entry, jnp.arange(units))
    return after, jnp.moveaxis(diagonal, 0, -1)[..., None, None]


def linear_recurrence(blocks: jax.Array, inputs: jax.Array, reverse: bool = False) -> jax.Array:
    """hₜ = Aₜ hₜ₋₁ + bₜ from h = 0, in O(log T) depth; under `reverse` hₜ = Aₜ hₜ₊₁ + bₜ.

    Args:
      blocks: A [B, T, U, k, k].
      inputs: b [B, T, U, k].

    Returns:
      h [B, T, U, k].
    """
    if blocks.shape[-1] == 1:
        combine = lambda one, two: (two[0] * one[0], two[0] * one[1] + two[1])
        pair = (blocks[..., 0], inputs)
    else:
        dot = lambda a, b: jnp.matmul(a, b, precision="highest")
        combine = lambda one, two: (dot(two[0], one[0]), dot(two[0], one[1]) + two[1])
        pair = (blocks, inputs[..., None])
    found = jax.lax.associative_scan(combine, pair, reverse=reverse, axis=1)[1]
    return found.reshape(inputs.shape)


def _pull(solver: Solver, task: Sequences, states: jax.Array, cotangents: jax.Array) -> Sequences:
    """The cotangents of a task, of those of its states.

    λₜ = ∂loss/∂hₜ + Jₜ₊₁ᵀ λₜ₊₁,   ∂loss/∂θ = Σₜ (∂f(hₜ₋₁, xₜ)/∂θ)ᵀ λₜ
    """
    before = states_before(task, states)
    if solver.layout.kind == "diagonal":
        adjoint = _adjoint_one_by_one(solver, task, before, cotangents)
    else:
        _, jacobian = _linearize(solver, task, before)
        later = jnp.concatenate([jacobian[:, 1:], jnp.zeros_like(jacobian[:, :1])], axis=1)
        adjoint = linear_recurrence(jnp.swapaxes(later, -1, -2), cotangents, reverse=True)

    def run(floats):
        again = trees.with_inexact(task, floats)
        return evaluate(solver, again, states_before(again, states))[0]

    return jax.vjp(run, trees.inexact(task))[1](adjoint)[0]


def _adjoint_one_by_one(solver, task, before, cotangents):
    """λ [B, T, U, k] of `_pull`, from the last step to the first."""

    def body(later, inputs):
        state, cotangent, at = inputs
        here = cotangent + later
        pull = jax.vjp(lambda h: evaluate(solver, _at(task, at), h[:, None])[0][:, 0], state)[1]
        return pull(here)[0], here

    swap = lambda a: jnp.swapaxes(a, 0, 1)
    inputs = (swap(before), swap(cotangents), _over_time(task))
    return swap(jax.lax.scan(body, jnp.zeros_like(task.start), inputs, reverse=True)[1])


def _one_by_one(solver: Solver, task: Sequences) -> jax.Array:
    """The states of all steps, one after the other."""

    def body(state, at):
        after = evaluate(solver, _at(task, at), state[:, None])[0][:, 0]
        return after, after

    return jnp.swapaxes(jax.lax.scan(body, task.start, _over_time(task))[1], 0, 1)


def _over_time(task: Sequences) -> Any:
    """Inputs and flags by step: [T, B, 1, ...], a sequence of one step for `evaluate`."""
    by_time = (jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), task.xs), task.steps.flags())
    return jax.tree.map(lambda a: a[:, :, None], by_time)


def _at(task: Sequences, inputs: Any) -> Sequences:
    """The task at one step of `_over_time`."""
    xs, flags = inputs
    return task._replace(xs=xs, steps=task.steps.at(flags))
