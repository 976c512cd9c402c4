"""Cells that follow a state letter by letter, tested on words six times as long as in training."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.foundations.state_tracking.data import PROBLEMS, Automaton
from experiments.foundations.state_tracking.model import ARMS, Arm, network
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report, Table
from experiments.lab.task import Task, estimate

LATE = 64  # the accuracy counts the last so many states of a word
BATCH_SIZE, TEST_ROWS = 64, 128
SOLVED = 0.99


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train cells of one size to track states over short words, and test them on long ones."""

    steps: int = 300
    """Training steps of a run."""
    length: int = 40
    """Letters of a word to train on."""
    test_length: int = 256
    """Letters of a word to test on."""


def task(arm: Arm, problem: Automaton, config: Config) -> Task:
    """One cell on one problem; it has to solve what theory says that it can."""
    net = network(arm, problem)

    def loss(params, key):
        words, states = problem.draw(key, BATCH_SIZE, config.length)
        return sj.cross_entropy(net.logits(params, words), states)

    def evaluate(params, key, split):
        del split  # the key differs
        words, states = problem.draw(key, TEST_ROWS, config.test_length)
        right = jnp.argmax(net.logits(params, words), axis=-1) == states
        return {"trained": estimate(right[:, : config.length]), "long": estimate(right[:, -LATE:])}

    return Task(
        name=f"{problem.name}, {arm.name}",
        init=net.init,
        loss=loss,
        evaluate=evaluate,
        metric="long",
        optimum={"long": 1.0, "trained": 1.0},
        baseline=1 / problem.states,
        gate=SOLVED if problem.name in arm.solves else 0.0,
        steps=config.steps,
        rates=(2e-3, 8e-3),
    )


def tasks(config: Config) -> list[Task]:
    """Every cell on every problem."""
    return [task(arm, problem, config) for problem in PROBLEMS for arm in ARMS]


def report(config: Config, results: Results) -> Report:
    """Accuracy at the end of long words, worst to best seed; a star where theory says yes."""
    rows = []
    for arm in ARMS:
        cells = [cell(arm, problem, results) for problem in PROBLEMS]
        if any(cells):
            rows.append([arm.name, *cells])
    sizes = [found["parameters"] for found in results.found.values()]
    head = [f"{one.name} (guess {1 / one.states:.2f})" for one in PROBLEMS]
    first = max(config.test_length - LATE, 0) + 1
    caption = (
        f"Accuracy at letters {first} to {config.test_length}, trained on {config.length}, with "
        f"{min(sizes):,} to {max(sizes):,} parameters: mean, worst and best of {config.seeds} "
        "seeds; * where one layer can solve it for any length:"
    )
    lines = [f"{problem.name}: {solvers(problem, results)}" for problem in PROBLEMS]
    table = Table(["cell", *head], rows, caption)
    return Report(f"Solved by every seed of: {'; '.join(lines)}.", [table])


def cell(arm: Arm, problem: Automaton, results: Results) -> str:
    """What an arm reached on a problem."""
    found = results.found.get(f"{problem.name}, {arm.name}")
    if found is None:
        return ""
    late = found["test"]["long"]
    star = "*" if problem.name in arm.solves else ""
    return f"{late['mean']:.3f} ({late['min']:.3f} to {late['max']:.3f}){star}"


def solvers(problem: Automaton, results: Results) -> str:
    """The arms of which every seed solves a problem."""
    test = {arm.name: results.found.get(f"{problem.name}, {arm.name}") for arm in ARMS}
    solved = [name for name, one in test.items() if one and one["test"]["long"]["min"] >= SOLVED]
    return ", ".join(solved) or "none"


def draw(config: Config, results: Results) -> dict[str, Any]:
    """A point a seed; what theory calls solvable in blue; the guess as a dotted line."""
    import matplotlib.pyplot as plt

    count = len(PROBLEMS)
    figure, axes = plt.subplots(
        1, count, figsize=(4 * count, 3.8), sharey=True, layout="constrained"
    )
    for axis, problem in zip(axes, PROBLEMS, strict=True):
        for place, arm in enumerate(ARMS):
            found = results.found.get(f"{problem.name}, {arm.name}")
            if found is not None:
                seeds = found["test"]["long"]["seeds"]
                color = "C0" if problem.name in arm.solves else "C3"
                spread = place + np.linspace(-0.15, 0.15, len(seeds))
                axis.scatter(spread, seeds, s=22, color=color)
        axis.axhline(1 / problem.states, color="0.5", ls=":")
        axis.set_xticks(range(len(ARMS)), [arm.name for arm in ARMS], rotation=60, ha="right")
        axis.tick_params(labelsize=8)
        axis.set(title=problem.name, ylim=(0, 1.03))
    axes[0].set_ylabel(f"accuracy, last {LATE} of {config.test_length} letters", fontsize=9)
    return {"state_tracking.png": figure}


EXPERIMENT = Experiment(
    name="state_tracking",
    source="Merrill et al. 2024; Grazzi et al. 2025",
    data="drawn: words whose letters move a state",
    minutes=9,
    config=Config,
    tasks=tasks,
    report=report,
    draw=draw,
    quick={"seeds": 1, "steps": 200, "only": "parity, DeltaNet"},
    tiny={"seeds": 1, "steps": 2, "length": 4, "test_length": 6, "only": "parity, Elman"},
)
