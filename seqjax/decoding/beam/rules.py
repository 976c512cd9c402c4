"""The settings of a beam search, checked, and what they say about ending and stopping."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal.checks import is_number, is_positive_int, one_of, positive_int, require
from seqjax.decoding.beam.penalties import (
    Coverage,
    LengthPenalty,
    best_to_come,
    coverage_scores,
    length_scores,
)

EXITS = ("exact", "first", "never")


class Rules(NamedTuple):
    """What a search needs to know at each step."""

    size: int  # of a group
    groups: int
    diversity: Any
    length: int  # max_len
    min_len: int
    length_penalty: LengthPenalty | None
    coverage_penalty: Coverage | None
    early_exit: str
    wanted: int  # finished hypotheses of a group at which early_exit "first" stops
    normalise: bool

    def scores(self, log_probs: jax.Array, lengths: jax.Array, coverage: Any) -> jax.Array:
        """Scores [R, C], given the coverage penalty [R, C] or None."""
        scores = length_scores(self.length_penalty, log_probs, lengths)
        return scores if coverage is None else scores + coverage

    def covered(self, coverage: Any) -> jax.Array | None:
        """The coverage penalty of each live hypothesis [R, K], for coverage [N, S]."""
        if self.coverage_penalty is None:
            return None
        by_row = coverage.reshape(-1, self.groups * self.size, coverage.shape[-1])
        return coverage_scores(self.coverage_penalty, by_row).reshape(-1, self.size)

    def stops(self, best: jax.Array, worst: jax.Array, count: jax.Array, t) -> jax.Array:
        """Whether a row is done after step t; each argument [R].

        Args:
          best: the highest log-probability of a live hypothesis, -inf without one.
          worst: the lowest score of the K finished, -inf while there are fewer.
          count: how many have finished so far.
          t: the step's number, from 0.
        """
        if self.early_exit == "never":
            return best == -jnp.inf
        if self.early_exit == "first":
            return (count >= self.wanted) | (best == -jnp.inf)
        # min_len does not matter here: as long as it forbids an end, worst is -inf.
        shortest = jnp.minimum(t + 2, self.length)
        return worst >= best_to_come(self.length_penalty, best, shortest, self.length)


def make_rules(
    *, beam_size, max_len, min_len, early_exit, patience, groups, diversity, **others
) -> Rules:
    """Checks what can be checked without the step."""
    beam_size = positive_int("beam_size", beam_size)
    max_len = positive_int("max_len", max_len)
    require(
        is_positive_int(min_len) and min_len <= max_len,
        f"min_len is {min_len!r}; expected an integer with 1 <= min_len <= max_len = {max_len}.",
    )
    one_of("early_exit", early_exit, EXITS)
    require(
        is_number(patience) and 0 < patience < math.inf,
        f"patience is {patience!r}; expected a number with patience > 0.",
    )
    require(
        patience == 1 or early_exit == "first",
        f"patience is {patience!r} with early_exit={early_exit!r}; expected 1, as nobody counts "
        'finished hypotheses. Pass early_exit="first".',
    )
    require(
        is_positive_int(groups) and beam_size % groups == 0,
        f"groups is {groups!r}; expected an integer of at least 1 that divides beam_size = "
        f"{beam_size}.",
    )
    _check_diversity(diversity, groups)
    size = beam_size // int(groups)
    wanted = max(1, math.floor(size * patience + 0.5))
    return Rules(
        size=size,
        groups=int(groups),
        diversity=diversity,
        length=max_len,
        min_len=int(min_len),
        early_exit=early_exit,
        wanted=wanted,
        **others,
    )


def _check_diversity(diversity: Any, groups: int) -> None:
    if isinstance(diversity, jax.Array):
        require(
            diversity.shape == (),
            f"diversity has shape {diversity.shape}; expected a single number.",
        )
        return
    require(
        is_number(diversity) and 0 <= diversity < math.inf,
        f"diversity is {diversity!r}; expected a number with diversity >= 0.",
    )
    require(
        diversity == 0 or groups > 1,
        f"diversity is {diversity!r} with one group; expected 0. Pass groups=, a divisor of "
        "beam_size.",
    )
