"""Choosing one of several samples a row."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal.checks import require
from seqjax.decoding.engine.carries import take_rows
from seqjax.decoding.sampling.drawing import Samples


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
    shape = jnp.shape(samples.log_probs)
    require(
        len(shape) == 2,
        f"samples has log_probs of shape {shape}; expected [B, n]. Draw with num_samples=n.",
    )
    scores = jnp.asarray(samples.log_probs if scores is None else scores)
    require(
        scores.shape == shape,
        f"scores has shape {scores.shape} but samples has [B, n] = {shape}; expected a score each.",
    )
    if jnp.issubdtype(scores.dtype, jnp.floating):
        scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    best = jnp.argmax(scores, axis=1)  # [B]
    return jax.tree.map(lambda x: jax.vmap(take_rows)(x, best), samples)


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
    answers = jnp.asarray(samples.tokens if answers is None else answers)
    shape = jnp.shape(samples.log_probs)
    require(
        answers.shape[:2] == shape,
        f"answers has shape {answers.shape} but samples has [B, n] = {shape}; expected an answer "
        "each, [B, n, ...].",
    )
    answers = answers.reshape(*shape, -1)
    agree = jnp.all(answers[:, :, None] == answers[:, None], axis=3)  # [B, n, n]
    return best_of(samples, jnp.sum(agree, axis=2))
