"""Beam search over a step function."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.checks import positive_int, require
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry, Logits
from seqjax.core.lengths import within
from seqjax.core.steps import zero_rows
from seqjax.decoding.beam.hypotheses import Hypotheses, merge
from seqjax.decoding.beam.penalties import LengthPenalty
from seqjax.decoding.beam.rules import BEAM_SEARCH, BeamRules
from seqjax.decoding.beam.search import Search, first, grow
from seqjax.decoding.beam.task import Task, make_task
from seqjax.decoding.engine.logits import Processor, adapt, as_logits, process, process_scores
from seqjax.decoding.engine.rows import pick
from seqjax.decoding.engine.start import Step, check_rows, start


class Beams(NamedTuple):
    """The K best hypotheses of each row, best first.

    Fields:
      tokens: [B, K, L] int32, without bos and prompt; the eos that ends a hypothesis repeats.
      scores: [B, K] floats, length_penalty(log_probs, lengths) and the coverage penalty added.
      log_probs: [B, K] floats, in nats.
      lengths: [B, K] int32, in tokens, eos counted.
      outputs: what the step returned beside the logits, along the way to each hypothesis: a
        pytree of [B, K, L, ...], zero beyond the length; () for a step that returns no more.
    """

    tokens: jax.Array
    scores: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    outputs: Any = ()


@own_ranks
def beam_search(
    step: Step,
    carry: Carry,
    *,
    bos: Any,
    eos: int | Sequence[int],
    beam_size: int,
    max_len: int,
    length_penalty: LengthPenalty | None = None,
    processors: Sequence[Processor] = (),
    prompt: Any = None,
    prompt_lengths: Any = None,
    rules: BeamRules = BEAM_SEARCH,
) -> Beams:
    """Searches for the K most probable sequences of each row, until nothing can improve.

        score(y) = length_penalty(Σₜ log p(yₜ | y<ₜ), |y|)

    Each step extends K live hypotheses to their 2 K best candidates by log-probability. Of the
    first K, those that end in eos compete by score for the K finished places; of all 2 K, the best
    K others live on (at most K end, so K are left; with E ending tokens, (1 + E) K candidates).
    Live hypotheses that reach max_len compete too, with their own scores. Equal candidates go to
    the better parent, then to the lowest id; equal scores to the one that finished first. With
    beam_size = 1 and no penalty this is greedy decoding. Every call traces the step; wrap it in
    `jax.jit` to compile once. Each row stops by itself, by default as soon as no live hypothesis
    can change its result. `BeamRules` has what else a search may be told: least lengths, forced
    prefixes, coverage, shallow fusion, other exits, diverse groups.

    A search chooses, so it has no gradient, and a loop of unknown length cannot be differentiated
    backwards: `jax.grad` through it raises JAX's error about while_loop. Score the tokens that it
    found by a run of the model over them instead.

    Args:
      step: step(carry, tokens [N]) -> (carry, logits [N, V]), or (carry, logits, outputs) with a
        pytree of [N, ...] to be returned along the winning paths (attention weights, states).
        Row-wise, for N = B (the prompt) and for N = B K, row b's hypotheses side by side: a query
        [N, H] meets memory [B, S, H] after query.reshape(B, -1, H). Logits that are all -inf
        allow eos alone.
      carry: any pytree whose leaves lead with the batch axis B (integers and typed keys
        included). It is repeated and gathered here.
      bos: the first token to read, an integer or [B]; [B] is needed where the carry has no leaf.
      eos: the token that ends a sequence, 0 <= eos < V, or a tuple of several.
      beam_size: K.
      max_len: L, the largest number of tokens, eos counted.
      length_penalty: elementwise function (log_probs, lengths) -> scores, also called with [B, L]
        to find the stopping bound; at a fixed length it must not fall as log_probs rises. None
        ranks by log_probs. Lengths are integers that count eos and leave the prompt out.
      processors: functions (logits [N, V], tokens [N, L], length) -> logits [N, V], or objects
        with a state (`StatefulProcessor`), applied in order to the model's unnormalised logits
        (float32 or wider). tokens are the hypothesis, of which the first `length` (a scalar)
        count and the rest is eos; the prompt is left out. log_probs are those of the processed,
        renormalised logits.
      prompt: [B, P] integers, padded on the right, read after bos, no part of a hypothesis. An
        eos in it is an ordinary token.
      prompt_lengths: [B], 0..P; None means all P.
      rules: `BeamRules`.

    Returns:
      Beams: tokens [B, K, L] int32, scores [B, K], log_probs [B, K], lengths [B, K] int32, in
      float32 (float64 for float64 logits), outputs [B, K, L, ...]. Where a row has fewer than K
      sequences of positive probability (as when K > Vᴸ), the last places have scores and
      log_probs -inf, length 0 and tokens that are all eos.

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
    beam_size, length = positive_int("beam_size", beam_size), positive_int("max_len", max_len)
    require(isinstance(rules, BeamRules), f"rules is {rules!r}; expected a BeamRules.")
    rules.check_sizes(beam_size, length)
    chain = adapt("processors", processors)
    begin = start(step, carry, bos, eos, prompt, prompt_lengths, outputs=True)
    task = make_task(begin, chain, rules, length_penalty, beam_size, length)

    def body(loop):
        t, search, finished = loop
        last = search.last.reshape(-1)
        carry, logits, *outputs = step(search.carry, last)
        check_rows(logits, last)
        logits = _processed(task, search, t, logits.astype(begin.dtype))
        outputs = outputs[0] if outputs else ()
        return t + 1, *grow(task, search, finished, t, carry, logits, outputs)

    running = lambda loop: (loop[0] < length) & ~jnp.all(loop[1].done)
    _, search, finished = lax.while_loop(running, body, (jnp.int32(0), *first(task)))
    return _result(task, search, finished)


