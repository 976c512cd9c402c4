"""A Neural Turing Machine and an LSTM on algorithmic problems, tested beyond their lengths."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.foundations.ntm.data import PROBLEMS, Problem, Rows
from experiments.foundations.ntm.model import ARMS, PLANS, Plan, costs, network, one_span
from experiments.lab import tables
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report, Table
from experiments.lab.task import Task, estimate

ROWS = 16  # of a training batch
TEST_ROWS = 128


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train a Neural Turing Machine and an LSTM on a problem, and test them beyond its lengths."""

    problem: Literal["copy", "repeat", "recall", "ngrams", "sort"] = "copy"
    """Copy 8-bit vectors; repeat-copy; associative recall; dynamic 6-grams; priority sort."""
    steps: int | None = None
    """Of training, for both networks; left out: as many as the problem needs."""


def task(name: str, arm: str, plan: Plan, steps: int | None = None) -> Task:
    """One arm on one problem; the loss is nats a target bit."""
    problem = PROBLEMS[name]
    net = network(plan.cell, problem)

    def loss(params, key, span):
        rows = problem.draw(key, ROWS, *span)
        targets = problem.outputs * rows.mask.sum().astype(jnp.float32)
        return costs(net, params, rows).sum() / targets

    def evaluate(params, key, split):
        del split  # fresh rows, from another key
        found = {}
        for index, (test, span) in enumerate(problem.tests.items()):
            rows = problem.draw(jax.random.fold_in(key, index), TEST_ROWS, *span)
            bits = costs(net, params, rows) / jnp.log(2.0)
            found[test] = estimate(bits if problem.known is None else bits - problem.known(rows))
        return found

    first = next(iter(problem.tests))
    return Task(
        name=f"{name}, {arm}",
        init=lambda key: net.init(key, problem.inputs),
        loss=one_span(loss, problem.spans),
        evaluate=evaluate,
        metric=first,
        optimum=dict.fromkeys(problem.tests, 0.0),
        baseline=coin_bits(problem, problem.tests[first]),
        gate=problem.gate,
        steps=steps or plan.steps,
        rates=plan.rates,
        rises=False,
        margins=problem.margins,
        max_norm=plan.max_norm,
    )


def coin_bits(problem: Problem, span: tuple[int, ...]) -> float:
    """The metric of a predictor that says 1/2 wherever a target is not the same in all rows."""
    rows = jax.tree.map(np.asarray, problem.draw(jax.random.key(0), 512, *span))
    varies = (rows.targets != rows.targets[:1]).any(axis=0)
    known = 0.0 if problem.known is None else float(problem.known(rows).mean())
    return float((varies & rows.mask[0][:, None]).sum()) - known


def tasks(config: Config) -> list[Task]:
    """Both arms on a problem."""
    plans = zip(ARMS, PLANS[config.problem], strict=True)
    return [task(config.problem, arm, plan, config.steps) for arm, plan in plans]


def report(config: Config, results: Results) -> Report:
    """Bits a sequence of each seed, at lengths of training and beyond."""
    tests = list(PROBLEMS[config.problem].tests)
    rows = [
        [
            name,
            f"{found['parameters']:,}",
            *(tables.seeds(found["test"][test], 3) for test in tests),
            f"{found['rate']:g}",
        ]
        for name, found in results.found.items()
    ]
    caption = (
        f"Bits a sequence on test data, {config.seeds} seeds; guessing needs "
        f"{results.tasks[0].baseline:.4g} of the first, the exact bound is 0:"
    )
    passed = [name for name, found in results.found.items() if not found["failed_seeds"]]
    line = f"Every seed reaches the gates of: {'; '.join(passed) or 'none'}."
    return Report(line, [Table(["", "parameters", *tests, "rate"], rows, caption)])


def watch(net: sj.Stack, params: Any, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs [T, O] for the first row, and weightings [T, N, S] of its read and write heads."""

    def step(carry, x):
        carry, y = net.step(params, carry, x)
        return carry, (jax.nn.sigmoid(y), carry[0].read_weights, carry[0].write_weights)

    seen = sj.scan(step, net.initial_carry(params, 1), rows.xs[:1])[1]
    ys, reads, writes = (np.asarray(part[0]) for part in seen)
    return ys, reads, writes


def used(weights: np.ndarray) -> tuple[np.ndarray, int]:
    """Weightings [T, S] cut to the slots that are ever in use, and the number of the first one.

    Numbers run from -S / 2, so that the ring is cut opposite of slot 0, where heads begin.
    """
    slots = weights.shape[1]
    centred = np.roll(weights, slots // 2, axis=1)
    places = np.flatnonzero(centred.max(axis=0) > 0.1)
    low, high = (max(places[0] - 2, 0), places[-1] + 3) if places.size else (0, slots)
    return centred[:, low:high], int(low - slots // 2)


def draw(config: Config, results: Results) -> dict[str, Any]:
    """The learning curves, and the memory of the best network that has one."""
    from experiments.lab import pictures

    figures = {"ntm.png": pictures.curves(results.tasks, results.found)}
    name = f"{config.problem}, {ARMS[0]}"
    if name in results.found:
        first = next(iter(PROBLEMS[config.problem].tests))
        best = int(np.argmin(results.found[name]["test"][first]["seeds"]))
        params = jax.tree.map(lambda a: a[best], results.params[name])
        figures["memory.png"] = memory(config.problem, params, f"seed {best}")
    return figures


def memory(name: str, params: Any, label: str) -> Any:
    """What comes in and out and where the heads are, a column for each of the first two tests."""
    import matplotlib.pyplot as plt

    problem, key = PROBLEMS[name], jax.random.key(7)
    net = network(PLANS[name][0].cell, problem)
    tests = list(problem.tests.items())[:2]
    figure, axes = plt.subplots(5, len(tests), figsize=(6.5 * len(tests), 9), squeeze=False,
        layout="constrained", height_ratios=(1, 1, 1, 2.2, 2.2))  # fmt: skip
    for column, (test, span) in enumerate(tests):
        rows = problem.draw(key, 1, *span)
        ys, reads, writes = watch(net, params, rows)
        mask = np.asarray(rows.mask[0])[:, None]
        panels = [("inputs", np.asarray(rows.xs[0]), 0)]
        panels += [("targets", np.asarray(rows.targets[0]), 0), ("outputs", ys * mask, 0)]
        panels += [("write weights, slot", *used(writes.max(axis=1)))]
        panels += [("read weights, slot", *used(reads.max(axis=1)))]
        for axis, (part, image, first) in zip(axes[:, column], panels, strict=True):
            extent = (-0.5, image.shape[0] - 0.5, first - 0.5, first + image.shape[1] - 0.5)
            axis.imshow(image.T, aspect="auto", origin="lower", cmap="gray_r", extent=extent,
                vmin=0, vmax=1, interpolation="nearest")  # fmt: skip
            axis.set_ylabel(part, fontsize=8)
            axis.tick_params(labelsize=7)
        axes[0, column].set_title(f"{name}, {test}, {label}", fontsize=9)
        axes[-1, column].set_xlabel("step", fontsize=8)
    return figure


EXPERIMENT = Experiment(
    name="ntm",
    source="Graves, Wayne and Danihelka 2014",
    data="drawn: vectors to copy, to repeat, to recall, to sort; bits of a 6-gram",
    minutes=7,
    config=Config,
    tasks=tasks,
    report=report,
    draw=draw,
    quick={"seeds": 1, "steps": 100},
    tiny={"seeds": 1, "steps": 1, "problem": "sort", "only": "NTM"},
)
