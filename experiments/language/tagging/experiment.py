"""Taggers beside the exact filter and smoother, and classes read off the ends of long rows."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.lab import tables
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report, Table
from experiments.lab.task import Task, estimate
from experiments.language.tagging.data import CLASSES, LENGTH, MODEL, ROW, draw, known
from experiments.language.tagging.model import BACKWARD_LAST, BOTH, READINGS, classifier, tagger
from experiments.sources.hmm import posteriors

REACH = 20  # steps that gradients go back; what a state holds from further off is never taught
BATCH_SIZE, TEST_ROWS = 64, 1024


@dataclass(frozen=True)
class Config(SweepSettings):
    """Tag the symbols of a hidden Markov model, and classify long rows by a cue at either end."""

    steps: int = 1500
    """Training steps of a tagger; a classifier takes a third of them."""
    length: int = LENGTH
    """Symbols of a row to tag."""
    row: int = ROW
    """Symbols of a row to classify."""


def tagging(name: str, both: bool, steps: int, length: int) -> Task:
    """One network; its bound is the filter's or, if it reads both ways, the smoother's.

    It is scored by the exact posterior of its context, given the same symbols: the probability of
    the tag that it names, which is that of the likeliest at most, and the divergence of its
    distribution from the exact one, which is 0 at least. Neither has the noise of drawn states.
    """
    net, facts = tagger(both), known(MODEL, length=length)

    def loss(params, key):
        symbols, states = MODEL.draw(key, BATCH_SIZE, length)
        log_probs = net.log_probs(params, symbols)
        return -jnp.take_along_axis(log_probs, states[..., None], axis=-1).mean()

    def evaluate(params, key, split):
        del split  # fresh symbols, from another key
        symbols, _ = MODEL.draw(key, TEST_ROWS, length)
        exact = posteriors(MODEL, symbols)[int(both)]
        found = net.log_probs(params, symbols)
        named = found.argmax(axis=-1)[..., None]
        right = jnp.exp(jnp.take_along_axis(exact, named, axis=-1))
        best = jnp.exp(exact.max(axis=-1))
        nats = -jnp.sum(jnp.exp(exact) * found, axis=-1)
        apart = jnp.sum(jnp.exp(exact) * (exact - found), axis=-1)
        return {
            "nats/tag": estimate(nats),
            "nats, above the bound": estimate(apart),
            "accuracy": estimate(right),
            "accuracy, below the bound": estimate(best - right[..., 0]),
        }

    return Task(
        name=f"tagging, {name}",
        init=net.init,
        loss=loss,
        evaluate=evaluate,
        metric="nats/tag",
        optimum={
            "nats/tag": facts["nats"][both],
            "nats, above the bound": 0.0,
            "accuracy, below the bound": 0.0,
        },
        baseline=float(-np.sum(MODEL.stationary * np.log(MODEL.stationary))),
        gate=0.01,
        gated="accuracy, below the bound",
        steps=steps,
        rates=(3e-3, 1e-2),
        rises=False,
    )


def classification(reading: str, steps: int, length: int) -> Task:
    """One reading, on rows whose cue stands at the start or at the end, a coin each."""
    net = classifier(reading)

    def loss(params, key):
        symbols, classes, _ = draw(key, BATCH_SIZE, length)
        return sj.cross_entropy(net.logits(params, symbols, REACH), classes)

    def evaluate(params, key, split):
        del split  # fresh rows, from another key
        symbols, classes, at_end = draw(key, 2 * TEST_ROWS, length)
        right = (net.logits(params, symbols).argmax(axis=-1) == classes).astype(jnp.float32)
        part = lambda rows: estimate(right[jnp.argsort(~rows)[: TEST_ROWS * 3 // 4]])
        return {
            "accuracy": estimate(right),
            "accuracy, cue first": part(~at_end),
            "accuracy, cue last": part(at_end),
        }

    optimum = {"accuracy": 1.0, "accuracy, cue first": 1.0, "accuracy, cue last": 1.0}
    if reading == BACKWARD_LAST:  # has seen the last symbol alone: a cue there, or it guesses
        start = 1 / CLASSES
        optimum = {
            "accuracy": (1 + start) / 2,
            "accuracy, cue first": start,
            "accuracy, cue last": 1.0,
        }
    return Task(
        name=f"cue, {reading}",
        init=net.init,
        loss=loss,
        evaluate=evaluate,
        metric="accuracy",
        optimum=optimum,
        baseline=1 / CLASSES,
        gate=0.99 if reading == BOTH else 0.0,  # the others have to reach nothing
        steps=steps,
        rates=(3e-3, 1e-2),
    )


def tasks(config: Config) -> list[Task]:
    """One direction and two, of as many parameters; then all readings, the third the right one."""
    steps = max(config.steps // 3, 1)
    return [
        tagging("one direction", False, config.steps, config.length),
        tagging("both directions", True, config.steps, config.length),
        *(classification(reading, steps, config.row) for reading in READINGS),
    ]


def report(config: Config, results: Results) -> Report:
    """The share of tags that each names beside what can be known; who reads the cue."""
    tags = {name: one["test"] for name, one in results.found.items() if name.startswith("tagging")}
    cues = {name: one["test"] for name, one in results.found.items() if name not in tags}
    rule = lambda name: "smoother" if "both" in name else "filter"
    below = {name: 100 * test["accuracy, below the bound"]["mean"] for name, test in tags.items()}
    line = "; ".join(
        f"{points:.2f} points below the exact {rule(n)}" for n, points in below.items()
    )
    made = [tags_table(config, tags)] * bool(tags) + [cues_table(cues)] * bool(cues)
    return Report(f"Taggers: {line or 'not run'}.", made)


def tags_table(config: Config, tags: dict[str, Any]) -> Table:
    """Taggers beside their bounds."""
    facts = known(MODEL, length=config.length)
    rows = []
    for name, test in tags.items():
        both = "both" in name
        named = 100 * facts["accuracy"][both], 100 * test["accuracy"]["mean"]
        below = 100 * test["accuracy, below the bound"]["mean"]
        cells = [*(f"{share:.1f}" for share in named), f"{below:.2f}"]
        rows.append([name.partition(", ")[2], "smoother" if both else "filter", *cells])
    head = ["reads in", "bound", "exact, %", "named, %", "below the bound, points"]
    return Table(head, rows, f"States named; always the commonest: {100 * facts['guess']:.1f} %:")


def cues_table(cues: dict[str, Any]) -> Table:
    """Accuracy by where the cue stands."""
    rows = []
    for name, test in cues.items():
        ends = (tables.seeds(test[f"accuracy, cue {end}"], 3) for end in ("first", "last"))
        rows.append([name.removeprefix("cue, "), *ends])
    caption = f"Accuracy by where the cue stands, each seed; a guess: {1 / CLASSES:.3f}:"
    return Table(["read off", "cue first", "cue last"], rows, caption)


EXPERIMENT = Experiment(
    name="tagging",
    source="Schuster and Paliwal 1997; Rabiner 1989",
    data="drawn: a hidden Markov model; noise with a cue at one end",
    minutes=3,
    config=Config,
    tasks=tasks,
    report=report,
    quick={"seeds": 1, "steps": 300, "row": 30},
    tiny={"seeds": 1, "steps": 3, "length": 5, "row": 4, "only": "h_{f,T} and"},
)
