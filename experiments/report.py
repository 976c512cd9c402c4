"""What tasks leave behind: a table, results.json and a picture of their learning curves."""

import json
import platform
import textwrap
from pathlib import Path
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.lab.folder import RunFolder
from experiments.lab.task import Task

COLUMNS = "mean", "min", "max", "optimum", "baseline", "gate", "failed", "rate", "s"


def line(task: Task, result: dict[str, Any]) -> str:
    """One task's means and seeds on test data, as soon as they are there."""
    parts = [
        f"{name} {found['mean']:.4f} ({' '.join(f'{one:.4f}' for one in found['seeds'])})"
        for name, found in result["test"].items()
    ]
    seconds = result["compile_seconds"] + result["run_seconds"]
    return f"{task.name}: {', '.join(parts)}; rate {result['rate']:g}, {seconds:.0f} s"


def table(tasks: list[Task], results: dict[str, Any]) -> str:
    """One line a task and metric; what is known exactly stands beside what was reached."""
    lines = [["", *COLUMNS]]
    for task in tasks:
        result = results[task.name]
        for name, found in result["test"].items():
            known = [_number(found[key]) for key in ("mean", "min", "max", "optimum")]
            rest = [""] * 5
            if name == (task.gated or task.metric):
                seconds = result["compile_seconds"] + result["run_seconds"]
                failed = ", ".join(map(str, result["failed_seeds"])) or "none"
                rest = [_number(task.baseline), _number(task.gate), failed]
                rest += [f"{result['rate']:g}", f"{seconds:.0f}"]
            title = f"{task.name}, {name}" if name == task.metric else f"    {name}"
            lines.append([title + " LEAK" * found["leak"], *known, *rest])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        line[0].ljust(widths[0])
        + "".join("  " + cell.rjust(n) for cell, n in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def write_results(
    folder: RunFolder,
    tasks: list[Task],
    results: dict[str, Any],
    seconds: float,
    extra: dict[str, Any] | None = None,
    name: str = "results.json",
) -> Path:
    """Writes results.json with the versions and the device that made it, and what else there is."""
    facts = ("metric", "gated", "baseline", "gate", "steps", "rates", "rises", "margins")
    content = {
        "tasks": {
            task.name: {key: getattr(task, key) for key in facts} | results[task.name]
            for task in tasks
        },
        "seconds": seconds,
        "made_with": made_with(),
        **(extra or {}),
    }
    return folder.write_text(name, json.dumps(content, indent=1) + "\n")


def made_with() -> dict[str, str]:
    """The versions and the device that results come from."""
    return {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }


def conclude(results: dict[str, Any]) -> int:
    """Names the seeds that failed; 1 where a loss lies below what is possible, else 0."""
    for name, result in results.items():
        if failed := result["failed_seeds"]:
            print(f"failed: {name}, seeds {', '.join(map(str, failed))}")
    found = (metric for result in results.values() for metric in result["test"].values())
    if any(metric["leak"] for metric in found):
        print("error: a loss below the exact bound: the target leaks into the input")
        return 1
    return 0


def draw(path: Path, tasks: list[Task], results: dict[str, Any]) -> Path:
    """Draws the training loss of every task and seed, and what was reached on test data."""
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
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


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
