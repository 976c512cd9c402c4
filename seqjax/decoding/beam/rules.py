"""The rules of a beam search, which its caller writes down as one spec."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax

from seqjax._internal.checks import is_number, one_of, positive_int, require
from seqjax.decoding.beam.penalties import Coverage

EXITS = ("exact", "first", "never")


@final
@dataclass(frozen=True)
class BeamRules:
    """What a `beam_search` allows, how it ranks and when it stops.

    Attributes:
      min_len: the smallest number of tokens, eos counted. Shorter hypotheses are left out;
        log_probs stay the model's.
      prefix: [B, P] integers, padded on the right, P <= L, with which every hypothesis must begin:
        part of tokens, lengths, log_probs (under the model) and scores; an eos in it ends it. What
        is impossible (a token of probability 0, an eos before min_len) leaves the row nothing.
      prefix_lengths: [B], 0..P; None means all P.
      coverage_penalty: function of the summed attention [B, K, S] -> [B, K], at most 0.
      alignments: function outputs -> attention weights [N, S]; None takes outputs themselves.
      normalise: False adds up the (processed) logits as they are, at most 0 for an exact exit:
        log-linear scores such as those of shallow fusion. Where nothing is left, eos costs what
        the step says, and a row that the step gives nothing but -inf falls out.
      early_exit: when a row stops. "exact": once the worst of K finished scores is at least what
        the best live log-probability could score at any length still open, which loses nothing,
        whatever the penalty's sign. "first": once round(K patience) hypotheses have finished, the
        first that come. "never": when none is left alive, or at max_len.
      patience: with "first", 1 stops at K; more searches on, fewer places are filled with less.
      groups: G, a divisor of K, groups of k = K / G hypotheses that search one after another at
        each step, each with its own finished ones. They are returned together, ordered by score;
        two groups may find the same hypothesis.
      diversity: >= 0: what a token loses in rank for each live hypothesis of an earlier group
        that takes it at the same step (Hamming). log_probs and scores are without it.

    Raises:
      ValueError: for a setting out of range, or one that means nothing without another.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decoding import beam_search
      >>> step = lambda carry, tokens: (carry, jnp.log(jnp.array([[0.1, 0.3, 0.6]])))
      >>> how = dict(bos=jnp.array([0]), eos=2, beam_size=1, max_len=3)
      >>> beam_search(step, (), rules=BeamRules(min_len=2), **how).tokens.tolist()
      [[[1, 2, 2]]]

    References:
      Graves, Sequence Transduction with Recurrent Neural Networks, 2012, section 2.5. Kasai et
      al., A Call for Clarity in Beam Search: How It Works and When It Stops, 2022, for "first" and
      patience. Vijayakumar et al., Diverse Beam Search: Decoding Diverse Solutions from Neural
      Sequence Models, 2016, for groups.
    """

    min_len: int = 1
    prefix: Any = None
    prefix_lengths: Any = None
    coverage_penalty: Coverage | None = None
    alignments: Callable[[Any], jax.Array] | None = None
    normalise: bool = True
    early_exit: str = "exact"
    patience: float = 1.0
    groups: int = 1
    diversity: Any = 0.0

    def __post_init__(self):
        object.__setattr__(self, "min_len", positive_int("min_len", self.min_len))
        require(
            self.prefix is not None or self.prefix_lengths is None,
            "prefix_lengths was given without a prefix; expected both. Pass prefix [B, P].",
        )
        require(
            self.coverage_penalty is not None or self.alignments is None,
            "alignments was given without a coverage_penalty; expected both.",
        )
        one_of("early_exit", self.early_exit, EXITS)
        require(
            is_number(self.patience) and 0 < self.patience < math.inf,
            f"patience is {self.patience!r}; expected a number with patience > 0.",
        )
        require(
            self.patience == 1 or self.early_exit == "first",
            f"patience is {self.patience!r} with early_exit={self.early_exit!r}; expected 1, as "
            'no other exit counts finished hypotheses. Pass early_exit="first".',
        )
        object.__setattr__(self, "groups", positive_int("groups", self.groups))
        self._check_diversity()

    def _check_diversity(self) -> None:
        if isinstance(self.diversity, jax.Array):
            require(
                self.diversity.shape == (),
                f"diversity has shape {self.diversity.shape}; expected a single number.",
            )
            return
        require(
            is_number(self.diversity) and 0 <= self.diversity < math.inf,
            f"diversity is {self.diversity!r}; expected a number with diversity >= 0.",
        )
        require(
            self.diversity == 0 or self.groups > 1,
            f"diversity is {self.diversity!r} with one group; expected 0. Pass groups=, a divisor "
            "of beam_size.",
        )

    def check_sizes(self, beam_size: int, max_len: int) -> None:
        """Whether the rules fit K and L."""
        require(
            self.min_len <= max_len,
            f"min_len is {self.min_len}; expected 1 <= min_len <= max_len = {max_len}.",
        )
        require(
            beam_size % self.groups == 0,
            f"groups is {self.groups}; expected a divisor of beam_size = {beam_size}.",
        )


BEAM_SEARCH = BeamRules()  # the plain one
