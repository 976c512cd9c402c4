"""Choosing among finished sequences: the best, the most common, those that an automaton accepts."""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from seqjax._internal.checks import require
from seqjax._internal.ranks import own_ranks
from seqjax.core.steps import zero_rows
from seqjax.decoding.automata.automaton import Automaton
from seqjax.decoding.beam.beam import Beams
from seqjax.decoding.engine.rows import pick, take_rows
from seqjax.decoding.processors.constraints import check_ends
from seqjax.decoding.sampling.drawing import Samples

Results = TypeVar("Results", Beams, Samples)


@own_ranks
def best_of(samples: Samples, scores: Any = None) -> Samples:
    """The best of the n samples of each row: best-of-n.

        argmaxᵢ scores[b, i]

    Args:
      samples: from `sample(..., num_samples=n)`, fields [B, n, ...].
      scores: [B, n] numbers, higher is better, as of a verifier or a reward model; None takes
        log_probs. Of equal ones the first wins; NaN loses to everything.

    Returns:
      Samples with fields [B, ...].

    Raises:
      ValueError: for samples without the axis n, or scores that are not [B, n].

    Example:
      >>> tokens = jnp.array([[[4, 1], [3, 1], [2, 1]]])
      >>> log_probs = jnp.array([[-3.0, -1.0, -2.0]])
      >>> samples = Samples(tokens, log_probs, jnp.full((1, 3), 2), log_probs)
      >>> best_of(samples).tokens.tolist(), best_of(samples, jnp.array([[0, 0, 5]])).tokens.tolist()
      ([[3, 1]], [[2, 1]])
    """
    shape = _samples_shape(samples)
    scores = jnp.asarray(samples.log_probs if scores is None else scores)
    require(
        scores.shape == shape,
        f"scores has shape {scores.shape} but samples has [B, n] = {shape}; expected a score each.",
    )
    if jnp.issubdtype(scores.dtype, jnp.floating):
        scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    best = jnp.argmax(scores, axis=1)  # [B]
    return jax.tree.map(lambda x: jax.vmap(take_rows)(x, best), samples)


@own_ranks
def majority(samples: Samples, answers: Any = None) -> Samples:
    """The first sample of each row that gives the most frequent answer: self-consistency.

        argmaxᵢ Σⱼ [answers[b, i] = answers[b, j]]

    Args:
      samples: from `sample(..., num_samples=n)`, fields [B, n, ...].
      answers: [B, n, ...] integers, what each sample comes down to (an answer read off the end, a
        class); samples with equal ones agree. None compares whole sequences.

    Returns:
      Samples with fields [B, ...]; of equally frequent answers the one that came first.

    Raises:
      ValueError: for samples without the axis n, or answers that do not lead with [B, n].

    Example:
      >>> tokens = jnp.array([[[4, 1], [3, 1], [5, 1]]])
      >>> log_probs = jnp.zeros((1, 3))
      >>> samples = Samples(tokens, log_probs, jnp.full((1, 3), 2), log_probs)
      >>> majority(samples, tokens[:, :, 0] > 3).tokens.tolist()
      [[4, 1]]

    References:
      Wang et al., Self-Consistency Improves Chain of Thought Reasoning in Language Models, 2023.
    """
    shape = _samples_shape(samples)
    answers = jnp.asarray(samples.tokens if answers is None else answers)
    require(
        answers.shape[:2] == shape,
        f"answers has shape {answers.shape} but samples has [B, n] = {shape}; expected an answer "
        "each, [B, n, ...].",
    )
    answers = answers.reshape(*shape, -1)
    agree = jnp.all(answers[:, :, None] == answers[:, None], axis=3)  # [B, n, n]
    return best_of(samples, jnp.sum(agree, axis=2))


def _samples_shape(samples: Samples) -> tuple[int, ...]:
    """[B, n] of samples that have n a row."""
    shape = jnp.shape(samples.log_probs)
    require(
        len(shape) == 2,
        f"samples has log_probs of shape {shape}; expected [B, n]. Draw with num_samples=n.",
    )
    return shape


@own_ranks
def keep_accepted(
    results: Results, automaton: Automaton, *, eos: int | Sequence[int], start: Any = 0
) -> Results:
    """Blanks the sequences that an automaton does not accept, so that an impossible one shows.

    Args:
      results: `Beams` or `Samples`: tokens [B, ..., L], log_probs and lengths [B, ...].
      automaton: what the sequences, without their eos, were to be accepted by.
      eos: the token that ends a sequence, or a tuple of them.
      start: the state each row started in, an integer or [B].

    Returns:
      The results, in which what is not accepted has log_probs (and scores) -inf, length 0 and
      tokens that are all eos; of a beam those come last, and the others keep their order.

    Raises:
      ValueError: if the automaton has transitions by eos.

    Example:
      >>> log_probs = jnp.array([[-1.0, -2.0]])
      >>> tokens = jnp.array([[[1, 0, 0], [1, 1, 0]]])
      >>> beams = Beams(tokens, log_probs, log_probs, jnp.array([[2, 3]]))
      >>> even = Automaton([[-1, 1], [-1, 0]], [True, False])
      >>> keep_accepted(beams, even, eos=0).log_probs.tolist()
      [[-2.0, -inf]]
    """
    ends = check_ends(automaton, eos)
    tokens = jnp.asarray(results.tokens).astype(jnp.int32)
    lengths = jnp.asarray(results.lengths)
    start = jnp.asarray(start, jnp.int32)
    start = start.reshape(start.shape + (1,) * (lengths.ndim - start.ndim if start.ndim else 0))
    last = jnp.take_along_axis(tokens, jnp.maximum(lengths - 1, 0)[..., None], axis=-1)[..., 0]
    ended = (lengths > 0) & jnp.isin(last, jnp.array(ends, jnp.int32))
    states = automaton.read(tokens, jnp.where(ended, lengths - 1, lengths), start)
    accepting = jnp.append(jnp.asarray(automaton.accepting), False)  # the last is that of -1
    refused = ~accepting[states] | (results.log_probs == -jnp.inf)
    blank = {
        "tokens": jnp.where(refused[..., None], ends[0], tokens),
        "log_probs": jnp.where(refused, -jnp.inf, results.log_probs),
        "lengths": jnp.where(refused, 0, lengths),
    }
    if not isinstance(results, Beams):
        return results._replace(**blank)
    scores = jnp.where(refused, -jnp.inf, results.scores)
    order = jnp.argsort(refused, axis=1, stable=True)
    kept = results._replace(scores=scores, outputs=(), **blank)
    outputs = zero_rows(~refused, results.outputs)
    return jax.tree.map(lambda leaf: pick(leaf, order), kept._replace(outputs=outputs))
