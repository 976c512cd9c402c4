"""Beam search over a step function."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqjax._internal.checks import concrete, require
from seqjax.core.scan import zero_rows
from seqjax.decoding.beam.hypotheses import Hypotheses, merge
from seqjax.decoding.beam.penalties import Coverage, LengthPenalty
from seqjax.decoding.beam.rules import Rules, make_rules
from seqjax.decoding.beam.search import Search, advance, first, record
from seqjax.decoding.engine.carries import pick, repeat_rows
from seqjax.decoding.engine.logits import (
    Processor,
    adapt,
    as_logits,
    initial_states,
    process,
    update_states,
)
from seqjax.decoding.engine.start import Start, Step, check_given, check_rows, start


class Beams(NamedTuple):
    """The K best hypotheses of each row, best first.

    Fields:
      tokens: [B, K, L] int32, without bos and prompt; the eos that ends a hypothesis repeats.
      scores: [B, K] floats, length_penalty(log_probs, lengths) and the coverage penalty added.
      log_probs: [B, K] floats, in nats.
      lengths: [B, K] int32, in tokens, eos counted.
      outputs: what the step handed out beside the logits, along the way to each hypothesis: a
        pytree of [B, K, L, ...], zero beyond the length; () for a step that hands out nothing.
    """

    tokens: jax.Array
    scores: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    outputs: Any = ()


def beam_search(
    step: Step,
    carry: Any,
    *,
    bos: Any,
    eos: int | Sequence[int],
    beam_size: int,
    max_len: int,
    min_len: int = 1,
    length_penalty: LengthPenalty | None = None,
    coverage_penalty: Coverage | None = None,
    alignments: Callable[[Any], jax.Array] | None = None,
    processors: Sequence[Processor] = (),
    normalise: bool = True,
    prompt: Any = None,
    prompt_lengths: Any = None,
    prefix: Any = None,
    prefix_lengths: Any = None,
    early_exit: str = "exact",
    patience: float = 1.0,
    groups: int = 1,
    diversity: Any = 0.0,
) -> Beams:
    """Searches for the K most probable sequences of each row, until nothing can improve.

        score(y) = length_penalty(Σₜ log p(yₜ | y<ₜ), |y|) + coverage_penalty(Σₜ aₜ)

    Each step extends K live hypotheses to their 2 K best candidates by log-probability. Of the
    first K, those that end in eos compete by score for the K finished places; of all 2 K, the best
    K others live on (at most K end, so K are left; with E ending tokens, (1 + E) K candidates).
    Live hypotheses that reach max_len compete too, with their own scores. Equal candidates go to
    the better parent, then to the lowest id; equal scores to the one that finished first. With
    beam_size = 1 and no penalty this is greedy decoding. Every call traces the step; wrap it in
    `jax.jit` to compile once.

    Rows stop each by itself. "exact": once the worst of K finished scores is at least what the
    best live log-probability could score at any length still open, which loses nothing, whatever
    the penalty's sign. "first": once round(K patience) hypotheses have finished, the first that
    come. "never": when none is left alive, or at max_len.

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
      min_len: the smallest, eos counted. Shorter ones are left out; log_probs stay the model's.
      length_penalty: elementwise function (log_probs, lengths) -> scores, also called with [B, L]
        to find the stopping bound; at a fixed length it must not fall as log_probs rises. None
        ranks by log_probs. Lengths are integers that count eos and leave the prompt out.
      coverage_penalty: function of the summed attention [B, K, S] -> [B, K], at most 0.
      alignments: function outputs -> attention weights [N, S]; None takes outputs themselves.
      processors: functions (logits [N, V], tokens [N, L], length) -> logits [N, V], or objects
        with a state (`StatefulProcessor`), applied in order to the model's unnormalised logits
        (float32 or wider). tokens holds the hypothesis, of which the first `length` (a scalar)
        count and the rest is eos; the prompt is left out. log_probs are those of the processed,
        renormalised logits.
      normalise: False adds up the (processed) logits as they are, at most 0 for an exact exit:
        log-linear scores such as those of shallow fusion.
      prompt: [B, P] integers, padded on the right, read after bos, no part of a hypothesis. An
        eos in it is an ordinary token.
      prompt_lengths: [B], 0..P; None means all P.
      prefix: [B, P] integers, padded on the right, with which every hypothesis must begin: part
        of tokens, lengths, log_probs (under the model) and scores; an eos in it ends it. What is
        impossible (a token of probability 0, an eos before min_len) leaves the row nothing.
      prefix_lengths: [B], 0..P, P <= L; None means all P.
      early_exit: "exact", "first" or "never".
      patience: with "first", 1 stops at K; more searches on, fewer places are filled with less.
      groups: G, a divisor of K, groups of K / G hypotheses that search one after another at each
        step, each with its own finished ones. They are returned together, ordered by score; two
        groups may find the same hypothesis.
      diversity: >= 0: what a token loses in rank for each live hypothesis of an earlier group
        that takes it at the same step (Hamming). log_probs and scores are without it.

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
      Google's Neural Machine Translation System, 2016, section 7. Kasai et al., A Call for Clarity
      in Beam Search: How It Works and When It Stops, 2022, for "first" and patience. Vijayakumar
      et al., Diverse Beam Search: Decoding Diverse Solutions from Neural Sequence Models, 2016.
    """
    rules = make_rules(
        beam_size=beam_size,
        max_len=max_len,
        min_len=min_len,
        length_penalty=length_penalty,
        coverage_penalty=coverage_penalty,
        early_exit=early_exit,
        patience=patience,
        normalise=normalise,
        groups=groups,
        diversity=diversity,
    )
    chain = adapt("processors", processors)
    begin = start(step, carry, bos, eos, prompt, prompt_lengths, outputs=True)
    align, weights = _alignments(begin, coverage_penalty, alignments)
    forced_at = _forced(begin, prefix, prefix_lengths, rules)

    def body(loop):
        t, search = loop
        last = search.last.reshape(-1)
        carry, logits, *handed = step(search.riders.carry, last)
        check_rows(logits, last)
        logits = logits.astype(begin.dtype)
        if chain:
            states, tokens = search.riders.states, search.history.tokens
            logits = as_logits(logits, begin.dtype, begin.eos)
            tokens = tokens.reshape(-1, rules.length)
            logits = process(chain, states, logits, tokens, t, begin.eos)
        search = record(search, t, carry, handed, None if weights is None else align)
        search = advance(search, t, logits, begin.ends, forced_at(t), rules)
        riders = search.riders
        states = update_states(chain, riders.states, search.last.reshape(-1))
        return t + 1, search._replace(riders=riders._replace(states=states))

    running = lambda loop: (loop[0] < rules.length) & ~jnp.all(loop[1].done)
    states = initial_states(chain, begin.tokens.shape[0])
    loop = (jnp.int32(0), first(begin, states, weights, rules))
    return _result(lax.while_loop(running, body, loop)[1], begin.eos, rules)


def _alignments(begin: Start, penalty, alignments) -> tuple[Callable[[Any], jax.Array], Any]:
    """The function from a step's outputs to attention weights, and their shape or None."""
    align = alignments or (lambda outputs: outputs)
    require(
        penalty is not None or alignments is None,
        "alignments was given without a coverage_penalty; expected both.",
    )
    if penalty is None:
        return align, None
    weights = jax.eval_shape(align, begin.outputs)
    shape = getattr(weights, "shape", None)
    require(
        shape is not None and len(shape) == 2 and shape[0] == begin.tokens.shape[0],
        f"coverage_penalty needs attention weights [B, S], but the step's outputs give "
        f"{weights if shape is None else shape}; expected a step that returns (carry, logits, "
        "outputs), and alignments=, a function that finds the weights in its outputs.",
    )
    return align, weights


