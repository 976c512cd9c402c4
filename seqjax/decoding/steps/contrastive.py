"""Contrastive decoding: one step function, less what a weaker one thinks of the same tokens."""

from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal.checks import is_number, require
from seqjax.decoding.engine.start import Step


@final
@dataclass(frozen=True)
class ContrastiveStep:
    """A step whose logits are an expert's log-probabilities less an amateur's.

        score(v) = log p_expert(v) - log p_amateur(v)   where p_expert(v) >= alpha maxᵥ p_expert(v)
                   -inf                                 elsewhere

    What the expert finds implausible is left out; of the rest, what the amateur would say as well
    counts less. It is a step like any other, over the pair of both carries: `beam_search` follows
    the paper, `sample` draws from softmax(score). Their log_probs are those of the renormalised
    scores. An amateur's probability below the smallest normal number counts as that number.

    Attributes:
      expert: step(carry, tokens [N]) -> (carry, logits [N, V]).
      amateur: a weaker step over the same tokens.
      alpha: in (0, 1]; 1 keeps the expert's most probable tokens alone.
      temperature: > 0, of the amateur: its logits are divided by it.

    Raises:
      ValueError: if a setting is out of range (a traced one is taken as it is), or if the two
        return logits of different shapes.

    Example:
      >>> from seqjax.decoding import beam_search
      >>> expert = lambda carry, tokens: (carry, jnp.log(jnp.array([[0.5, 0.4, 0.07, 0.03]])))
      >>> amateur = lambda carry, tokens: (carry, jnp.log(jnp.array([[0.7, 0.2, 0.05, 0.05]])))
      >>> step = ContrastiveStep(expert, amateur, alpha=0.1)
      >>> _, scores = step(((), ()), jnp.array([0]))
      >>> print(scores.round(2))
      [[-0.34  0.69  0.34  -inf]]
      >>> beams = beam_search(step, ((), ()), bos=jnp.array([0]), eos=0, beam_size=1, max_len=3)
      >>> beams.tokens.tolist()
      [[[1, 1, 1]]]

    References:
      Li et al., Contrastive Decoding: Open-ended Text Generation as Optimization, 2022, equations
      2 and 3.
    """

    expert: Step
    amateur: Step
    alpha: Any = 0.1
    temperature: Any = 1.0

    def __post_init__(self):
        if not isinstance(self.alpha, jax.Array):
            require(
                is_number(self.alpha) and 0 < self.alpha <= 1,
                f"alpha is {self.alpha!r}; expected a number in (0, 1].",
            )
        if not isinstance(self.temperature, jax.Array):
            require(
                is_number(self.temperature) and 0 < self.temperature < float("inf"),
                f"temperature is {self.temperature!r}; expected a finite number above 0.",
            )

    def __call__(self, carry: tuple[Any, Any], tokens: jax.Array) -> tuple[Any, jax.Array]:
        """Steps both: the pair of their carries, and the scores [N, V]."""
        expert_carry, expert = self.expert(carry[0], tokens)
        amateur_carry, amateur = self.amateur(carry[1], tokens)
        require(
            expert.shape == amateur.shape,
            f"expert returned logits of shape {expert.shape} but amateur {amateur.shape}; "
            "expected the same vocabulary.",
        )
        wide = jnp.float64 if expert.dtype == jnp.float64 else jnp.float32
        log_p = jax.nn.log_softmax(expert.astype(wide))
        amateur = amateur.astype(wide) / jnp.asarray(self.temperature, wide)
        floor = jnp.log(jnp.finfo(wide).tiny)
        scores = log_p - jnp.maximum(jax.nn.log_softmax(amateur), floor)
        least = jnp.max(log_p, axis=-1, keepdims=True) + jnp.log(jnp.asarray(self.alpha, wide))
        return (expert_carry, amateur_carry), jnp.where(log_p >= least, scores, -jnp.inf)
