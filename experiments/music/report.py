"""What a run shows and leaves behind: progress, a table, results.json and curves.png."""

import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import seqjax as sj
from experiments.lab.folder import RunFolder
from experiments.music.training import History, Run

EVERY = 10  # steps between looks at the device, which wait for it


def train_with_progress(run: Run, console: Console) -> None:
    """Runs a training plan under a progress bar."""
    history = run.history
    columns = [
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(None),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("compiling", total=history.total_steps)
        for step, metrics in run.steps():
            if step % EVERY and step != history.total_steps:
                continue
            bits = float(sj.bits_per_character(metrics.loss))
            norm = float(metrics.grad_norm)
            if not metrics.skipped:
                history.train.append([step, bits])
                history.grad_norm.append([step, norm])
            progress.update(
                task, completed=step, description=_describe(run, step, float(metrics.loss), norm)
            )


def _describe(run: Run, step: int, loss: float, norm: float) -> str:
    tokens = run.config.batch_size * run.config.window
    speed = step * tokens / max(run.history.seconds, 1e-9)
    valid = f" valid {run.history.valid[-1][1]:.3f}" if run.history.valid else ""
    bits = float(sj.bits_per_character(loss))
    return f"loss {loss:.3f} bpc {bits:.3f}{valid} |g| {norm:.2f} {speed:,.0f} chars/s"


def show_table(console: Console, results: dict[str, Any]) -> None:
    """Prints the comparison with the n-gram."""
    table = Table(title="bits per character (lower is better)")
    for column in ("model", "valid", "test", "parameters"):
        table.add_column(column, justify="left" if column == "model" else "right")
    gram, model = results["baseline"], results["model"]
    name = f"Kneser-Ney, order {gram['order']}"
    table.add_row(name, f"{gram['valid']:.4f}", f"{gram['test']:.4f}", "-")
    parameters = f"{model['parameters']:,}"
    table.add_row("LSTM", f"{model['valid']:.4f}", f"{model['test']:.4f}", parameters)
    console.print(table)


def write_results(folder: RunFolder, results: dict[str, Any]) -> Path:
    """Writes results.json with the versions and the device that made it."""
    made_with = {
        "seqjax": _version("seqjax"),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }
    content = json.dumps({**results, "made_with": made_with}, indent=1, default=str)
    return folder.write_text("results.json", content + "\n")


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def draw_curves(folder: RunFolder, history: History, baseline: float, order: int) -> Path:
    """Draws training and validation loss against the n-gram's, and the gradient's norm."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(8, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    top.plot(*_columns(history.train), color="0.75", label="training, each window")
    top.plot(*_columns(history.valid), "o-", label="validation")
    top.axhline(baseline, color="C3", ls="--", label=f"Kneser-Ney, order {order}, validation")
    lowest = min([baseline, *(value for _, value in history.valid)])
    top.set_ylim(lowest - 0.3, lowest + 1.7)
    top.set_ylabel("bits per character")
    top.legend(frameon=False)
    bottom.semilogy(*_columns(history.grad_norm), color="0.5")
    bottom.set_ylabel("gradient norm")
    bottom.set_xlabel("step")
    with folder.writing("curves.png") as path:
        figure.savefig(path, dpi=120)
    plt.close(figure)
    return folder.written


def _columns(points: Iterable) -> tuple[list[float], list[float]]:
    points = list(points)
    return [point[0] for point in points], [point[1] for point in points]
