"""Taggers that read the label they gave before, trained in four ways on the same network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.lab.task import Task, estimate
from experiments.scheduled_sampling.hmm import StickyHMM
from seqjax import objectives

SOURCE = StickyHMM()
LENGTH, BATCH_SIZE, TEST_SIZE, HIDDEN = 50, 64, 1024, 64
BOS = SOURCE.labels
CELL = sj.GRU(HIDDEN)


def init(key: jax.Array) -> dict[str, Any]:
    """Draws params."""
    key_c, key_o = jax.random.split(key)
    return {
        "cell": CELL.init(key_c, 2 * SOURCE.labels + 1),
        "w_o": sj.initializers.GlorotUniform()(key_o, (HIDDEN, SOURCE.labels)),
        "b_o": jnp.zeros(SOURCE.labels),
    }


def features(labels: jax.Array, observations: jax.Array) -> jax.Array:
    """The label before and the observation as one vector, [..., 2S + 1]."""
    parts = jax.nn.one_hot(labels, SOURCE.labels + 1), jax.nn.one_hot(observations, SOURCE.labels)
    return jnp.concatenate(parts, axis=-1)


def tagger(params: dict[str, Any]) -> Callable:
    """step(carry, label before [B], observation [B]) -> (carry, logits [B, S])."""

    def step(carry, labels, observations):
        carry, y = CELL.step(params["cell"], carry, features(labels, observations))
        return carry, y @ params["w_o"] + params["b_o"]

    return step


def start(params: dict[str, Any], rows: int) -> jax.Array:
    """The carry before the first observation."""
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

    def loss(self, params: dict[str, Any], count: jax.Array, key: jax.Array) -> jax.Array:
        """Nats a label on a fresh batch."""
        key_d, key_s = jax.random.split(key)
        labels, seen = SOURCE.draw(key_d, BATCH_SIZE, LENGTH)
        how = {"bos": BOS, "truth_probability": self.epsilon(count), "key": key_s}
        if not self.parallel:
            carry = start(params, BATCH_SIZE)
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


def errors(params: dict[str, Any], labels: jax.Array, seen: jax.Array) -> dict[str, jax.Array]:
    """Wrong labels [B, T]: on its own, told the label before, and the exact filter's."""
    carry, step = start(params, labels.shape[0]), tagger(params)
    how = {"bos": BOS, "xs": seen}
    told = objectives.teacher_forcing(step, carry, labels, **how)
    alone = objectives.scheduled_sampling(
        step, carry, labels, truth_probability=0.0, key=jax.random.key(0), temperature=0, **how
    )
    wrong = lambda scores: jnp.argmax(scores, axis=-1) != labels
    return {
        "free-running error": wrong(alone.logits),
        "next-label error": wrong(told.logits),
        "exact filter's error": wrong(SOURCE.filter(seen)),
    }


def gap(params: dict[str, Any], labels: jax.Array, seen: jax.Array) -> sj.diagnostics.ExposureGap:
    """The exposure gap by place; own labels are the most probable ones."""
    carry = start(params, labels.shape[0])
    how = {"bos": BOS, "key": jax.random.key(0), "temperature": 0.0, "xs": seen}
    return sj.diagnostics.exposure_gap(tagger(params), carry, labels, **how)


def task(arm: Arm, steps: int, bound: float, gate: float) -> Task:
    """One way of training; the learning rate is chosen by the free-running error for each."""

    def loss(params, count, key):
        return arm.loss(params, count, key), count + 1

    def evaluate(params, key, split):
        del split  # the key differs
        found = errors(params, *SOURCE.draw(key, TEST_SIZE, LENGTH))
        return {name: estimate(wrong) for name, wrong in found.items()}

    return Task(
        name=arm.name,
        init=init,
        loss=loss,
        evaluate=evaluate,
        metric="free-running error",
        optimum={"free-running error": bound, "next-label error": SOURCE.next_error(LENGTH)},
        baseline=1 - 1 / SOURCE.labels,
        gate=gate,
        steps=steps,
        rates=(2e-3, 5e-3, 1.2e-2),
        rises=False,
        carry=lambda params: jnp.int32(0),
    )


def filter_error(rows: int = 40_000) -> float:
    """The exact filter's error over the first LENGTH steps; no tagger's expected one is lower."""

    def part(key):
        _, seen = SOURCE.draw(key, 1000, LENGTH)
        return jnp.mean(1 - SOURCE.filter(seen).max(axis=-1))

    return float(jax.lax.map(part, jax.random.split(jax.random.key(7), rows // 1000)).mean())
