"""Classifier-free guidance: one step function, led away from what it says without a condition."""

from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal.checks import is_number, require
from seqjax._internal.types import Carry, Logits, Tokens
from seqjax.core.products import accumulator
from seqjax.decoding.engine.start import Step


@final
@dataclass(frozen=True)
class GuidedStep:
    """A step whose logits go beyond those of a condition, away from those without one.

        log p(v) = log p_without(v) + scale (log p_with(v) - log p_without(v)) + constant

    A step like any other, over the pair of both carries. Often both are one network, the second
    with the prompt or the image left out. At scale 1 it is the first alone, at 0 the second. What
    the first gives probability 0 stays so; elsewhere a probability below the smallest normal number
    counts as that number.

    Attributes:
      conditional: step(carry, tokens [N]) -> (carry, logits [N, V]).
      unconditional: a step over the same tokens that knows nothing of the condition.
      scale: a finite number >= 0 (a traced one is taken as it is).

    Raises:
      ValueError: if scale is out of range, or if the two return logits of different shapes.

    Example:
      >>> told = lambda carry, tokens: (carry, jnp.log(jnp.array([[0.5, 0.25, 0.25]])))
      >>> untold = lambda carry, tokens: (carry, jnp.log(jnp.array([[0.25, 0.5, 0.25]])))
      >>> _, logits = GuidedStep(told, untold, scale=2.0)(((), ()), jnp.array([0]))
      >>> [f"{p:.2f}" for p in jax.nn.softmax(logits)[0]]  # as 1 : 1/8 : 1/4
      ['0.73', '0.09', '0.18']

    References:
      Ho and Salimans, Classifier-Free Diffusion Guidance, 2022. Sanchez et al., Stay on Topic with
      Classifier-Free Guidance, 2023, equation 7, for language models.
    """

    conditional: Step
    unconditional: Step
    scale: Any

    def __post_init__(self):
        if not isinstance(self.scale, jax.Array):
            require(
                is_number(self.scale) and 0 <= self.scale < float("inf"),
                f"scale is {self.scale!r}; expected a finite number of at least 0.",
            )

    def __call__(self, carry: tuple[Carry, Carry], tokens: Tokens) -> tuple[Carry, Logits]:
        """Steps both: the pair of their carries, and the guided logits [N, V]."""
        first, told = self.conditional(carry[0], tokens)
        second, untold = self.unconditional(carry[1], tokens)
        require(
            told.shape == untold.shape,
            f"conditional returned logits of shape {told.shape} but unconditional {untold.shape}; "
            "expected the same vocabulary.",
        )
        wide = accumulator(told.dtype)
        told, untold = (jax.nn.log_softmax(x.astype(wide)) for x in (told, untold))
        least = jnp.log(jnp.finfo(wide).tiny)
        floored = jnp.maximum(untold, least)
        guided = floored + jnp.asarray(self.scale, wide) * (jnp.maximum(told, least) - floored)
        return (first, second), jnp.where(told == -jnp.inf, -jnp.inf, guided)
