"""The adding problem: two numbers, far apart among many, are to be added (Hochreiter 1997)."""

from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.sweeps import Task, estimate

LENGTH, SIZE, TEST_ROWS = 100, 64, 1024
BASELINE = 1 / 6  # the variance of a sum of two uniform numbers: the error of always saying 1


def draw(key: jax.Array, rows: int, length: int = LENGTH) -> tuple[jax.Array, jax.Array]:
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


def adding(name: str, cell: Any, gate: float, steps: int = 3000) -> Task:
    """The sum, read off the last state; the squared error of saying 1 is 1/6."""

    def init(key):
        key_c, key_o = jax.random.split(key)
        return {"cell": cell.init(key_c, 2), "w_o": sj.GlorotUniform()(key_o, (SIZE, 1))}

    def errors(params, key, rows):
        xs, sums = draw(key, rows)
        ys = sj.unroll(cell, params["cell"], xs)[1]
        return (ys[:, -1] @ params["w_o"][:, 0] - sums) ** 2

    def evaluate(params, key, split):
        del split  # fresh numbers, from another key
        return {"squared error": estimate(errors(params, key, TEST_ROWS))}

    return Task(
        name=f"adding, {name}",
        init=init,
        loss=lambda params, key: errors(params, key, 64).mean(),
        evaluate=evaluate,
        metric="squared error",
        optimum={"squared error": 0.0},
        baseline=BASELINE,
        gate=gate,
        steps=steps,
        rates=(2e-3, 5e-3),
        rises=False,
    )


def tasks() -> list[Task]:
    """All of this file; the plain network has to reach nothing."""
    return [
        adding("LSTM", sj.LSTM(SIZE), gate=0.01),
        adding("GRU", sj.GRU(SIZE), gate=0.01),
        adding("Elman", sj.Elman(SIZE), gate=1.0),
    ]
