"""Processors that refuse or decide tokens by where the sequence stands.

processor(logits [N, V], tokens [N, L], length) -> logits [N, V]
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal.checks import positive_int, require
from seqjax._internal.types import Logits, Tokens
from seqjax.decoding.engine.logits import column
from seqjax.decoding.engine.start import as_index


@final
@dataclass(frozen=True)
class SuppressTokens:
    """Refuses some tokens, always or for the first few steps.

        x'(v) = -∞  for v in tokens, while fewer than `until` tokens are drawn

    Where everything is refused eos is left, even if it is suppressed here.

    Args:
      tokens: a tuple of token ids.
      until: a number of tokens, or None for always. Logits are [N, V].

    Raises:
      ValueError: if tokens are not integers >= 0, or until is not an integer >= 1; when called, if
        a token is not below V.

    Example:
      >>> SuppressTokens((0, 2))(jnp.zeros((1, 3)), jnp.array([[1, 1]]), 1).tolist()
      [[-inf, 0.0, -inf]]
    """

    tokens: tuple[int, ...]
    until: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "tokens", _token_ids("tokens", self.tokens))
        if self.until is not None:
            object.__setattr__(self, "until", positive_int("until", self.until))

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V], -inf where suppressed."""
        refused = _refuse("tokens", self.tokens, logits)
        if self.until is None:
            return refused
        return jnp.where(column(length) < self.until, refused, logits)


@final
@dataclass(frozen=True)
class MinLength:
    """Refuses eos until a sequence, eos counted, has min_len tokens.

        x'(eos) = -∞  while fewer than min_len - 1 tokens are drawn

    Where everything else is refused eos is left, however short the sequence.

    Args:
      min_len: a number of tokens, eos counted as in `lengths`, the prompt left out.
      eos: as given to the decoder, an integer or a tuple of several. Logits are [N, V].

    Raises:
      ValueError: if min_len is not an integer of at least 1 or eos no integers >= 0; when called,
        if eos is not below V.

    Example:
      >>> refuse = MinLength(2, eos=0)
      >>> tokens = jnp.array([[1, 1]])
      >>> [refuse(jnp.zeros((1, 3)), tokens, length).tolist() for length in (0, 1)]
      [[[-inf, 0.0, 0.0]], [[0.0, 0.0, 0.0]]]
    """

    min_len: int
    eos: int | tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "min_len", positive_int("min_len", self.min_len))
        object.__setattr__(self, "eos", as_ends(self.eos))

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V], -inf at eos while `length` tokens are too few."""
        refused = _refuse("eos", self.eos if isinstance(self.eos, tuple) else (self.eos,), logits)
        return jnp.where(column(length) + 1 < self.min_len, refused, logits)


@final
@dataclass(frozen=True)
class ForcedTokens:
    """Decides the first tokens of every sequence.

        x'(v) = 0 if v = tokens[t] else -∞        for t < len(tokens) and tokens[t] not None

    A forced token has probability 1 even where the model refuses it. Unlike a prompt it is drawn:
    it is in the results, and lengths and the model's own log_probs count it.

    Args:
      tokens: a tuple of token ids, of which None leaves a step free. Logits are [N, V].

    Raises:
      ValueError: if tokens are neither integers >= 0 nor None; when called, if one is not below V.

    Example:
      >>> ForcedTokens((None, 2))(jnp.zeros((1, 3)), jnp.array([[1, 1]]), 1).tolist()
      [[-inf, -inf, 0.0]]
    """

    tokens: tuple[int | None, ...]

    def __post_init__(self):
        _token_ids("tokens", [token for token in self.tokens if token is not None])
        object.__setattr__(self, "tokens", tuple(self.tokens))

    def __call__(self, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """The logits [N, V], all but one -inf where step `length` is decided."""
        check_vocab("tokens", [t for t in self.tokens if t is not None], logits)
        free = -1
        table = jnp.array([free if t is None else t for t in (*self.tokens, None)], jnp.int32)
        forced = table[jnp.minimum(column(length), len(self.tokens))]  # [N, 1] or [1, 1]
        is_forced = jnp.arange(logits.shape[1], dtype=jnp.int32) == forced
        only = jnp.where(is_forced, 0, -jnp.inf).astype(logits.dtype)
        return jnp.where(forced == free, logits, only)


def _refuse(name: str, tokens: Any, logits: jax.Array) -> jax.Array:
    check_vocab(name, tokens, logits)
    return jnp.asarray(logits).at[:, jnp.array(tokens, jnp.int32)].set(-jnp.inf)


def as_ends(eos: Any) -> int | tuple[int, ...]:
    """An ending token or a tuple of several, as Python's integers."""
    if isinstance(eos, (tuple, list)):
        return _token_ids("eos", eos)
    return _token_ids("eos", (eos,))[0]


def _token_ids(name: str, tokens: Any) -> tuple[int, ...]:
    """Token ids as Python's own integers."""
    ids = tuple(map(as_index, tokens)) if isinstance(tokens, Iterable) else (-1,)
    require(min(ids, default=0) >= 0, f"{name} is {tokens!r}; expected integers of at least 0.")
    return ids


def check_vocab(name: str, tokens: Any, logits: jax.Array) -> None:
    """Whether all ids are below V."""
    vocab = logits.shape[1]
    require(
        max(tokens, default=0) < vocab,
        f"{name} is {tokens!r}; expected token ids below {vocab}, the vocabulary size.",
    )
