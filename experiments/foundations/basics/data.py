"""Where the data comes from, and what the best possible predictor scores on it."""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

XOR_OPTIMUM = 2 / 3 * math.log(2)  # nats/bit: two bits of three are fair coins, the third is known

KEYWORD = (0, 1, 2)
WORDS = tuple(itertools.permutations(KEYWORD))  # the keyword first


def xor_stream(key: jax.Array, rows: int, length: int) -> jax.Array:
    """Bits [B, T]: a, b, a xor b, a, b, a xor b, ... (Elman 1990)."""
    coins = jax.random.bernoulli(key, 0.5, (2, rows, -(-length // 3))).astype(jnp.int32)
    a, b = coins
    return jnp.stack([a, b, a ^ b], axis=-1).reshape(rows, -1)[:, :length]


@dataclass(frozen=True)
class MarkovSource:
    """A chain of V symbols in which each depends on the one before.

    Attributes:
      transition: P, V rows of V probabilities; P[i][j] is that of j after i. One ergodic class.
    """

    transition: tuple[tuple[float, ...], ...]

    @classmethod
    def random(cls, vocab_size: int, concentration: float, seed: int) -> "MarkovSource":
        """Rows from a symmetric Dirichlet distribution."""
        draw = np.random.default_rng(seed).dirichlet
        rows = draw(np.full(vocab_size, concentration), vocab_size)
        return cls(tuple(map(tuple, rows.tolist())))

    @cached_property
    def stationary(self) -> np.ndarray:
        """π [V], the solution of π P = π, Σ π = 1."""
        p = np.array(self.transition)
        size = len(p)
        equations = np.vstack([p.T - np.eye(size), np.ones(size)])
        return np.linalg.lstsq(equations, np.eye(size + 1)[size], rcond=None)[0]

    @property
    def entropy_rate(self) -> float:
        """H = -Σ πᵢ Pᵢⱼ log Pᵢⱼ in nats/symbol: no predictor's loss is lower."""
        return float(self.stationary @ [entropy(row) for row in self.transition])

    @property
    def unigram_entropy(self) -> float:
        """-Σ πᵢ log πᵢ in nats/symbol: the best loss of a predictor that sees no past."""
        return entropy(self.stationary)

    def draw(self, key: jax.Array, rows: int, length: int) -> jax.Array:
        """Symbols [B, T] of stationary chains."""
        table = np.cumsum(np.vstack([self.transition, self.stationary]), axis=1)
        table = jnp.asarray(table[:, :-1], jnp.float32)  # [V + 1, V - 1]

        def follow(symbol, u):  # inverse of the distribution function
            symbol = jnp.sum(u[:, None] >= table[symbol], axis=1, dtype=jnp.int32)
            return symbol, symbol

        first = jnp.full(rows, len(self.transition), jnp.int32)
        _, symbols = jax.lax.scan(follow, first, jax.random.uniform(key, (length, rows)))
        return symbols.T

    def losses(self, symbols: jax.Array) -> jax.Array:
        """-log P of each symbol [B, T] given the one before, [B, T - 1]: what the source knows."""
        p = np.maximum(np.array(self.transition), np.finfo(np.float32).tiny)
        return -jnp.asarray(np.log(p), jnp.float32)[symbols[:, :-1], symbols[:, 1:]]


def entropy(probabilities) -> float:
    """-Σ p log p in nats."""
    p = np.asarray(probabilities)
    return float(-np.sum(p * np.log(np.where(p > 0, p, 1))))


def keyword_rows(
    key: jax.Array, rows: int, places: tuple[int, int], length: int, vocab_size: int
) -> tuple[jax.Array, jax.Array]:
    """Tokens [B, T] and whether the keyword is in them [B], as 0 or 1.

    In half of the rows the keyword begins somewhere from the first to the last of places; in a
    quarter its symbols stand there in another order, in a quarter nowhere. They stand nowhere else.
    """
    key_l, key_n, key_w, key_p, key_f = jax.random.split(key, 5)
    label = jax.random.bernoulli(key_l, 0.5, (rows,)).astype(jnp.int32)
    wrong = jax.random.randint(key_w, (rows,), 1, len(WORDS))
    words = jnp.array(WORDS, jnp.int32)[jnp.where(label == 1, 0, wrong)]  # [B, 3]
    begin = jax.random.randint(key_p, (rows,), places[0], places[1] + 1)
    tokens = jax.random.randint(key_f, (rows, length), len(KEYWORD), vocab_size)
    columns = begin[:, None] + jnp.arange(len(KEYWORD), dtype=jnp.int32)
    placed = tokens.at[jnp.arange(rows)[:, None], columns].set(words)
    nowhere = (label == 0) & jax.random.bernoulli(key_n, 0.5, (rows,))
    return jnp.where(nowhere[:, None], tokens, placed), label
