"""One to one, one to many, many to one, aligned, unaligned: one recurrence wired five ways."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.foundations.topologies.data import (
    COUNTS,
    DIGITS,
    LETTERS,
    Pairs,
    all_runs,
    expand,
    pairs,
    random_runs,
)
from experiments.foundations.topologies.model import Translator
from experiments.lab import tables
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.network import Network
from experiments.lab.record import Report
from experiments.lab.task import Task, estimate

TEST_ROWS = 2048


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train one recurrence wired in five ways."""

    threads: int = 1
    """Runs of a task that go on at the same time."""
    share: int = 1
    """Train for one in so many of the steps that each task needs."""


def accuracy_task(name: str, init: Callable, loss: Callable, evaluate: Callable, **facts) -> Task:
    """A task without noise: everything can be right."""
    facts = {"metric": "accuracy", "gate": 0.99, **facts}
    return Task(name, init, loss, evaluate, optimum={facts["metric"]: 1.0}, **facts)


def one_to_one(steps: int = 200) -> Task:
    """A digit to the number of letters of its name: a sequence of one step."""
    sizes = [len(name) for name in DIGITS]
    counts = Counter(sizes)
    network = Network(sj.GRU(16), len(DIGITS), max(sizes) + 1)
    digits, answers = jnp.arange(len(DIGITS))[:, None], jnp.array(sizes)[:, None]

    def loss(params, key):
        del key  # all ten digits are the batch
        return sj.cross_entropy(network.unroll(params, digits)[1], answers)

    def evaluate(params, key, split):
        del key, split  # there is nothing to hold out
        _, logits = network.unroll(params, digits)
        return {"accuracy": estimate(logits.argmax(axis=-1) == answers)}

    baseline = max(counts.values()) / len(DIGITS)
    return accuracy_task(
        "one to one: digit to its letters' number",
        network.init,
        loss,
        evaluate,
        baseline=baseline,
        steps=steps,
        gate=1.0,
    )


def one_to_many(steps: int = 300) -> Task:
    """A digit to its name, letter by letter until the end symbol."""
    letters = "".join(sorted(set("".join(DIGITS))))
    table = pairs([str(i) for i in range(len(DIGITS))], DIGITS, "0123456789", letters)
    model = Translator(32, len(DIGITS), len(letters))

    def evaluate(params, key, split):
        del key, split  # there is nothing to hold out
        return {"exact match": estimate(model.exact(params, table))}

    return accuracy_task(
        "one to many: digit to its name",
        model.init,
        lambda params, key: model.loss(params, table),
        evaluate,
        metric="exact match",
        baseline=1 / len(DIGITS),
        steps=steps,
        gate=1.0,
    )


def parity_rows(key: jax.Array, rows: int, longest: int):
    """Bits [B, T], lengths from 1 to T [B], and the parity of so many bits [B]."""
    key_b, key_l = jax.random.split(key)
    bits = jax.random.bernoulli(key_b, 0.5, (rows, longest)).astype(jnp.int32)
    lengths = jax.random.randint(key_l, (rows,), 1, longest + 1)
    real = jnp.arange(longest, dtype=jnp.int32) < lengths[:, None]
    return bits, lengths, jnp.sum(jnp.where(real, bits, 0), axis=1) % 2


def many_to_one(longest: int = 16, steps: int = 400) -> Task:
    """The parity of 1 to T bits, from the carry after each row's last."""
    network = Network(sj.GRU(32), 2, 2)

    def loss(params, key):
        bits, lengths, parity = parity_rows(key, 64, longest)
        return sj.cross_entropy(network.last(params, bits, lengths=lengths), parity)

    def accuracy(params, key, size):
        bits, lengths, parity = parity_rows(key, TEST_ROWS, size)
        return estimate(network.last(params, bits, lengths=lengths).argmax(axis=-1) == parity)

    def evaluate(params, key, split):
        del split
        twice = accuracy(params, key, 2 * longest)
        return {"accuracy": accuracy(params, key, longest), "up to twice as long": twice}

    name = f"many to one: parity of up to {longest} bits"
    return accuracy_task(name, network.init, loss, evaluate, baseline=0.5, steps=steps)


