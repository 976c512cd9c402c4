"""Figures of tasks, drawn without a screen."""

import textwrap
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.lab.task import Task


def curves(tasks: list[Task], results: dict[str, Any]) -> Figure:
    """The training loss of every task and seed, and what was reached on test data."""
    columns = min(5, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, axes = plt.subplots(
        2 * rows, columns, figsize=(3.4 * columns, 4.6 * rows), layout="constrained", squeeze=False
    )
    for i, task in enumerate(tasks):
        block, column = divmod(i, columns)
        _curves(axes[2 * block, column], task, results[task.name])
        _metrics(axes[2 * block + 1, column], task, results[task.name])
    for i in range(len(tasks), rows * columns):
        block, column = divmod(i, columns)
        axes[2 * block, column].set_axis_off()
        axes[2 * block + 1, column].set_axis_off()
    return figure


def _curves(axis: Any, task: Task, result: dict[str, Any]) -> None:
    for seed, curve in enumerate(result["curve"]):
        steps = (np.arange(len(curve)) + 1) * task.steps / len(curve)
        axis.plot(steps, curve, color=f"C{seed}", lw=1)
    if not task.rises:
        if task.metric in task.optimum:
            axis.axhline(task.optimum[task.metric], color="k", ls="--", lw=1)
        axis.axhline(task.baseline, color="0.6", ls=":", lw=1)
    else:
        axis.set_yscale("log")
    axis.set_title(task.name, fontsize=9)
    axis.set_xlabel("step", fontsize=8)
    axis.set_ylabel("training loss", fontsize=8)
    axis.tick_params(labelsize=7)


def _metrics(axis: Any, task: Task, result: dict[str, Any]) -> None:
    """A point a seed; the optimum as a black line, the baseline as a dotted one."""
    for place, (name, found) in enumerate(result["test"].items()):
        seeds = np.array(found["seeds"])
        axis.scatter(place + np.linspace(-0.15, 0.15, len(seeds)), seeds, s=14, color="C0")
        if found["optimum"] is not None:
            axis.plot([place - 0.35, place + 0.35], [found["optimum"]] * 2, "k-", lw=1)
        if name == task.metric:
            axis.plot([place - 0.35, place + 0.35], [task.baseline] * 2, color="0.5", ls=":")
    names = [textwrap.fill(name, 12) for name in result["test"]]
    axis.set_xticks(range(len(names)), names, fontsize=7)
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.tick_params(axis="y", labelsize=7)
    if task.rises:
        axis.set_ylim(-0.05, 1.05)
