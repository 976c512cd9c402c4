"""Sticky labels seen badly, with the least errors possible; and Huszár's source of two steps."""

import jax
import jax.numpy as jnp

from experiments.sources.hmm import HiddenMarkovModel, posteriors

LABELS, LENGTH = 10, 50
MODEL = HiddenMarkovModel.sticky(LABELS, stay=0.95, shown=0.4)
STAY = 0.95  # of Huszár's source


def filter_error(length: int = LENGTH, rows: int = 40_000) -> float:
    """The exact filter's error over a number of steps; no tagger's expected one is lower."""

    def part(key):
        seen, _ = MODEL.draw(key, 1000, length)
        return jnp.mean(1 - jnp.exp(posteriors(MODEL, seen)[0].max(axis=-1)))

    return float(jax.lax.map(part, jax.random.split(jax.random.key(7), rows // 1000)).mean())


def draw_pairs(key: jax.Array, rows: int) -> jax.Array:
    """Pairs [N, 2]: a fair coin, and the same again with probability 0.95."""
    key_1, key_2 = jax.random.split(key)
    first = jax.random.bernoulli(key_1, 0.5, (rows,)).astype(jnp.int32)
    change = jax.random.bernoulli(key_2, 1 - STAY, (rows,)).astype(jnp.int32)
    return jnp.stack([first, first ^ change], axis=1)


def pairs_optimum(epsilon):
    """Where Q(x₂ = x₁ | x₁) ends: 0.95 ε + 0.5 (1 - ε), as a drawn x₁ says nothing of x₂."""
    return STAY * epsilon + 0.5 * (1 - epsilon)
