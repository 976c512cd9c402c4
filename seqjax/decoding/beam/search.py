"""What a beam search carries from step to step, and one step of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax.core.scan import where_rows
from seqjax.decoding.beam.hypotheses import History, Hypotheses, grow, merge, nothing
from seqjax.decoding.beam.rules import Rules
from seqjax.decoding.engine.candidates import Extensions, extend, extend_groups, is_end
from seqjax.decoding.engine.carries import pick, repeat_rows, take_beams
from seqjax.decoding.engine.start import Start


class Riders(NamedTuple):
    """What goes with the live hypotheses and is gathered by parents: leaves [N, ...]."""

    carry: Any
    states: Any  # of the processors
    coverage: Any  # [N, S], () without a coverage penalty


class Search(NamedTuple):
    """What the loop carries: per row K live hypotheses and the K best finished ones.

    A row is one of the B G groups, K the size of a group here, and N = B G K.
    """

    riders: Riders
    last: jax.Array  # [R, K]: the token to read next
    history: History
    log_probs: jax.Array  # [R, K]: -inf where there is no such hypothesis
    finished: Hypotheses
    ended: jax.Array  # [R]: how many have finished
    done: jax.Array  # [R]: nothing may enter the finished ones any more
    outputs: Any  # leaves [L, N, ...]: what each step has handed out


def first(begin: Start, states: Any, weights: Any, rules: Rules) -> Search:
    """One hypothesis a row, empty; `weights` is the shape of attention weights [B, S], or None."""
    size, beam_size = rules.size, rules.size * rules.groups
    rows = begin.tokens.shape[0] * rules.groups
    keeps = bool(jax.tree.leaves(begin.outputs))
    none = nothing(rows, size, rules.length, begin.eos, begin.dtype, keeps)
    buffer = lambda x: jnp.zeros((rules.length, rows * size, *x.shape[1:]), x.dtype)
    width = None if weights is None else weights.shape[1]
    coverage = () if width is None else jnp.zeros((rows * size, width), begin.dtype)
    carry, states = repeat_rows((begin.carry, states), beam_size)
    return Search(
        riders=Riders(carry, states, coverage),
        last=repeat_rows(begin.tokens, beam_size).reshape(rows, size),
        history=none.history,
        # All start equal: one counts.
        log_probs=jnp.where(jnp.arange(size) == 0, 0, none.log_probs),
        finished=none,
        ended=jnp.zeros((rows,), jnp.int32),
        done=jnp.zeros((rows,), bool),
        outputs=jax.tree.map(buffer, begin.outputs) if keeps else (),
    )


def record(search: Search, t, carry: Any, handed: list, align: Any) -> Search:
    """Takes in what step t returned, and where each live hypothesis finds its own outputs."""
    riders = search.riders._replace(carry=carry)
    if align is not None:
        coverage = riders.coverage + align(handed[0]).astype(riders.coverage.dtype)
        riders = riders._replace(coverage=coverage)
    if not jax.tree.leaves(search.outputs):
        return search._replace(riders=riders)
    write = lambda buffer, x: lax.dynamic_update_index_in_dim(buffer, x, t, 0)
    rows, size = search.last.shape
    own = jnp.arange(rows * size, dtype=jnp.int32).reshape(rows, size)
    return search._replace(
        riders=riders,
        outputs=jax.tree.map(write, search.outputs, handed[0]),
        history=search.history._replace(places=search.history.places.at[:, :, t].set(own)),
    )


def advance(search: Search, t, logits, ends, forced, rules: Rules) -> Search:
    """Extends the live hypotheses by one token, given logits [N, V]."""
    found = _extend(search, logits, ends, forced, rules)
    lengths = jnp.full(found.tokens.shape, t + 1, jnp.int32)
    # An eos below the first K is no choice that K hypotheses make: greedy (K = 1) would pass it.
    ranked = jnp.arange(lengths.shape[1]) < rules.size
    finishes = is_end(found.tokens, ends) & ranked & (t + 1 >= rules.min_len)
    finishes &= found.log_probs != -jnp.inf
    covered = rules.covered(search.riders.coverage)
    covered = None if covered is None else pick(covered, found.parents)
    scores = jnp.where(finishes, rules.scores(found.log_probs, lengths, covered), -jnp.inf)
    ended = Hypotheses(search.history, scores, found.log_probs, lengths)
    # Most steps end nothing, and leave the finished ones where they lie.
    enters = finishes & ~search.done[:, None]
    merged = lambda: merge(search.finished, ended, found.parents, found.tokens, t)
    take_in = lambda: where_rows(search.done, search.finished, merged())
    finished = lax.cond(jnp.any(enters), take_in, lambda: search.finished)

    parents, last = pick(found.parents, found.live), pick(found.tokens, found.live)
    number = search.ended + jnp.sum(finishes, axis=1, dtype=jnp.int32)
    # The largest and the least, though both are sorted: a slice of a top-k makes XLA sort it all.
    best, worst = jnp.max(found.live_log_probs, axis=1), jnp.min(finished.scores, axis=1)
    return search._replace(
        riders=take_beams(search.riders, parents),
        last=last,
        history=grow(search.history, parents, last, t),
        log_probs=found.live_log_probs,
        finished=finished,
        ended=number,
        done=search.done | rules.stops(best, worst, number, t),
    )


def _extend(search: Search, logits, ends, forced, rules: Rules) -> Extensions:
    how: dict[str, Any] = dict(ends=ends, normalise=rules.normalise, forced=forced)
    if rules.groups > 1:
        how |= dict(groups=rules.groups, diversity=rules.diversity)

    def best(log_probs, logits):
        logits = logits.reshape(*log_probs.shape, -1)
        return (extend if rules.groups == 1 else extend_groups)(log_probs, logits, **how)

    def idle(*given):
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(best, *given))

    # Always the latter: the loop ends when all are done. But what a conditional is given lies in
    # memory once, while each of several readers outside of one would compute it anew.
    return lax.cond(jnp.all(search.done), idle, best, search.log_probs, logits)
