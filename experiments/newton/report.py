"""Tables, results.json and the picture."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.newton.measure import Points
from experiments.report import made_with

EDGES = (-np.inf, -1.0, -0.5, -0.2, 0.0, np.inf)


def table(points: list[Points]) -> str:
    """Median iterations by exponent, and how many rows did not converge within T."""
    heads = [f"{low:g} to {high:g}" for low, high in zip(EDGES, EDGES[1:], strict=False)]
    lines = ["median iterations (share converged) where the exponent is", ""]
    lines.append("".ljust(28) + "".join(head.rjust(16) for head in heads))
    for each in points:
        exponent, count = np.array(each.exponent), np.array(each.iterations)
        converged = np.array(each.converged)
        cells = []
        for low, high in zip(EDGES, EDGES[1:], strict=False):
            here = (exponent > low) & (exponent <= high)
            text = ""
            if here.any():
                text = f"{np.median(count[here]):.0f} ({converged[here].mean():.2f})"
            cells.append(text.rjust(16))
        lines.append(each.name.ljust(28) + "".join(cells))
    return "\n".join(lines)


def times_table(times: list[dict[str, Any]]) -> str:
    """Value and gradient over 1,000 steps, by both."""
    lines = ["", "value and gradient, B = 8, T = 1000, D = 16, float32"]
    for row in times:
        name = row["cell"].split(",")[0] + ")"
        took = f"{row['newton_ms']:8.1f} ms, unroll {row['unroll_ms']:6.1f} ms"
        lines.append(f"{name:<32} {row['method']:<13} {row['iterations']:>3} iterations {took}")
    return "\n".join(lines)


def write(path: Path, config: Any, points: list[Points], times: list[dict[str, Any]]) -> None:
    """Writes everything that was measured."""
    content = {
        "config": {name: str(value) for name, value in dataclasses.asdict(config).items()},
        "points": [each._asdict() for each in points],
        "times": times,
        "made_with": made_with(),
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def draw(path: Path, points: list[Points], length: int) -> None:
    """Iterations over the largest Lyapunov exponent; crosses did not converge."""
    figure, axes = plt.subplots(
        1, len(points), figsize=(3.1 * len(points), 3.4), sharey=True, layout="constrained"
    )
    for axis, each in zip(np.atleast_1d(axes), points, strict=True):
        exponent, count = np.array(each.exponent), np.array(each.iterations)
        converged = np.array(each.converged)
        axis.scatter(exponent[converged], count[converged], s=9, alpha=0.5)
        axis.scatter(exponent[~converged], count[~converged], s=14, marker="x", color="C3")
        axis.axvline(0, color="k", lw=0.8)
        axis.axhline(length, color="0.6", ls=":", lw=1)
        axis.set_yscale("log")
        axis.set_title(each.name, fontsize=9)
        axis.set_xlabel("largest Lyapunov exponent, nats a step", fontsize=8)
    np.atleast_1d(axes)[0].set_ylabel(f"iterations (dotted: T = {length})", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
