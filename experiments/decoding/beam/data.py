"""Words and what they are backwards, where every c may come out as k: all answers are known.

Every c of a word is written as c with probability 0.6, and as k with probability 0.4.
"""

import itertools
import math

import jax
import jax.numpy as jnp

LETTERS = "abcdefghijk"
VOCABULARY = ("", *LETTERS)  # the first is the boundary: bos and eos
BOUNDARY, C, K = 0, 1 + LETTERS.index("c"), 1 + LETTERS.index("k")
KNOWN = LETTERS[:-1]  # k is only written
SHORTEST, LONGEST = 2, 8
K_SHARE = 0.4

_mean_length = (SHORTEST + LONGEST) / 2
_coin = -(K_SHARE * math.log(K_SHARE) + (1 - K_SHARE) * math.log(1 - K_SHARE))
OPTIMUM = _mean_length / len(KNOWN) * _coin  # nats a word: what the coins of its c take
BASELINE = math.log(LONGEST - SHORTEST + 1) + _mean_length * math.log(len(KNOWN)) + OPTIMUM


def encode(word: str) -> tuple[jax.Array, jax.Array]:
    """A word as [1, LONGEST] and its length [1]; raises ValueError for what is no word here."""
    if not (SHORTEST <= len(word) <= LONGEST and set(word) <= set(KNOWN)):
        raise ValueError(
            f"the word is {word!r}; expected {SHORTEST} to {LONGEST} of the letters {KNOWN}"
        )
    tokens = [VOCABULARY.index(letter) for letter in word]
    padding = [BOUNDARY] * (LONGEST - len(word))
    return jnp.array([tokens + padding]), jnp.array([len(word)])


def answers(word: str) -> dict[str, float]:
    """The probability of everything that a word may come out as."""
    each = [(("c", 1 - K_SHARE), ("k", K_SHARE)) if a == "c" else ((a, 1.0),) for a in word[::-1]]
    choices = itertools.product(*each)
    return {"".join(a for a, _ in one): math.prod(p for _, p in one) for one in choices}


def draw_batch(key: jax.Array, batch_size: int):
    """Random words [B, LONGEST], their lengths, and what is to be written [B, LONGEST + 1]."""
    key_w, key_l, key_k = jax.random.split(key, 3)
    source = jax.random.randint(key_w, (batch_size, LONGEST), 1, len(KNOWN) + 1)
    lengths = jax.random.randint(key_l, (batch_size,), SHORTEST, LONGEST + 1)
    at = lengths[:, None] - 1 - jnp.arange(LONGEST + 1)
    targets = jnp.take_along_axis(source, jnp.maximum(at, 0), axis=1)
    swapped = jax.random.bernoulli(key_k, K_SHARE, targets.shape) & (targets == C)
    targets = jnp.where(at >= 0, jnp.where(swapped, K, targets), BOUNDARY)
    return source, lengths, targets
