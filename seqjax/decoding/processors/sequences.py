"""A processor that weighs whole sequences of tokens."""

import math
from dataclasses import dataclass
from typing import Any, final

import jax.numpy as jnp

from seqjax._internal.checks import is_number, require
from seqjax._internal.types import Logits, Tokens
from seqjax.decoding.engine.rows import ends_with
from seqjax.decoding.engine.start import as_sequences


def _is_finite(x: Any) -> bool:
    """Whether x is a finite number."""
    return is_number(x) and math.isfinite(x)


@final
@dataclass(frozen=True)
class SequenceBias:
    """Adds to the logit of a token that would complete one of some sequences, or refuses it.

        x'(v) = x(v) + Σ { bias_s : y<ₜ v ends with s }

    Without a bias the sequences are bad words: x'(v) = -∞. Where everything is refused eos is left.

    Attributes:
      sequences: a tuple of tuples of token ids, none of them empty.
      bias: in nats, a number for all of them or a tuple of one each; None refuses. Logits are
        [N, V].

    Raises:
      ValueError: if sequences are no lists of integers, or bias does not fit; when called, if a
        token is not below V.

    Example:
      >>> no_bad_words = SequenceBias(((2,), (1, 0)))
      >>> no_bad_words(jnp.zeros((1, 3)), jnp.array([[1, 1]]), 1).tolist()
      [[-inf, 0.0, -inf]]
    """

    sequences: tuple[tuple[int, ...], ...]
    bias: float | None | tuple[float | None, ...] = None

    def __post_init__(self):
        sequences = as_sequences("sequences", self.sequences, 2**31)
        each = self.bias if isinstance(self.bias, (tuple, list)) else (self.bias,) * len(sequences)
        require(
            len(each) == len(sequences) and all(x is None or _is_finite(x) for x in each),
            f"bias is {self.bias!r}; expected a finite number or None, or {len(sequences)} of "
            "them, one a sequence.",
        )
        object.__setattr__(self, "sequences", sequences)
        if isinstance(self.bias, list):
            object.__setattr__(self, "bias", tuple(self.bias))

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V], with the bias of what follows tokens [N, L][:length]."""
        as_sequences("sequences", self.sequences, logits.shape[1])
        follows = ends_with(tokens, length, tuple(s[:-1] for s in self.sequences))  # [N, S]
        each = self.bias if isinstance(self.bias, tuple) else (self.bias,) * follows.shape[1]
        bias = jnp.array([-jnp.inf if x is None else x for x in each], logits.dtype)
        last = jnp.array([s[-1] for s in self.sequences], jnp.int32)
        return jnp.asarray(logits).at[:, last].add(jnp.where(follows, bias, 0))
