"""What a beam search carries from step to step, and one step of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.types import Carry, Logits
from seqjax.core.steps import where_rows
from seqjax.decoding.beam.hypotheses import Hypotheses, merge, nothing
from seqjax.decoding.beam.task import Task
from seqjax.decoding.engine.candidates import Extensions, extend, extend_groups, is_end
from seqjax.decoding.engine.logits import initial_states, update_states
from seqjax.decoding.engine.rows import pick, repeat_rows, take_beams


class Search(NamedTuple):
    """The k live hypotheses of each of R rows; N = R k, letters as in `Task`."""

    carry: Carry  # leaves [N, ...]
    states: Any  # of the processors, leaves [N, ...]
    coverage: Any  # [N, S], () without a coverage penalty
    last: jax.Array  # [R, k]: the token to read next
    tokens: jax.Array  # [R, k, L]
    places: Any  # [R, k, L], as in `Hypotheses`
    log_probs: jax.Array  # [R, k]: -inf where there is no such hypothesis
    outputs: Any  # leaves [L, N, ...]: what each step has returned beside logits
    ended: jax.Array  # [R]: how many hypotheses have finished
    done: jax.Array  # [R]: nothing may enter the finished ones any more


def first(task: Task) -> tuple[Search, Hypotheses]:
    """One hypothesis a row, empty, and none that has finished."""
    begin, size, length = task.begin, task.size, task.length
    batch = begin.tokens.shape[0]
    beam_size, rows = task.rules.groups * size, task.rules.groups * batch
    keeps = bool(jax.tree.leaves(begin.outputs))
    none = nothing(rows, size, length, begin.eos, begin.dtype, keeps)
    buffer = lambda x: jnp.zeros((length, rows * size, *x.shape[1:]), x.dtype)
    states = initial_states(task.processors, batch)
    carry, states = repeat_rows((begin.carry, states), beam_size)
    live = Search(
        carry=carry,
        states=states,
        coverage=() if task.align is None else jnp.zeros((rows * size, task.width), begin.dtype),
        last=repeat_rows(begin.tokens, beam_size).reshape(rows, size),
        tokens=none.tokens,
        places=none.places,
        # All start equal: one counts.
        log_probs=jnp.where(jnp.arange(size) == 0, 0, none.log_probs),
        outputs=jax.tree.map(buffer, begin.outputs) if keeps else (),
        ended=jnp.zeros((rows,), jnp.int32),
        done=jnp.zeros((rows,), bool),
    )
    return live, none


def grow(
    task: Task, search: Search, finished: Hypotheses, t, carry: Carry, logits: Logits, outputs: Any
) -> tuple[Search, Hypotheses]:
    """Extends every live hypothesis by what step t returned for it: logits [N, V] and the rest."""
    coverage, places, buffers = search.coverage, search.places, search.outputs
    if task.align is not None:
        coverage = coverage + task.align(outputs).astype(coverage.dtype)
    if jax.tree.leaves(buffers):
        write = lambda buffer, x: lax.dynamic_update_index_in_dim(buffer, x, t, 0)
        buffers = jax.tree.map(write, buffers, outputs)
        own = jnp.arange(search.last.size, dtype=jnp.int32).reshape(search.last.shape)
        places = places.at[:, :, t].set(own)
    found = _extend(task, search, t, logits)
    search = search._replace(places=places)
    finished, finishes = _finish(task, search, finished, found, t, coverage)

    parents, last = pick(found.parents, found.live), pick(found.tokens, found.live)
    number = search.ended + jnp.sum(finishes, axis=1, dtype=jnp.int32)
    # The largest and the least, though both are sorted: a slice of a top-k makes XLA sort it all.
    best, worst = jnp.max(found.live_log_probs, axis=1), jnp.min(finished.scores, axis=1)
    riding = take_beams((carry, search.states, coverage), parents)
    tokens, places = search.tokens, places
    if task.size > 1:  # else there is no other parent
        tokens, places = jax.tree.map(lambda x: pick(x, parents), (tokens, places))
    return Search(
        carry=riding[0],
        states=update_states(task.processors, riding[1], last.reshape(-1)),
        coverage=riding[2],
        last=last,
        tokens=lax.dynamic_update_slice_in_dim(tokens, last[..., None], t, axis=2),
        places=places,
        log_probs=found.live_log_probs,
        outputs=buffers,
        ended=number,
        done=search.done | task.stops(best, worst, number, t),
    ), finished


def _finish(task: Task, search: Search, finished: Hypotheses, found: Extensions, t, coverage: Any):
    """The best finished ones after step t, and which of the extensions [R, C] have finished."""
    lengths = jnp.full(found.tokens.shape, t + 1, jnp.int32)
    # An eos below the first k is no choice that k hypotheses make: greedy (k = 1) would pass it.
    ranked = jnp.arange(lengths.shape[1]) < task.size
    finishes = is_end(found.tokens, task.begin.ends) & ranked & (t + 1 >= task.rules.min_len)
    finishes &= found.log_probs != -jnp.inf
    covered = task.covered(coverage)
    covered = None if covered is None else pick(covered, found.parents)
    scores = jnp.where(finishes, task.scores(found.log_probs, lengths, covered), -jnp.inf)
    ended = Hypotheses(search.tokens, search.places, scores, found.log_probs, lengths)
    # Most steps end nothing, and leave the finished ones where they lie.
    enters = finishes & ~search.done[:, None]
    merged = lambda: merge(finished, ended, found.parents, found.tokens, t)
    take_in = lambda: where_rows(search.done, finished, merged())
    return lax.cond(jnp.any(enters), take_in, lambda: finished), finishes


def _extend(task: Task, search: Search, t, logits: Logits) -> Extensions:
    rules, forced = task.rules, None if task.forced is None else task.forced[:, t]
    how: dict[str, Any] = dict(ends=task.begin.ends, normalise=rules.normalise, forced=forced)

    def best(log_probs, logits):
        logits = logits.reshape(*log_probs.shape, -1)
        if rules.groups == 1:
            return extend(log_probs, logits, **how)
        return extend_groups(log_probs, logits, rules.groups, rules.diversity, **how)

    return _from_memory(best, jnp.all(search.done), search.log_probs, logits)


def _from_memory(function, never: jax.Array, *operands: jax.Array):
    """function(*operands), whose operands XLA writes to memory once: a hint, and nothing else.

    What makes the logits (a bias, a cast) XLA would fuse into each reader of them, of which the
    selection has several, and compute it again in each. It does not look into a conditional,
    so this is one whose other branch is not taken: `never` is False whenever the loop runs, since
    the loop ends when all rows are done.
    Measured by `python -m benchmarks.decode --vocab-sizes 32000`.
    """
    shapes = jax.eval_shape(function, *operands)
    idle = lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return lax.cond(never, idle, function, *operands)
