"""The adding problem: two numbers, far apart among many, are to be added (Hochreiter 1997)."""

import jax
import jax.numpy as jnp

BASELINE = 1 / 6  # the variance of a sum of two uniform numbers: the error of always saying 1


def draw(key: jax.Array, rows: int, length: int) -> tuple[jax.Array, jax.Array]:
    """Numbers and marks [B, T, 2], one mark in each half, and the sum of the marked ones [B]."""
    key_n, key_a, key_b = jax.random.split(key, 3)
    numbers = jax.random.uniform(key_n, (rows, length))
    half = length // 2
    first = jax.random.randint(key_a, (rows,), 0, half)
    second = jax.random.randint(key_b, (rows,), half, length)
    steps = jnp.arange(length)
    marks = (steps == first[:, None]) | (steps == second[:, None])
    marks = marks.astype(numbers.dtype)
    return jnp.stack([numbers, marks], axis=-1), jnp.sum(numbers * marks, axis=1)
