"""The picture: errors of each way of training, errors by place, and Huszár's source."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.scheduled_sampling import huszar


def draw(path: Path, results: dict[str, Any], places: dict[str, Any], table: Any) -> None:
    """Three panels; a point a seed, exact bounds in black."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    _errors(axes[0], results)
    _places(axes[1], places)
    _huszar(axes[2], table)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _errors(axis: Any, results: dict[str, Any]) -> None:
    kinds = (
        ("free-running error", "C3", "on its own"),
        ("next-label error", "C0", "told the label"),
    )
    for place, result in enumerate(results.values()):
        for name, color, label in kinds:
            seeds = result["test"][name]["seeds"]
            spread = place + np.linspace(-0.12, 0.12, len(seeds))
            axis.scatter(spread, seeds, s=22, color=color, label=label if place == 0 else None)
    for name, _, label in kinds:
        bound = next(iter(results.values()))["test"][name]["optimum"]
        axis.axhline(
            bound, color="k", ls="--" if name[0] == "f" else ":", label=f"{label}, exact bound"
        )
    axis.set_xticks(range(len(results)), [name.replace(" ", "\n") for name in results], fontsize=8)
    axis.set_ylabel("share of wrong labels")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7)
    axis.set_title("sticky labels, a point a seed", fontsize=10)


def _places(axis: Any, places: dict[str, Any]) -> None:
    for index, (name, wrong) in enumerate(places.items()):
        exact = name.startswith("exact")
        how = {"color": "k", "ls": "--"} if exact else {"color": f"C{index}", "lw": 4.5 - index}
        axis.plot(wrong, label=name, **how)
    axis.set_xlabel("step")
    axis.set_ylabel("share of wrong labels, on its own")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7)
    axis.set_title("errors feed on errors (seed 0)", fontsize=10)


def _huszar(axis: Any, table: Any) -> None:
    """table: rows (ε, probability learned), a row a seed and ε."""
    table = np.asarray(table)
    line = np.linspace(0, 1, 50)
    axis.plot(line, huszar.optimum(line), color="k", label="0.95 ε + 0.5 (1 - ε)")
    axis.axhline(huszar.STAY, color="0.6", ls=":", label="the source's own")
    axis.scatter(table[:, 0], table[:, 1], s=16, color="C3", label="learned, a point a seed")
    axis.set_xlabel("ε, probability of a true input")
    axis.set_ylabel("Q(x₂ = x₁ | x₁)")
    axis.legend(fontsize=7)
    axis.set_title("Huszár's source of two steps", fontsize=10)
