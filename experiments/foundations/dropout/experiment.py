"""Dropout in seven places: on a text too small for the network, and on a symbol to remember."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.foundations.dropout.data import (
    CLASSES,
    LAG,
    NOISE,
    WINDOW,
    Text,
    copying_rows,
    rows,
    tunes,
)
from experiments.foundations.dropout.model import ARMS, Arm, Network
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report, Table
from experiments.lab.task import Task, estimate

BATCH_SIZE, TEST_ROWS = 16, 1024


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train an LSTM on little text, and on a symbol to remember, with dropout in seven places."""

    steps: int = 800
    """Training steps of a run, of either kind."""
    text_size: int = 64
    """Units of each layer of the models of text."""
    memory_size: int = 32
    """Units of each layer of the networks that remember."""
    lag: int = LAG
    """Steps that the symbol is to be remembered for."""


def text_task(arm: Arm, text: Text, config: Config) -> Task:
    """Characters of a text, windows of it in random order; nats of held-out text and of its own."""
    net = Network(arm, config.text_size, text.vocab_size, text.vocab_size)
    train, held_out = jnp.asarray(text.train), rows(jnp.asarray(text.held_out))

    def losses(params, tokens, key=None):
        return sj.token_losses(net.logits(params, tokens[:, :-1], key), tokens[:, 1:])

    def loss(params, key):
        key_p, key_d = jax.random.split(key)
        starts = jax.random.randint(key_p, (BATCH_SIZE, 1), 0, len(train) - WINDOW)
        return losses(params, train[starts + jnp.arange(WINDOW + 1)], key_d).mean()

    def evaluate(params, key, split):
        del key
        own = rows(train)[: held_out.shape[1]]
        held = estimate(losses(params, held_out[split]))
        seen = estimate(losses(params, own))
        gap = type(held)(held.mean - seen.mean, jnp.hypot(held.error, seen.error))
        return {"nats/char": held, "training text": seen, "gap": gap}

    return Task(
        name=f"text, {arm.name}",
        init=net.init,
        loss=loss,
        evaluate=evaluate,
        metric="nats/char",
        optimum={},  # of tunes nobody knows it
        baseline=text.unigram,
        gate=text.unigram,
        steps=config.steps,
        rates=(3e-3, 1e-2),
        rises=False,
    )


def probe(arm: Arm, config: Config) -> Task:
    """Is a symbol still known after many steps? Trained with dropout, asked without."""
    net = Network(arm, config.memory_size, CLASSES + NOISE, CLASSES)

    def loss(params, key):
        key_r, key_d = jax.random.split(key)
        symbols, classes = copying_rows(key_r, 2 * BATCH_SIZE, config.lag)
        return sj.cross_entropy(net.logits(params, symbols, key_d)[:, -1], classes)

    def evaluate(params, key, split):
        del split  # fresh rows, from another key
        symbols, classes = copying_rows(key, TEST_ROWS, config.lag)
        logits = net.logits(params, symbols)[:, -1]
        nats = estimate(sj.token_losses(logits, classes))
        return {"accuracy": estimate(logits.argmax(axis=-1) == classes), "nats": nats}

    return Task(
        name=f"memory, {arm.name}",
        init=net.init,
        loss=loss,
        evaluate=evaluate,
        metric="accuracy",
        optimum={"accuracy": 1.0, "nats": 0.0},
        baseline=1 / CLASSES,
        gate=0.99,
        steps=config.steps,
        rates=(3e-3, 1e-2),
    )


def tasks(config: Config) -> list[Task]:
    """Every place of dropout, for text and for memory."""
    text = tunes()
    print(f"{len(text.train)} characters to train on, {len(text.held_out[1])} to test on")
    everything = [text_task(arm, text, config) for arm in ARMS]
    return everything + [probe(arm, config) for arm in ARMS]


def report(config: Config, results: Results) -> Report:
    """Nats of text held out and trained on, and how many symbols are remembered."""
    test = {name: found["test"] for name, found in results.found.items()}
    cell = lambda name, metric: f"{test[name][metric]['mean']:.3f}" if name in test else ""
    lines = []
    for arm in ARMS:
        text, memory = f"text, {arm.name}", f"memory, {arm.name}"
        nats = cell(text, "nats/char"), cell(text, "training text")
        if any(line := [*nats, cell(memory, "accuracy")]):
            lines.append([arm.name, *line])
    means = {name: one["nats/char"]["mean"] for name, one in test.items() if "nats/char" in one}
    best = min(means, key=means.__getitem__, default="text, none")
    lost = [name for name, one in test.items() if one.get("accuracy", {"min": 1})["min"] < 0.99]
    caption = "Nats a character; share of rows whose symbol is known, dropout off; means of seeds:"
    head = f"Best on held-out text: {best.removeprefix('text, ')}."
    more = f" Not remembered by: {'; '.join(lost).replace('memory, ', '')}." if lost else ""
    return Report(
        head + more, [Table(["dropout", "held out", "trained on", "remembered"], lines, caption)]
    )


EXPERIMENT = Experiment(
    name="dropout",
    source="Zaremba et al. 2014; Gal and Ghahramani 2016; Krueger et al. 2017",
    data="12,000 characters of Aird's tunes; drawn rows with a symbol to remember",
    minutes=4.5,
    config=Config,
    tasks=tasks,
    report=report,
    needs=("music21",),
    quick={"seeds": 1, "steps": 100, "only": "h"},
    tiny={"seeds": 1, "steps": 2, "only": "none", "text_size": 4, "memory_size": 4, "lag": 2},
)