def _forced(begin: Start, prefix, lengths, rules: Rules) -> Callable[[jax.Array], Any]:
    """t -> the token [R] that each row must choose at step t, -1 where it is free."""
    if prefix is None:
        require(
            lengths is None,
            "prefix_lengths was given without a prefix; expected both. Pass prefix [B, P].",
        )
        return lambda t: None
    prefix, lengths = check_given("prefix", prefix, lengths, begin.tokens.shape[0])
    width = prefix.shape[1]
    require(
        width <= rules.length,
        f"prefix has shape {prefix.shape}, P = {width}; expected P <= max_len = {rules.length}, "
        "for it is part of every hypothesis.",
    )
    real = jnp.arange(width, dtype=jnp.int32) < lengths[:, None]
    inside = (prefix >= 0) & (prefix < begin.vocab_size)
    known = concrete(inside | ~real)
    require(
        known is None or bool(np.all(known)),
        f"prefix is {prefix}; expected tokens 0..{begin.vocab_size - 1} up to prefix_lengths.",
    )
    # Of no vocabulary where only the device can tell: V, which nothing may choose.
    tokens = jnp.where(real, jnp.where(inside, prefix, begin.vocab_size), -1)
    tokens = jnp.pad(tokens, ((0, 0), (0, rules.length - width)), constant_values=-1)  # [B, L]
    tokens = repeat_rows(tokens, rules.groups)
    return lambda t: tokens[:, t]


def _result(search: Search, eos: int, rules: Rules) -> Beams:
    """Merges what is unfinished at max_len, and blanks the places without a hypothesis."""
    rows, size = search.last.shape
    lengths = jnp.full((rows, size), rules.length, jnp.int32)
    scores = rules.scores(search.log_probs, lengths, rules.covered(search.riders.coverage))
    # A row that stopped early holds live prefixes, not hypotheses: they are left out.
    scores = jnp.where(search.done[:, None], -jnp.inf, scores)
    live = Hypotheses(search.history, scores, search.log_probs, lengths)
    parents = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), (rows, size))
    found = merge(search.finished, live, parents, search.last, rules.length)
    together = lambda x: x.reshape(-1, rules.groups * size, *x.shape[2:])
    found = jax.tree.map(together, found)  # [B, K], group by group
    if rules.groups > 1:
        _, order = lax.top_k(found.scores, rules.groups * size)
        found = jax.tree.map(lambda x: pick(x, order), found)
    none = found.scores == -jnp.inf
    lengths = jnp.where(none, 0, found.lengths)
    return Beams(
        jnp.where(none[..., None], eos, found.history.tokens),
        found.scores,
        jnp.where(none, -jnp.inf, found.log_probs),
        lengths,
        _outputs(search.outputs, found.history.places, lengths),
    )


def _outputs(kept: Any, places: Any, lengths: jax.Array) -> Any:
    """What was handed out along each hypothesis's way [B, K, L, ...], from leaves [L, N, ...]."""
    if not jax.tree.leaves(kept):
        return ()
    steps = jnp.arange(places.shape[2], dtype=jnp.int32)
    along = jax.tree.map(lambda x: x[steps, places], kept)
    return zero_rows(steps < lengths[..., None], along)
