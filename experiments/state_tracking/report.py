"""Tables and the picture."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.lab.task import Task, parameters
from experiments.state_tracking.arms import ARMS, Arm, network
from experiments.state_tracking.automata import PROBLEMS, Automaton


def line(task: Task, result: dict[str, Any]) -> str:
    """One cell on one problem."""
    trained, late = result["test"]["trained"], result["test"]["long"]
    seconds = result["compile_seconds"] + result["run_seconds"]
    seeds = " ".join(f"{value:.3f}" for value in late["seeds"])
    return (
        f"{task.name:<34} within 40: {trained['mean']:.3f}   at 193 to 256: {late['mean']:.3f} "
        f"({seeds})   rate {result['rate']:g}   {seconds:.0f} s"
    )


def table(results: dict[str, Any]) -> str:
    """Accuracy on the last 64 of 256 letters, worst to best seed; a star where theory says yes."""
    head = "".join(f"{f'{one.name} ({1 / one.states:.2f})':>26}" for one in PROBLEMS)
    lines = ["accuracy at letters 193 to 256, trained on 40; in brackets a guess's; * solvable"]
    lines.append("".ljust(20) + head + "  parameters")
    for arm in ARMS:
        cells = [_cell(arm, problem, results) for problem in PROBLEMS]
        if any(cells):
            sizes = "/".join(str(parameters(network(arm, problem).init)) for problem in PROBLEMS)
            lines.append(arm.name.ljust(20) + "".join(c.rjust(26) for c in cells) + "  " + sizes)
    return "\n".join(lines)


def _cell(arm: Arm, problem: Automaton, results: dict[str, Any]) -> str:
    found = results.get(f"{problem.name}, {arm.name}")
    if found is None:
        return ""
    late = found["test"]["long"]
    star = "*" if problem.name in arm.solves else " "
    return f"{late['mean']:.3f} ({late['min']:.3f}-{late['max']:.3f}){star}"


def draw(path: Path, results: dict[str, Any]) -> None:
    """A point a seed; what theory calls solvable in blue; the guess as a dotted line."""
    figure, axes = plt.subplots(
        1, len(PROBLEMS), figsize=(4 * len(PROBLEMS), 3.8), sharey=True, layout="constrained"
    )
    for axis, problem in zip(axes, PROBLEMS, strict=True):
        for place, arm in enumerate(ARMS):
            found = results.get(f"{problem.name}, {arm.name}")
            if found is not None:
                seeds = found["test"]["long"]["seeds"]
                color = "C0" if problem.name in arm.solves else "C3"
                spread = place + np.linspace(-0.15, 0.15, len(seeds))
                axis.scatter(spread, seeds, s=22, color=color)
        axis.axhline(1 / problem.states, color="0.5", ls=":")
        axis.set_xticks(range(len(ARMS)), [arm.name for arm in ARMS], rotation=60, ha="right")
        axis.tick_params(labelsize=8)
        axis.set_ylim(0, 1.03)
        axis.set_title(problem.name, fontsize=10)
    axes[0].set_ylabel("accuracy, letters 193 to 256", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
