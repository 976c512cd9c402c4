"""Processors that hasten the end of a sequence.

processor(logits [N, V], tokens [N, L], length) -> logits [N, V]
"""

from dataclasses import dataclass
from typing import Any, final

import jax.numpy as jnp

from seqjax._internal.checks import is_number, is_positive_int, positive_int, require
from seqjax._internal.types import Logits, Tokens
from seqjax.decoding.engine.candidates import is_end
from seqjax.decoding.engine.logits import column
from seqjax.decoding.processors.given_tokens import as_ends, check_vocab


@final
@dataclass(frozen=True)
class ForcedEnd:
    """Leaves only eos for the last token, so that no sequence is cut off at max_len.

        x'(v) = -∞  for v that ends nothing, when max_len - 1 tokens are drawn

    Attributes:
      max_len: as given to the decoder.
      eos: as given to the decoder, an integer or a tuple of several. Logits are [N, V].

    Raises:
      ValueError: if max_len is not an integer of at least 1 or eos no integers >= 0; when called,
        if eos is not below V.

    Example:
      >>> end = ForcedEnd(2, eos=0)
      >>> [end(jnp.zeros((1, 3)), jnp.array([[1, 1]]), n).tolist() for n in (0, 1)]
      [[[0.0, 0.0, 0.0]], [[0.0, -inf, -inf]]]
    """

    max_len: int
    eos: int | tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "max_len", positive_int("max_len", self.max_len))
        object.__setattr__(self, "eos", as_ends(self.eos))

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V], -inf but for eos where one more of tokens [N, L] is left."""
        ends = self.eos if isinstance(self.eos, tuple) else (self.eos,)
        check_vocab("eos", ends, logits)
        ids = jnp.arange(logits.shape[1], dtype=jnp.int32)
        refused = (column(length) == self.max_len - 1) & ~is_end(ids, ends)
        return jnp.where(refused, -jnp.inf, logits)


@final
@dataclass(frozen=True)
class ExponentialLengthDecay:
    """Raises the logit of eos more and more after a number of tokens.

        x'(eos) = x(eos) + |x(eos)| (factor^(n - start) - 1)    when n > start tokens are drawn

    It depends on the logits' zero, as `RepetitionPenalty` does.

    Attributes:
      start: an integer of at least 0, the prompt left out.
      factor: at least 1, which changes nothing.
      eos: as given to the decoder, an integer or a tuple of several. Logits are [N, V].

    Raises:
      ValueError: if a setting is out of range; when called, if eos is not below V.

    Example:
      >>> end = ExponentialLengthDecay(1, 2.0, eos=0)
      >>> [end(-jnp.ones((1, 2)), jnp.ones((1, 4), int), n).tolist() for n in (1, 2, 3)]
      [[[-1.0, -1.0]], [[0.0, -1.0]], [[2.0, -1.0]]]
    """

    start: int
    factor: float
    eos: int | tuple[int, ...]

    def __post_init__(self):
        require(
            is_positive_int(self.start) or self.start == 0,
            f"start is {self.start!r}; expected an integer of at least 0.",
        )
        require(
            is_number(self.factor) and 1 <= self.factor < float("inf"),
            f"factor is {self.factor!r}; expected a number of at least 1.",
        )
        object.__setattr__(self, "eos", as_ends(self.eos))

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V], those of eos raised after `length` of tokens [N, L]."""
        ends = self.eos if isinstance(self.eos, tuple) else (self.eos,)
        check_vocab("eos", ends, logits)
        over = jnp.maximum(column(length) - self.start, 0).astype(logits.dtype)
        raised = logits + jnp.abs(logits) * (jnp.asarray(self.factor, logits.dtype) ** over - 1)
        raised = jnp.where((over == 0) | (logits == -jnp.inf), logits, raised)
        return jnp.where(is_end(jnp.arange(logits.shape[1], dtype=jnp.int32), ends), raised, logits)
