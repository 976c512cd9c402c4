"""Penalties that rank hypotheses: of their length, and of what their attention left out.

A length penalty is a function (log_probs, lengths) -> scores, elementwise: a sum of
log-probabilities falls with every token, so ranking by it prefers short hypotheses. Any callable
serves. The search's early exit is exact when a penalty, at a fixed length, does not fall as
log_probs rises; how it moves with the length is free. A coverage penalty is a function coverage
[B, K, S] -> [B, K], at most 0, that is added. Both are applied where a hypothesis ends.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal.checks import finite_number, is_number, require

LengthPenalty = Callable[[jax.Array, jax.Array], jax.Array]
Coverage = Callable[[jax.Array], jax.Array]


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


@final
@dataclass(frozen=True)
class SockeyeLengthPenalty:
    """Divides the log-probability by a power of the length, flattened by beta; 1 for one token.

        score = log p / ((beta + n) / (beta + 1))^alpha

    n counts eos and leaves the prompt out. beta 0 is the power penalty, beta 5 the GNMT penalty.
    Both arguments and the scores are [...] of one shape; log p is in nats.

    Raises:
      ValueError: if alpha is not a finite number or beta not one above -1 (traced scalars are
        taken as they are).

    Example:
      >>> SockeyeLengthPenalty(beta=1.0)(jnp.array([-3.0, -3.0]), jnp.array([1, 5])).tolist()
      [-3.0, -1.0]

    References:
      Hieber et al., Sockeye: A Toolkit for Neural Machine Translation, 2017.
    """

    alpha: Any = 1.0
    beta: Any = 0.0

    def __post_init__(self):
        _check_alpha(self.alpha)
        require(
            isinstance(self.beta, jax.Array)
            or (is_number(self.beta) and -1 < self.beta < math.inf),
            f"beta is {self.beta!r}; expected a number with beta > -1.",
        )

    def __call__(self, log_probs: jax.Array, lengths: jax.Array) -> jax.Array:
        """The scores, in the shape and dtype of log_probs."""
        beta = jnp.asarray(self.beta, log_probs.dtype)
        base = (beta + lengths.astype(log_probs.dtype)) / (beta + 1)
        return log_probs / base ** jnp.asarray(self.alpha, log_probs.dtype)


@final
@dataclass(frozen=True)
class CoveragePenalty:
    """Lowers a hypothesis for each source position that its attention left short of 1 in all.

        added to the score = beta Σᵢ log min(Σₜ aₜᵢ, 1)    over real source positions i

    aₜ [N, S] are the attention weights with which the step chose token t, that of eos included;
    the coverage Σₜ aₜ is given as [B, K, S], the penalty is [B, K], at most 0. A position without
    any attention counts as one with the dtype's smallest normal number (about e^-87 in float32),
    so that a score stays finite.

    Args:
      beta: >= 0, the weight; 0.2 in the paper. A traced scalar is taken as it is.
      memory_mask: [B, S] bools, True = a real source position; None means all are. (An array has
        no hash: with one, build the penalty inside the jitted function.)

    Raises:
      ValueError: if beta is not a finite number of at least 0, or the mask's shape does not fit.

    Example:
      >>> penalty = CoveragePenalty(beta=1.0)
      >>> print(penalty(jnp.array([[[1.5, 0.5]]])))
      [[-0.6931472]]

    References:
      Wu et al., Google's Neural Machine Translation System, 2016, equation 14.
    """

    beta: Any = 0.2
    memory_mask: Any = None

    def __post_init__(self):
        beta = self.beta
        require(
            isinstance(beta, jax.Array) or (is_number(beta) and 0 <= beta < math.inf),
            f"beta is {beta!r}; expected a number with beta >= 0.",
        )

    def __call__(self, coverage: jax.Array) -> jax.Array:
        """The penalty [B, K] of coverage [B, K, S]."""
        logs = jnp.log(jnp.clip(coverage, jnp.finfo(coverage.dtype).tiny, 1))
        if self.memory_mask is not None:
            mask = jnp.asarray(self.memory_mask)
            require(
                mask.shape == (coverage.shape[0], coverage.shape[2]),
                f"memory_mask has shape {mask.shape} for coverage {coverage.shape}; expected "
                "[B, S], one flag a source position.",
            )
            logs = jnp.where(mask[:, None], logs, 0)
        return jnp.asarray(self.beta, coverage.dtype) * jnp.sum(logs, axis=-1)


def _check_alpha(alpha: Any) -> None:
    if not isinstance(alpha, jax.Array):
        finite_number("alpha", alpha)


def length_scores(penalty: LengthPenalty | None, log_probs, lengths) -> jax.Array:
    """Penalised log-probabilities; -inf (nothing there) stays -inf under any penalty."""
    if penalty is None:
        return log_probs
    scores = jnp.asarray(penalty(log_probs, lengths))
    require(
        scores.shape == log_probs.shape,
        f"length_penalty returned shape {scores.shape} for log_probs and lengths of shape "
        f"{log_probs.shape}; expected the same shape, elementwise.",
    )
    return jnp.where(log_probs == -jnp.inf, -jnp.inf, scores.astype(log_probs.dtype))


def best_to_come(penalty: LengthPenalty | None, best: jax.Array, shortest, longest: int):
    """No continuation of a hypothesis with log-probability best [B] can score more than this [B].

    Log-probabilities only fall, so `best` itself at each length still open bounds them all.
    """
    if penalty is None:
        return best
    lengths = jnp.arange(1, longest + 1, dtype=jnp.int32)  # [L]
    shape = (best.shape[0], longest)
    each = jnp.broadcast_to(best[:, None], shape)
    scores = length_scores(penalty, each, jnp.broadcast_to(lengths, shape))
    return jnp.max(jnp.where(lengths >= shortest, scores, -jnp.inf), axis=1)


def coverage_scores(penalty: Coverage, coverage: jax.Array) -> jax.Array:
    """What a coverage penalty [B, K] adds to the scores of hypotheses with coverage [B, K, S]."""
    added = jnp.asarray(penalty(coverage))
    require(
        added.shape == coverage.shape[:2],
        f"coverage_penalty returned shape {added.shape} for coverage {coverage.shape}; expected "
        f"[B, K] = {coverage.shape[:2]}.",
    )
    return added.astype(coverage.dtype)
