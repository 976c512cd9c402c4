"""Beam search over a step function."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._checks import positive_int, require
from seqjax.decoding.carries import pick, repeat_rows, take_beams
from seqjax.decoding.logits import Processor, as_logits, initial_states, process, update_states
from seqjax.decoding.penalties import LengthPenalty
from seqjax.decoding.start import Start, Step, start
from seqjax.scan import where_rows


class Beams(NamedTuple):
    """The K best hypotheses of each row, best first.

    Fields:
      tokens: [B, K, L] int32, without bos and prompt; eos repeats after the first.
      scores: [B, K] floats, length_penalty(log_probs, lengths).
      log_probs: [B, K] floats, in nats.
      lengths: [B, K] int32, in tokens, eos counted.
    """

    tokens: jax.Array
    scores: jax.Array
    log_probs: jax.Array
    lengths: jax.Array


class _Search(NamedTuple):
    """What the loop carries: K live hypotheses, best first, and the K best finished ones."""

    carry: Any  # leaves [B * K, ...]
    states: Any  # of the processors, leaves [B * K, ...]
    last: jax.Array  # [B, K]: the token to read next
    tokens: jax.Array  # [B, K, L]
    log_probs: jax.Array  # [B, K]: -inf where there is no such hypothesis
    finished: Beams
    done: jax.Array  # [B]: no live hypothesis can enter the finished ones any more


def beam_search(
    step: Step,
    carry: Any,
    *,
    bos: Any,
    eos: int,
    beam_size: int,
    max_len: int,
    length_penalty: LengthPenalty | None = None,
    processors: Sequence[Processor] = (),
    prompt: Any = None,
    prompt_lengths: Any = None,
) -> Beams:
    """Searches for the K most probable sequences of each row, until nothing can improve.

        score(y) = length_penalty(Σₜ log p(yₜ | y<ₜ), |y|)

    Each step extends K live hypotheses to their 2 K best candidates by log-probability. Of the
    first K, those that end in eos compete by score for the K finished places; of all 2 K, the best
    K others live on (at most K end, so K are left). Live hypotheses that reach max_len compete
    too, with their own scores. A row stops by itself once its worst finished score is at least
    what its best live log-probability could score at any length still open: that loses nothing,
    whatever the penalty's sign. Equal candidates go to the better parent, then to the lowest id;
    equal scores to the one that finished first. With beam_size = 1 and no penalty this is greedy
    decoding. Every call traces the step; wrap it in `jax.jit` to compile once.

    Args:
      step: step(carry, tokens [N]) -> (carry, logits [N, V]); row-wise, for N = B (the prompt) and
        for N = B K, row b's hypotheses side by side: a query [N, H] meets memory [B, S, H] after
        query.reshape(B, -1, H). Logits that are all -inf allow eos alone.
      carry: any pytree whose leaves lead with the batch axis B (integers and typed keys
        included). It is repeated and gathered here.
      bos: the first token to read, an integer or [B]; [B] is needed where the carry has no leaf.
      eos: the token that ends a sequence, 0 <= eos < V.
      beam_size: K.
      max_len: L, the largest number of tokens.
      length_penalty: elementwise function (log_probs, lengths) -> scores, also called with [B, L]
        to find the stopping bound; at a fixed length it must not fall as log_probs rises. None
        ranks by log_probs. Lengths are integers that count eos and leave the prompt out.
      processors: functions (logits [N, V], tokens [N, L], length) -> logits [N, V], or objects
        with a state (`StatefulProcessor`), applied in order to the model's unnormalised logits
        (float32 or wider). tokens holds the hypothesis, of which the first `length` (a scalar)
        count and the rest is eos; the prompt is left out. log_probs are those of the processed,
        renormalised logits.
      prompt: [B, P] integers, padded on the right, read after bos. An eos in it is an ordinary
        token.
      prompt_lengths: [B], 0..P; None means all P.

    Returns:
      Beams: tokens [B, K, L] int32, scores [B, K], log_probs [B, K], lengths [B, K] int32, in
      float32 (float64 for float64 logits). Where a row has fewer than K sequences of positive
      probability (as when K > Vᴸ), the last places have scores and log_probs -inf, length 0 and
      tokens that are all eos.

    Raises:
      ValueError: for a setting out of range, a carry leaf without the batch axis, a step that
        changes its carry or returns logits that are not [N, V].

    Example:
      >>> chain = jnp.log(jnp.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]))
      >>> step = lambda carry, tokens: (carry, chain[tokens])
      >>> bos = jnp.array([0])
      >>> beams = beam_search(step, (), bos=bos, eos=2, beam_size=2, max_len=3)
      >>> beams.tokens.tolist(), beams.lengths.tolist()
      ([[[2, 2, 2], [1, 2, 2]]], [[1, 2]])
      >>> print(jnp.exp(beams.log_probs))
      [[0.5  0.25]]

    References:
      Graves, Sequence Transduction with Recurrent Neural Networks, 2012, section 2.5. Wu et al.,
      Google's Neural Machine Translation System, 2016, section 7.
    """
    size = positive_int("beam_size", beam_size)
    length = positive_int("max_len", max_len)
    penalty = length_penalty or (lambda log_probs, lengths: log_probs)
    begin = start(step, carry, bos, eos, prompt, prompt_lengths)

    def body(loop):
        t, search = loop
        carry, logits = step(search.carry, search.last.reshape(-1))
        logits = as_logits(logits, begin.dtype, begin.eos)
        tokens = search.tokens.reshape(-1, length)
        logits = process(processors, search.states, logits, tokens, t, begin.eos)
        search = _advance(search._replace(carry=carry), t, logits, begin.eos, penalty)
        states = update_states(processors, search.states, search.last.reshape(-1))
        return t + 1, search._replace(states=states)

    running = lambda loop: (loop[0] < length) & ~jnp.all(loop[1].done)
    first = _first(begin, initial_states(processors, begin.tokens.shape[0]), size, length)
    return _result(lax.while_loop(running, body, (jnp.int32(0), first))[1], begin.eos, penalty)


def _first(begin: Start, states: Any, size: int, length: int) -> _Search:
    shape = (begin.tokens.shape[0], size)
    worst = jnp.full(shape, -jnp.inf, begin.dtype)
    tokens = jnp.full((*shape, length), begin.eos, jnp.int32)
    return _Search(
        carry=repeat_rows(begin.carry, size),
        states=repeat_rows(states, size),
        last=repeat_rows(begin.tokens, size).reshape(shape),
        tokens=tokens,
        log_probs=jnp.where(jnp.arange(size) == 0, 0, worst),  # all start equal: one counts
        finished=Beams(tokens, worst, worst, jnp.zeros(shape, jnp.int32)),
        done=jnp.zeros(shape[:1], bool),
    )


def _advance(search: _Search, t, logits, eos: int, penalty: LengthPenalty) -> _Search:
    """Extends the live hypotheses by one token, given logits [B * K, V]."""
    batch, size, length = search.tokens.shape
    parents, tokens, log_probs = _candidates(search.log_probs, logits.reshape(batch, size, -1))
    ends = tokens == eos  # [B, C]
    lengths = jnp.full(ends.shape, t + 1, jnp.int32)
    # An eos below the first K is no choice that K hypotheses make: greedy (K = 1) would pass it.
    finishes = ends & (jnp.arange(ends.shape[1]) < size)
    scores = jnp.where(finishes, _scores(penalty, log_probs, lengths), -jnp.inf)
    # A parent's tokens are filled up with eos already, which is how a finished one ends.
    ended = Beams(search.tokens, scores, log_probs, lengths)
    finished = where_rows(search.done, search.finished, _merge(search.finished, ended, parents))

    live, order = lax.top_k(jnp.where(ends, -jnp.inf, log_probs), size)  # [B, K]
    parents, last = pick(parents, order), pick(tokens, order)
    tokens = pick(search.tokens, parents)
    tokens = lax.dynamic_update_slice_in_dim(tokens, last[..., None], t, axis=2)
    bound = _bound(penalty, live[:, 0], jnp.minimum(t + 2, length), length)
    done = search.done | (finished.scores[:, -1] >= bound)
    carry, states = take_beams((search.carry, search.states), parents)
    return _Search(carry, states, last, tokens, live, finished, done)


def _candidates(log_probs: jax.Array, logits: jax.Array):
    """The best 2 K extensions (fewer if there are fewer): parents, tokens, log_probs, each [B, C].

    Each hypothesis offers its own best first, so nothing of the vocabulary's size is added to,
    written or sorted over K, and near-equal logits keep their order when a sum rounds them equal.
    """
    batch, size, vocab = logits.shape
    offers = min(2 * size, vocab)
    best, tokens = lax.top_k(logits, offers)  # [B, K, M]
    top = best[..., :1]
    normaliser = jnp.log(jnp.sum(jnp.exp(logits - top), axis=-1, keepdims=True))  # >= 0
    totals = log_probs[..., None] + (best - top - normaliser)
    # Whatever a place without a hypothesis computes, NaN included, stays out.
    totals = jnp.where(log_probs[..., None] == -jnp.inf, -jnp.inf, totals)
    count = min(2 * size, size * offers)
    totals, order = lax.top_k(totals.reshape(batch, -1), count)  # [B, C]
    return lax.div(order, jnp.int32(offers)), pick(tokens.reshape(batch, -1), order), totals


def _scores(penalty: LengthPenalty, log_probs: jax.Array, lengths: jax.Array) -> jax.Array:
    """Penalised log-probabilities; -inf (nothing there) stays -inf under any penalty."""
    scores = jnp.asarray(penalty(log_probs, lengths))
    require(
        scores.shape == log_probs.shape,
        f"length_penalty returned shape {scores.shape} for log_probs and lengths of shape "
        f"{log_probs.shape}; expected the same shape, elementwise.",
    )
    return jnp.where(log_probs == -jnp.inf, -jnp.inf, scores.astype(log_probs.dtype))


def _bound(penalty: LengthPenalty, best: jax.Array, shortest, longest: int) -> jax.Array:
    """No continuation of a hypothesis with log-probability best [B] can score more than this [B].

    Log-probabilities only fall, so `best` itself at each length still open bounds them all.
    """
    lengths = jnp.arange(1, longest + 1, dtype=jnp.int32)  # [L]
    shape = (best.shape[0], longest)
    scores = _scores(
        penalty, jnp.broadcast_to(best[:, None], shape), jnp.broadcast_to(lengths, shape)
    )
    return jnp.max(jnp.where(lengths >= shortest, scores, -jnp.inf), axis=1)


def _merge(finished: Beams, others: Beams, parents: jax.Array) -> Beams:
    """The K best of `finished` and of `others`, whose tokens are those of others.tokens[parents].

    Ties go to `finished`. others has scores, log_probs and lengths [B, C]; tokens [B, K, L].
    """
    size = finished.scores.shape[1]
    both = lambda a, b: jnp.concatenate([a, b], axis=1)
    scores, order = lax.top_k(both(finished.scores, others.scores), size)
    own = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), finished.scores.shape)
    source = pick(both(own, size + parents), order)  # [B, K], into the 2 K rows of tokens
    return Beams(
        pick(both(finished.tokens, others.tokens), source),
        scores,
        pick(both(finished.log_probs, others.log_probs), order),
        pick(both(finished.lengths, others.lengths), order),
    )


def _result(search: _Search, eos: int, penalty: LengthPenalty) -> Beams:
    """Merges what is unfinished at max_len, and blanks the places without a hypothesis."""
    batch, size, length = search.tokens.shape
    lengths = jnp.full((batch, size), length, jnp.int32)
    scores = _scores(penalty, search.log_probs, lengths)
    # A row that stopped early holds live prefixes, not hypotheses: they are left out.
    scores = jnp.where(search.done[:, None], -jnp.inf, scores)
    live = Beams(search.tokens, scores, search.log_probs, lengths)
    parents = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), (batch, size))
    beams = _merge(search.finished, live, parents)
    nothing = beams.scores == -jnp.inf
    return Beams(
        jnp.where(nothing[..., None], eos, beams.tokens),
        beams.scores,
        jnp.where(nothing, -jnp.inf, beams.log_probs),
        jnp.where(nothing, 0, beams.lengths),
    )
