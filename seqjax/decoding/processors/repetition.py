"""Processors against repetition, which look back at the tokens so far.

    processor(logits [N, V], tokens [N, L], length) -> logits [N, V]

Their state is the tokens so far, which every decoder carries already and gathers by parents: they
look up the L tokens that were drawn, so no count of the vocabulary's size is carried. `length` is
a scalar or [N]. The prompt is left out; `AfterPrompt` puts it in front.
"""

from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal.checks import finite_number, positive_int, require
from seqjax._internal.types import Logits, Tokens
from seqjax.decoding.engine.logits import column


@final
@dataclass(frozen=True)
class RepetitionPenalty:
    """Makes every token that has occurred less probable, by a factor on its logit.

        x'(v) = x(v) / θ  if x(v) > 0  else  x(v) θ        for v among the tokens so far

    Keskar et al. divide whatever the sign, which favours repeated tokens of negative logits; this
    is the form in general use. It depends on the logits' zero: adding a constant to all of them,
    which changes no probability, changes what it does. With normalise=True it acts on
    log-probabilities, so that it depends on probabilities alone: x' = θ log p(v).

    Args:
      penalty: θ > 0; 1 changes nothing, above 1 discourages.
      normalise: whether to take the log-softmax of the logits [N, V] first.

    Raises:
      ValueError: if penalty is not a positive number.

    Example:
      >>> logits, tokens = jnp.array([[2.0, -2.0, 1.0]]), jnp.array([[0, 1, 2]])
      >>> RepetitionPenalty(2.0)(logits, tokens, 2).tolist()
      [[1.0, -4.0, 1.0]]

    References:
      Keskar et al., CTRL: A Conditional Transformer Language Model for Controllable Generation,
      2019, section 4.1.
    """

    penalty: float
    normalise: bool = False

    def __post_init__(self):
        finite_number("penalty", self.penalty)
        require(self.penalty > 0, f"penalty is {self.penalty!r}; expected a number above 0.")

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V] with those of tokens [N, L][:length] penalised."""
        if self.normalise:
            logits = jax.nn.log_softmax(logits, axis=-1)
        old = _at(logits, tokens)  # [N, L]
        new = jnp.where(old > 0, old / self.penalty, old * self.penalty)
        return _places(logits, tokens, _drawn(tokens, length)).set(new, mode="drop")


@final
@dataclass(frozen=True)
class PresencePenalty:
    """Lowers the logit of every token that has occurred by a constant.

        x'(v) = x(v) - α [c(v) > 0],    c(v) the number of times that v has occurred

    Args:
      penalty: α in nats; a negative one encourages. Logits are [N, V].

    Raises:
      ValueError: if penalty is not a finite number.

    Example:
      >>> logits, tokens = jnp.zeros((1, 3)), jnp.array([[0, 0, 2]])
      >>> PresencePenalty(0.5)(logits, tokens, 2).tolist()
      [[-0.5, 0.0, 0.0]]
    """

    penalty: float

    def __post_init__(self):
        finite_number("penalty", self.penalty)

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V] with those of tokens [N, L][:length] lowered."""
        new = _at(logits, tokens) - self.penalty  # [N, L]
        return _places(logits, tokens, _drawn(tokens, length)).set(new, mode="drop")


@final
@dataclass(frozen=True)
class FrequencyPenalty:
    """Lowers the logit of a token by a constant for each time that it has occurred.

        x'(v) = x(v) - α c(v),    c(v) the number of times that v has occurred

    Args:
      penalty: α in nats; a negative one encourages. Logits are [N, V].

    Raises:
      ValueError: if penalty is not a finite number.

    Example:
      >>> logits, tokens = jnp.zeros((1, 3)), jnp.array([[0, 0, 2]])
      >>> FrequencyPenalty(0.5)(logits, tokens, 2).tolist()
      [[-1.0, 0.0, 0.0]]
    """

    penalty: float

    def __post_init__(self):
        finite_number("penalty", self.penalty)

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V] with those of tokens [N, L][:length] lowered, once an occurrence."""
        return _places(logits, tokens, _drawn(tokens, length)).add(-self.penalty, mode="drop")


@final
@dataclass(frozen=True)
class NoRepeatNGram:
    """Refuses a token that would complete an n-gram that has occurred.

        x'(v) = -∞  if (yₜ₋ₙ₊₁, ..., yₜ₋₁, v) is among the n-grams of y<ₜ

    Where everything is refused eos is left, as always.

    Args:
      size: n; 1 refuses every token that has occurred. Logits are [N, V].

    Raises:
      ValueError: if size is not an integer of at least 1.

    Example:
      >>> logits, tokens = jnp.zeros((1, 3)), jnp.array([[0, 1, 2, 0, 2]])
      >>> NoRepeatNGram(2)(logits, tokens, 4).tolist()
      [[0.0, -inf, 0.0]]

    References:
      Paulus, Xiong and Socher, A Deep Reinforced Model for Abstractive Summarization, 2018,
      section 2.5, for n = 3.
    """

    size: int

    def __post_init__(self):
        object.__setattr__(self, "size", positive_int("size", self.size))

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V], -inf where tokens [N, L][:length] would repeat an n-gram."""
        before = self.size - 1
        places = tokens.shape[1] - before  # of n-grams
        if places <= 0:
            return logits
        ends = column(length)
        match = jnp.arange(before, before + places, dtype=jnp.int32) < ends  # [N, places]
        for j in range(before):
            last = jnp.maximum(ends - before + j, 0)  # [N, 1]
            match &= tokens[:, j : j + places] == jnp.take_along_axis(tokens, last, axis=1)
        return _places(logits, tokens[:, before:], match).set(-jnp.inf, mode="drop")


def _drawn(tokens: jax.Array, length: Any) -> jax.Array:
    """Which of tokens [N, L] count: [N, L] or [1, L]."""
    return jnp.arange(tokens.shape[1], dtype=jnp.int32) < column(length)


def _at(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """logits [N, V] at tokens [N, L]."""
    return jnp.take_along_axis(logits, tokens.astype(jnp.int32), axis=1, mode="clip")


def _places(logits: jax.Array, tokens: jax.Array, count: jax.Array):
    """Where tokens [N, L] stand in logits [N, V]; beyond V, to be dropped, where not counted."""
    tokens = tokens.astype(jnp.int32)  # narrow ones could not hold V
    rows = jnp.arange(logits.shape[0], dtype=jnp.int32)[:, None]
    return jnp.asarray(logits).at[rows, jnp.where(count, tokens, logits.shape[1])]
