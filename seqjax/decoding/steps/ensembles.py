"""Several step functions as one: ensembles, mixtures and shallow fusion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal.checks import is_number, one_of, require
from seqjax.core.products import accumulator
from seqjax.decoding.engine.start import Step

MEANS = ("probability", "log_probability")


@final
@dataclass(frozen=True)
class Ensemble:
    """A step over a tuple of carries that averages what its members predict.

        "probability":      log Σᵢ wᵢ pᵢ(y) / Σᵢ wᵢ    a mixture: log of the mean probability
        "log_probability":  Σᵢ wᵢ log pᵢ(y)            a product: mean of the log-probabilities

    The second is not normalised. Decoders normalise it at each step (a product of experts);
    `beam_search(..., normalise=False)` adds it up as it is, which is shallow fusion: a model with
    weight 1 and a language model with weight β. All members read the same tokens [N] and give
    logits [N, V] of one vocabulary; carries go in and out as a tuple, one a member. Members that
    return outputs make the ensemble return the tuple of them, () for those that do not.

    Args:
      steps: the members, step(carry, tokens [N]) -> (carry, logits [N, V]).
      weights: one number >= 0 a member, not all 0 (or a traced array [M]); None means 1 / M each.
        A member of weight 0 has no say, not even by a probability of 0.
      mean: "probability" or "log_probability".

    Raises:
      ValueError: for no member, weights that are not one a member, or another mean; when called,
        for carries that are not a tuple of one a member, or vocabularies that differ.

    Example:
      >>> sure = lambda carry, tokens: (carry, jnp.log(jnp.array([[0.9, 0.1]])))
      >>> unsure = lambda carry, tokens: (carry, jnp.log(jnp.array([[0.5, 0.5]])))
      >>> show = lambda logits: [f"{p:.3f}" for p in jnp.exp(logits[0])]
      >>> show(Ensemble((sure, unsure))(((), ()), jnp.array([0]))[1])
      ['0.700', '0.300']
      >>> fused = Ensemble((sure, unsure), weights=(1.0, 2.0), mean="log_probability")
      >>> show(fused(((), ()), jnp.array([0]))[1])
      ['0.225', '0.025']

    References:
      Gulcehre et al., On Using Monolingual Corpora in Neural Machine Translation, 2015, for shallow
      fusion. Sutskever, Vinyals and Le, Sequence to Sequence Learning with Neural Networks, 2014,
      for ensembles in a beam search.
    """

    steps: tuple[Step, ...]
    weights: Any = None
    mean: str = "probability"

    def __post_init__(self):
        require(
            isinstance(self.steps, Sequence) and len(self.steps) > 0,
            f"steps is {self.steps!r}; expected a tuple of at least one step function.",
        )
        object.__setattr__(self, "steps", tuple(self.steps))
        one_of("mean", self.mean, MEANS)
        _check_weights(self.weights, len(self.steps))

    def __call__(self, carry: tuple, tokens: jax.Array) -> tuple:
        """One step of every member: (carries, logits [N, V]), and their outputs if there are."""
        require(
            isinstance(carry, tuple) and len(carry) == len(self.steps),
            f"carry is {_count(carry)}; expected a tuple of {len(self.steps)} carries, one a step.",
        )
        results = [step(own, tokens) for step, own in zip(self.steps, carry, strict=True)]
        shapes = [result[1].shape for result in results]
        require(
            len(set(shapes)) == 1,
            f"steps returned logits of shapes {shapes}; expected one vocabulary, [N, V] of all.",
        )
        logits = self._combine([_log_probs(result[1]) for result in results])
        carries = tuple(result[0] for result in results)
        if all(len(result) == 2 for result in results):
            return carries, logits
        return carries, logits, tuple(result[2] if len(result) == 3 else () for result in results)

    def _combine(self, log_probs: list[jax.Array]) -> jax.Array:
        dtype = jnp.result_type(*log_probs)
        stacked = jnp.stack([one.astype(dtype) for one in log_probs])  # [M, N, V]
        count = len(log_probs)
        weights = [1 / count] * count if self.weights is None else self.weights
        weights = jnp.asarray(weights, dtype).reshape(-1, 1, 1)
        if self.mean == "log_probability":
            return jnp.sum(jnp.where(weights == 0, 0, weights * stacked), axis=0)
        weighted = stacked + jnp.log(weights / jnp.sum(weights))
        return jax.nn.logsumexp(jnp.where(weights == 0, -jnp.inf, weighted), axis=0)


def _log_probs(logits: jax.Array) -> jax.Array:
    """Log-probabilities in float32 or wider; a row that is all -inf stays so."""
    logits = logits.astype(accumulator(logits.dtype))
    empty = jnp.max(logits, axis=-1, keepdims=True) == -jnp.inf
    return jnp.where(empty, -jnp.inf, jax.nn.log_softmax(jnp.where(empty, 0, logits)))


def _check_weights(weights: Any, count: int) -> None:
    if isinstance(weights, jax.Array):
        require(
            weights.shape == (count,),
            f"weights has shape {weights.shape}; expected one a step, ({count},).",
        )
        return
    ok = weights is None or (
        isinstance(weights, Sequence)
        and len(weights) == count
        and all(is_number(w) and 0 <= w < math.inf for w in weights)
        and sum(weights) > 0
    )
    require(
        ok,
        f"weights is {weights!r}; expected {count} numbers >= 0, one a step, not all 0.",
    )


def _count(carry: Any) -> str:
    return f"a tuple of {len(carry)}" if isinstance(carry, tuple) else f"a {type(carry).__name__}"
