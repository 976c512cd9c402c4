"""A tagger that reads the label it gave before, and the ways of training it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.language.scheduled_sampling.data import LABELS, draw_pairs
from seqjax import objectives

HIDDEN = 64
BOS = LABELS
CELL = sj.GRU(HIDDEN)


def init(key: jax.Array) -> dict[str, Any]:
    """Draws params."""
    key_c, key_o = jax.random.split(key)
    return {
        "cell": CELL.init(key_c, 2 * LABELS + 1),
        "w_o": sj.initializers.GlorotUniform()(key_o, (HIDDEN, LABELS)),
        "b_o": jnp.zeros(LABELS),
    }


def features(labels: jax.Array, seen: jax.Array) -> jax.Array:
    """The label before and the symbol seen as one vector, [..., 2S + 1]."""
    parts = jax.nn.one_hot(labels, LABELS + 1), jax.nn.one_hot(seen, LABELS)
    return jnp.concatenate(parts, axis=-1)


def tagger(params: dict[str, Any]) -> Callable:
    """step(carry, label before [B], symbol [B]) -> (carry, logits [B, S])."""

    def step(carry, labels, seen):
        carry, y = CELL.step(params["cell"], carry, features(labels, seen))
        return carry, y @ params["w_o"] + params["b_o"]

    return step


def start(params: dict[str, Any], rows: int) -> jax.Array:
    """The carry before the first symbol."""
    return CELL.initial_carry(params["cell"], rows)


@dataclass(frozen=True)
class Arm:
    """A way of training.

    Attributes:
      name: in the table.
      epsilon: the probability of a true label before, a function of the step.
      parallel: whether by the two-pass approximation.
    """

    name: str
    epsilon: Callable[[Any], Any]
    parallel: bool = False

    def loss(self, params, labels: jax.Array, seen: jax.Array, count: jax.Array, key: jax.Array):
        """Nats a label of a batch [B, T]."""
        how = {"bos": BOS, "truth_probability": self.epsilon(count), "key": key}
        if not self.parallel:
            carry = start(params, labels.shape[0])
            run = objectives.scheduled_sampling(tagger(params), carry, labels, xs=seen, **how)
            return run.loss.mean

        def forward(before):
            carry, ys = sj.unroll(CELL, params["cell"], features(before, seen))
            return carry, ys @ params["w_o"] + params["b_o"]

        return objectives.parallel_scheduled_sampling(forward, labels, **how).loss.mean


def arms(steps: int) -> tuple[Arm, ...]:
    """Teacher forcing first, beside which the others are judged."""
    falling = objectives.InverseSigmoidDecay(float(max(1, steps // 12)))
    return (
        Arm("teacher forcing", lambda count: 1.0),
        Arm("scheduled sampling", falling),
        Arm("two passes", falling, parallel=True),
        Arm("always sampling", lambda count: 0.0),
    )


def wrong(params, labels: jax.Array, seen: jax.Array) -> dict[str, jax.Array]:
    """Where labels [B, T] are wrong: on its own, greedily, and told the label before."""
    carry, step = start(params, labels.shape[0]), tagger(params)
    how = {"bos": BOS, "xs": seen}
    told = objectives.teacher_forcing(step, carry, labels, **how)
    alone = objectives.scheduled_sampling(
        step, carry, labels, truth_probability=0.0, key=jax.random.key(0), temperature=0, **how
    )
    runs = {"free-running error": alone, "next-label error": told}
    return {name: jnp.argmax(run.logits, axis=-1) != labels for name, run in runs.items()}


def learned_pairs(epsilon: jax.Array, key: jax.Array, steps: int = 200, rows: int = 2048):
    """[3, 2] probabilities after 0, 1 and bos: a table trained at one ε, averaged over its end."""

    def loss(table, key):
        key_d, key_s = jax.random.split(key)
        step = lambda carry, tokens: (carry, table[tokens])
        how = {"bos": 2, "truth_probability": epsilon, "key": key_s}
        return objectives.scheduled_sampling(step, (), draw_pairs(key_d, rows), **how).loss.mean

    def update(table, i):
        table = table - 8.0 * jax.grad(loss)(table, jax.random.fold_in(key, i))
        return table, table

    _, tables = jax.lax.scan(update, jnp.zeros((3, 2)), jnp.arange(steps))
    return jax.nn.softmax(tables[steps // 2 :].mean(axis=0))
