"""What stays the same over a beam search: its arguments, checked, and how they rank and stop."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import concrete, require
from seqjax.core.lengths import within
from seqjax.decoding.beam.penalties import (
    LengthPenalty,
    best_to_come,
    coverage_scores,
    length_scores,
)
from seqjax.decoding.beam.rules import BeamRules
from seqjax.decoding.engine.logits import Adapted
from seqjax.decoding.engine.rows import repeat_rows
from seqjax.decoding.engine.start import Start, check_given


class Task(NamedTuple):
    """A search for K = G k hypotheses of at most L tokens in each of B rows.

    Its arrays have R = B G rows of k hypotheses, N = B K hypotheses in all.
    """

    begin: Start
    processors: tuple[Adapted, ...]
    rules: BeamRules
    length_penalty: LengthPenalty | None
    size: int  # k
    length: int  # L
    align: Callable[[Any], jax.Array] | None  # outputs -> weights [N, S]; None without coverage
    width: int  # S
    forced: jax.Array | None  # [R, L]: the only token allowed, -1 where any is

    def scores(self, log_probs: jax.Array, lengths: jax.Array, covered: Any) -> jax.Array:
        """Scores [R, C], given the coverage penalty [R, C] or None."""
        scores = length_scores(self.length_penalty, log_probs, lengths)
        return scores if covered is None else scores + covered

    def covered(self, coverage: Any) -> jax.Array | None:
        """The coverage penalty of each live hypothesis [R, k], for coverage [N, S]."""
        penalty = self.rules.coverage_penalty
        if penalty is None:
            return None
        by_row = coverage.reshape(-1, self.rules.groups * self.size, self.width)  # [B, K, S]
        return coverage_scores(penalty, by_row).reshape(-1, self.size)

    def stops(self, best: jax.Array, worst: jax.Array, count: jax.Array, t) -> jax.Array:
        """Whether a row is done after step t; each argument [R].

        Args:
          best: the highest log-probability of a live hypothesis, -inf without one.
          worst: the lowest score of the k finished, -inf while there are fewer.
          count: how many have finished so far.
          t: the step's number, from 0.
        """
        if self.rules.early_exit == "never":
            return best == -jnp.inf
        if self.rules.early_exit == "first":
            wanted = max(1, math.floor(self.size * self.rules.patience + 0.5))
            return (count >= wanted) | (best == -jnp.inf)
        # min_len does not matter here: as long as it forbids an end, worst is -inf.
        shortest = jnp.minimum(t + 2, self.length)
        return worst >= best_to_come(self.length_penalty, best, shortest, self.length)


def make_task(
    begin: Start,
    processors: tuple[Adapted, ...],
    rules: BeamRules,
    length_penalty: LengthPenalty | None,
    beam_size: int,
    length: int,
) -> Task:
    """The task of a search that starts at `begin`."""
    align, width = _alignments(begin, rules)
    size, forced = beam_size // rules.groups, _forced(begin, rules, length)
    return Task(begin, processors, rules, length_penalty, size, length, align, width, forced)


def _alignments(begin: Start, rules: BeamRules) -> tuple[Callable[[Any], jax.Array] | None, int]:
    """The function from a step's outputs to attention weights [N, S], and S."""
    if rules.coverage_penalty is None:
        return None, 0
    align = rules.alignments or (lambda outputs: outputs)
    weights = jax.eval_shape(align, begin.outputs)
    shape = getattr(weights, "shape", None)
    require(
        shape is not None and len(shape) == 2 and shape[0] == begin.tokens.shape[0],
        f"coverage_penalty needs attention weights [B, S], but the step's outputs give "
        f"{weights if shape is None else shape}; expected a step that returns (carry, logits, "
        "outputs), and alignments=, a function that finds the weights in its outputs.",
    )
    return align, weights.shape[1]


def _forced(begin: Start, rules: BeamRules, length: int) -> jax.Array | None:
    if rules.prefix is None:
        return None
    batch = begin.tokens.shape[0]
    prefix, lengths = check_given("prefix", rules.prefix, rules.prefix_lengths, batch)
    width = prefix.shape[1]
    require(
        width <= length,
        f"prefix has shape {prefix.shape}, P = {width}; expected P <= max_len = {length}, for it "
        "is part of every hypothesis.",
    )
    real = within(lengths, width)
    inside = (prefix >= 0) & (prefix < begin.vocab_size)
    known = concrete(inside | ~real)
    require(
        known is None or bool(np.all(known)),
        f"prefix is {prefix}; expected tokens 0..{begin.vocab_size - 1} up to prefix_lengths.",
    )
    # A token outside the vocabulary, where only the device can tell, becomes V: nothing is V.
    tokens = jnp.where(real, jnp.where(inside, prefix, begin.vocab_size), -1)
    tokens = jnp.pad(tokens, ((0, 0), (0, length - width)), constant_values=-1)  # [B, L]
    return repeat_rows(tokens, rules.groups)
