"""Length penalties: functions of (log_probs, lengths), elementwise, that rank hypotheses.

A sum of log-probabilities falls with every token, so ranking by it prefers short hypotheses. Any
callable serves. The search's early exit is exact when a penalty, at a fixed length, does not fall
as log_probs rises; how it moves with the length is free.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._checks import finite_number

LengthPenalty = Callable[[jax.Array, jax.Array], jax.Array]


@final
@dataclass(frozen=True)
class GNMTLengthPenalty:
    """Divides the log-probability by a power of the length, flattened for short hypotheses.

        score = log p / ((5 + n) / 6)^alpha

    n counts eos and leaves the prompt out. alpha 0 ranks by log p; a negative alpha favours short
    hypotheses. Both arguments and the scores are [...] of one shape; log p is in nats.

    Raises:
      ValueError: if alpha is not a finite number (a traced scalar is taken as it is).

    Example:
      >>> GNMTLengthPenalty(alpha=1.0)(jnp.array([-3.0, -3.0]), jnp.array([1, 7])).tolist()
      [-3.0, -1.5]

    References:
      Wu et al., Google's Neural Machine Translation System, 2016, equation 14.
    """

    alpha: Any = 0.6

    def __post_init__(self):
        _check_alpha(self.alpha)

    def __call__(self, log_probs: jax.Array, lengths: jax.Array) -> jax.Array:
        """The scores, in the shape and dtype of log_probs."""
        base = (5 + lengths.astype(log_probs.dtype)) / 6
        return log_probs / base ** jnp.asarray(self.alpha, log_probs.dtype)


@final
@dataclass(frozen=True)
class PowerLengthPenalty:
    """Divides the log-probability by a power of the length; alpha 1 is the mean per token.

        score = log p / n^alpha

    n counts eos and leaves the prompt out. Both arguments and the scores are [...] of one shape;
    log p is in nats.

    Raises:
      ValueError: if alpha is not a finite number (a traced scalar is taken as it is).

    Example:
      >>> PowerLengthPenalty()(jnp.array([-3.0, -3.0]), jnp.array([1, 2])).tolist()
      [-3.0, -1.5]

    References:
      Graves, Sequence Transduction with Recurrent Neural Networks, 2012, section 2.5, for alpha 1.
      Wu et al., Google's Neural Machine Translation System, 2016, section 7.
    """

    alpha: Any = 1.0

    def __post_init__(self):
        _check_alpha(self.alpha)

    def __call__(self, log_probs: jax.Array, lengths: jax.Array) -> jax.Array:
        """The scores, in the shape and dtype of log_probs."""
        base = lengths.astype(log_probs.dtype)
        return log_probs / base ** jnp.asarray(self.alpha, log_probs.dtype)


def _check_alpha(alpha: Any) -> None:
    if not isinstance(alpha, jax.Array):
        finite_number("alpha", alpha)