def aligned(length: int = 12, steps: int = 600, modulus: int = 5) -> Task:
    """The running sum of digits modulo 5, at every step."""
    network = Network(sj.GRU(32), modulus, modulus)

    def draw(key, rows, size):
        digits = jax.random.randint(key, (rows, size), 0, modulus)
        return digits, jnp.cumsum(digits, axis=1) % modulus

    def loss(params, key):
        digits, sums = draw(key, 64, length)
        return sj.cross_entropy(network.unroll(params, digits)[1], sums)

    def accuracy(params, key, size):
        digits, sums = draw(key, TEST_ROWS, size)
        return estimate(network.unroll(params, digits)[1].argmax(axis=-1) == sums)

    def evaluate(params, key, split):
        del split
        twice = accuracy(params, key, 2 * length)
        return {"accuracy": accuracy(params, key, length), "twice as long": twice}

    name = f"many to many, aligned: running sum mod {modulus}"
    baseline = 1 / modulus
    return accuracy_task(name, network.init, loss, evaluate, baseline=baseline, steps=steps)


def run_length_splits(longest: int, seed: int = 0) -> dict[str, Pairs]:
    """All codes of up to so many runs, a tenth each held out; and codes of one run more, twice."""
    codes = [code for number in range(1, longest + 1) for code in all_runs(number)]
    codes = [codes[i] for i in np.random.default_rng(seed).permutation(len(codes))]
    tenth = len(codes) // 10
    parts = {
        "valid": codes[:tenth],
        "test": codes[tenth : 2 * tenth],
        "train": codes[2 * tenth :],
        "one run more": random_runs(longest + 1, 512, seed),
        "twice the runs": random_runs(2 * longest, 512, seed),
    }
    symbols = LETTERS + COUNTS
    return {
        name: pairs(part, [expand(code) for code in part], symbols, LETTERS)
        for name, part in parts.items()
    }


def unaligned(longest: int = 3, steps: int = 600, hidden_size: int = 64) -> Task:
    """Run-length codes expanded, "a3b2" to "aaabb": exact match on codes never trained on."""
    splits = run_length_splits(longest)
    model = Translator(hidden_size, len(LETTERS + COUNTS), len(LETTERS))
    size = len(splits["train"].source)

    def loss(params, key):
        rows = jax.random.randint(key, (48,), 0, size)
        return model.loss(params, jax.tree.map(lambda a: a[rows], splits["train"]))

    held_out = jax.tree.map(lambda *parts: jnp.stack(parts), splits["valid"], splits["test"])
    longer = {name: splits[name] for name in ("one run more", "twice the runs")}

    def evaluate(params, key, split):
        del key
        parts = {"exact match": jax.tree.map(lambda a: a[split], held_out), **longer}
        return {name: estimate(model.exact(params, part)) for name, part in parts.items()}

    return accuracy_task(
        'many to many, unaligned: "a3b2" to "aaabb"',
        model.init,
        loss,
        evaluate,
        metric="exact match",
        baseline=1 / len(splits["test"].source),
        steps=steps,
    )


def tasks(config: Config) -> list[Task]:
    """The five ways."""
    everything = [one_to_one(), one_to_many(), many_to_one(), aligned(), unaligned()]
    return [replace(task, steps=max(1, task.steps // config.share)) for task in everything]


def report(config: Config, results: Results) -> Report:
    """What was reached, on longer strings too."""
    failed = [name for name, found in results.found.items() if found["failed_seeds"]]
    line = f"Missed by a seed: {'; '.join(failed)}" if failed else "Every seed reaches every gate"
    caption = f"On test data, {config.seeds} seeds, learning rate chosen on validation data:"
    table = tables.of_tasks(results.tasks, results.found, caption)
    return Report(f"{line}.", [table])


EXPERIMENT = Experiment(
    name="topologies",
    source="Sutskever et al. 2014; Karpathy 2015",
    data="drawn: digits, bits, run-length codes",
    minutes=1,
    config=Config,
    tasks=tasks,
    report=report,
    quick={"seeds": 1, "share": 4},
    tiny={"seeds": 1, "share": 200, "only": "one to one"},
)