def _processed(task: Task, search: Search, t: jax.Array, logits: Logits) -> Logits:
    """What the processors make of logits [N, V]."""
    if not task.processors:
        return logits
    eos, past = task.begin.eos, search.tokens.reshape(-1, task.length)
    if not task.rules.normalise:
        return process_scores(task.processors, search.states, logits, past, t, eos)
    logits = as_logits(logits, task.begin.dtype, eos)
    return process(task.processors, search.states, logits, past, t, eos)


def _result(task: Task, search: Search, finished: Hypotheses) -> Beams:
    """Merges what is unfinished at max_len, and blanks the places without a hypothesis."""
    (rows, size), groups = search.last.shape, task.rules.groups
    lengths = jnp.full((rows, size), task.length, jnp.int32)
    scores = task.scores(search.log_probs, lengths, task.covered(search.coverage))
    # The live prefixes of a row that stopped early are no hypotheses: they are left out.
    scores = jnp.where(search.done[:, None], -jnp.inf, scores)
    live = Hypotheses(search.tokens, search.places, scores, search.log_probs, lengths)
    parents = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), (rows, size))
    found = merge(finished, live, parents, search.last, task.length)
    together = lambda x: x.reshape(-1, groups * size, *x.shape[2:])
    found = jax.tree.map(together, found)  # [B, K], group by group
    if groups > 1:
        _, order = lax.top_k(found.scores, groups * size)
        found = jax.tree.map(lambda x: pick(x, order), found)
    none = found.scores == -jnp.inf
    lengths = jnp.where(none, 0, found.lengths)
    return Beams(
        jnp.where(none[..., None], task.begin.eos, found.tokens),
        found.scores,
        jnp.where(none, -jnp.inf, found.log_probs),
        lengths,
        _outputs(search.outputs, found.places, lengths),
    )


def _outputs(kept: Any, places: Any, lengths: jax.Array) -> Any:
    """What the step returned along the way to each hypothesis [B, K, L, ...], from [L, N, ...]."""
    if not jax.tree.leaves(kept):
        return ()
    steps = jnp.arange(places.shape[2], dtype=jnp.int32)
    along = jax.tree.map(lambda x: x[steps, places], kept)
    return zero_rows(within(lengths, places.shape[2]), along)
