"""Three ways of evaluating one linear recurrence, and its adjoint.

A step takes what is handed on, c, to (c', out):

    forward recurrence   c' = out = a c + b
    its adjoint          out = b + c,   c' = a out

Both map c to c' = P c + Q, which is all that the parallel methods use. Where a step is cut, [B, T],
it passes nothing from one neighbour to the other: a c is 0, and so is a out. Real arrays, or
`Complex`; a is [B, T, ...] or, where it is the same at all steps, [B, 1, ...]; b is [B, T, ...].
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import trees
from seqjax.core.steps import where_rows, zero_rows
from seqjax.linear.pairs import add, multiply, ones_like


class How(NamedTuple):
    """How a recurrence is evaluated.

    Fields:
      method: "sequential", "associative" or "chunked".
      chunk_size: steps of a chunk.
      reverse: whether time runs from the last step to the first.
      adjoint: whether the step is that of the adjoint.
    """

    method: str
    chunk_size: int
    reverse: bool
    adjoint: bool = False

    def step(self, c: Any, a: Any, b: Any, cut: Any) -> tuple[Any, Any]:
        """One step over rows [B]."""
        kept = lambda x: x if cut is None else zero_rows(~cut, x)
        if self.adjoint:
            out = add(b, c)
            return kept(multiply(a, out)), out
        out = add(multiply(a, kept(c)), b)
        return out, out


def run_linear(how: How, a: Any, b: Any, cut: Any) -> Any:
    """All outs [B, T, ...] from a start at 0, T at least 1."""
    zeros = trees.vary_like(jax.tree.map(jnp.zeros_like, take(b, 0)), b)
    if how.method == "associative":
        return _associative(how, a, b, cut)
    if how.method == "chunked" and length(b) > how.chunk_size:
        return _chunked(how, a, b, zeros, cut)
    return _loop(how, a, b, zeros, cut)[1]


def length(tree: Any, axis: int = 1) -> int:
    """The size of an axis, by default that of time."""
    return jax.tree.leaves(tree)[0].shape[axis]


def take(tree: Any, index: Any, axis: int = 1) -> Any:
    """The entries of all leaves at an index of an axis; of an axis of size 1 the one there is."""
    at = lambda x: x.squeeze(axis) if x.shape[axis] == 1 else _at(x, index, axis)
    return jax.tree.map(at, tree)


def _at(x: jax.Array, index: Any, axis: int) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(x, index, axis, keepdims=False)


def _loop(how: How, a: Any, b: Any, c: Any, cut: Any, axis: int = 1) -> tuple[Any, Any]:
    """Step by step along an axis, each result written to its place.

    Nothing is transposed, as it is for a `lax.scan`, whose axis leads; `benchmarks.linear` has
    what that is worth on a CPU. b is not written over: where a step's c and out are computed
    apart, both read it, and XLA would copy all of it before each write.
    """
    count = length(b, axis)
    outs = trees.vary_like(jax.tree.map(jnp.zeros_like, b), b)

    def body(turn, state):
        c, outs = state
        t = count - 1 - turn if how.reverse else turn
        c, out = how.step(c, take(a, t, axis), take(b, t, axis), take(cut, t, axis))
        put = lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, t, axis)
        return c, jax.tree.map(put, outs, out)

    return jax.lax.fori_loop(0, count, body, (c, outs))


def _chunked(how: How, a: Any, b: Any, c: Any, cut: Any) -> Any:
    """Whole chunks side by side, and what is left of T step by step."""
    size = how.chunk_size
    whole = length(b) - length(b) % size
    if whole == length(b):
        return _whole_chunks(how, a, b, c, cut)[1]
    part = lambda s: jax.tree.map(lambda x: x if x.shape[1] == 1 else x[:, s], (a, b, cut))
    parts = [(_whole_chunks, part(slice(None, whole))), (_loop, part(slice(whole, None)))]
    outs = []
    for run, (a, b, cut) in reversed(parts) if how.reverse else parts:
        c, out = run(how, a, b, c, cut)
        outs.append(out)
    first, second = reversed(outs) if how.reverse else outs
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), first, second)


def _whole_chunks(how: How, a: Any, b: Any, c: Any, cut: Any) -> tuple[Any, Any]:
    """First each chunk's map P c + Q, then where each begins, then the steps of all of them.

    The loops take chunk_size, T / chunk_size and chunk_size turns; a and b are read twice.
    """
    size, count = how.chunk_size, length(b) // how.chunk_size
    split = lambda x: x.reshape(x.shape[0], -1, min(size, x.shape[1]), *x.shape[2:])
    a, b, cut = jax.tree.map(split, (a, b, cut))  # [B, chunks, size, ...]
    zeros = trees.vary_like(jax.tree.map(jnp.zeros_like, take(b, 0, 2)), b)
    ones = trees.vary_like(ones_like(take(a, 0, 2)), b)

    def pass_on(turn, state):
        products, sums = state
        t = size - 1 - turn if how.reverse else turn
        factor = take(a, t, 2)
        sums, _ = how.step(sums, factor, take(b, t, 2), take(cut, t, 2))
        return multiply(factor, products), sums

    products, sums = jax.lax.fori_loop(0, size, pass_on, (ones, zeros))
    crossed = None if cut is None else jnp.any(cut, axis=2)

    def enter(turn, state):
        c, begins = state
        n = count - 1 - turn if how.reverse else turn
        put = lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, n, 1)
        begins, own = jax.tree.map(put, begins, c), take(sums, n)
        c = add(multiply(take(products, n), c), own)
        return (c if crossed is None else where_rows(take(crossed, n), own, c)), begins

    c, begins = jax.lax.fori_loop(0, count, enter, (c, zeros))
    _, outs = _loop(how, a, b, begins, cut, axis=2)
    return c, jax.tree.map(lambda x: x.reshape(x.shape[0], -1, *x.shape[3:]), outs)


def _associative(how: How, a: Any, b: Any, cut: Any) -> Any:
    """By `lax.associative_scan`; where a step is cut is a part of the operator's elements."""
    steps = length(b)
    a = jax.tree.map(lambda x: jnp.broadcast_to(x, (x.shape[0], steps, *x.shape[2:])), a)
    if how.adjoint:  # out = b + a out of the step before: each factor moves on by one
        shift = lambda x: jnp.roll(x, -1 if how.reverse else 1, axis=1)
        a, cut = jax.tree.map(shift, (a, cut))

    def combine(early, late):
        a, b, cut = late
        sums = add(multiply(a, early[1]), b)
        if cut is not None:
            sums, cut = where_rows(cut, b, sums), cut | early[2]
        return multiply(a, early[0]), sums, cut

    return jax.lax.associative_scan(combine, (a, b, cut), reverse=how.reverse, axis=1)[1]
