"""The table, the curves by length and the pictures of alignments."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.attention.models import Arm
from experiments.attention.tasks import GATED, LENGTHS, LONGEST, LOST


def table(arms: list[Arm], names: list[str], results: dict[str, Any], sizes: dict[str, int]) -> str:
    """Exact match by length, mass on the true place, means over the seeds."""
    heads = [f"{length:>5}" for length in LENGTHS]
    title = (
        f"{'exact match at length':<40}{'params':>8}  {' '.join(heads)}   mass    ±1   rate  failed"
    )
    lines = [
        title,
        f"{'best possible':<48}  " + " ".join(["1.000"] * len(LENGTHS)) + "  1.000 1.000",
    ]
    lines.append(f"{'guessing':<48}  " + " ".join(["0.000"] * len(LENGTHS)))
    for name in names:
        for arm in arms:
            result = results[f"{name}, {arm.name}"]
            test = result["test"]
            exact = " ".join(f"{test[f'exact match at {n}']['mean']:.3f}" for n in LENGTHS)
            masses = [test.get(f"{kind} at {GATED}") for kind in ("mass", "mass within 1")]
            shown = " ".join("     " if m is None else f"{m['mean']:.3f}" for m in masses)
            failed = ", ".join(map(str, result["failed_seeds"])) or "none"
            start = f"{name + ', ' + arm.name:<40}{sizes[arm.name]:>8,}"
            lines.append(f"{start}  {exact}  {shown}  {result['rate']:.3f}  {failed}")
    return "\n".join(lines)


def verdicts(arms: list[Arm], names: list[str], results: dict[str, Any]) -> list[str]:
    """What falls short of what the literature says, one line each."""
    lines = []
    exact = lambda name, arm, n: results[f"{name}, {arm.name}"]["test"][f"exact match at {n}"]
    for name in names:
        for arm in arms:
            failed = results[f"{name}, {arm.name}"]["failed_seeds"]
            if failed:
                lines.append(f"failed: {name}, {arm.name}, seeds {', '.join(map(str, failed))}")
            if arm.attention is None and exact(name, arm, GATED)["max"] >= LOST:
                lines.append(f"not lost: {name}, {arm.name} reaches {LOST} at length {GATED}")
    return lines


def draw_curves(path: Path, arms: list[Arm], names: list[str], results: dict[str, Any]) -> Path:
    """Exact match by length: a line for the mean over the seeds, a band for all of them."""
    figure, axes = plt.subplots(
        1, len(names), figsize=(4.2 * len(names), 3.4), layout="constrained", squeeze=False
    )
    for axis, name in zip(axes[0], names, strict=True):
        for number, arm in enumerate(arms):
            test = results[f"{name}, {arm.name}"]["test"]
            found = [test[f"exact match at {n}"] for n in LENGTHS]
            low, mean, high = ([one[key] for one in found] for key in ("min", "mean", "max"))
            axis.plot(LENGTHS, mean, "o-", ms=3, color=f"C{number}", label=arm.name)
            axis.fill_between(LENGTHS, low, high, color=f"C{number}", alpha=0.2, lw=0)
        axis.axvspan(LONGEST, max(LENGTHS), color="0.93", zorder=0)
        axis.set(title=name, xlabel="symbols to write", ylim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("rows written without a mistake")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), fontsize=7, ncols=3, loc="outside lower center"
    )
    for axis in axes[0]:
        axis.text(LONGEST + 1, 0.1, "longer than\nin training", fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def draw_alignments(
    path: Path, arms: list[Arm], names: list[str], examples: dict[str, dict[str, np.ndarray]]
) -> Path:
    """Where each written symbol was read from, one row of test data a task."""
    looking = [arm for arm in arms if arm.attention is not None]
    figure, axes = plt.subplots(
        len(looking),
        len(names),
        figsize=(3.6 * len(names), 3.6 * len(looking)),
        layout="constrained",
        squeeze=False,
    )
    for row, arm in zip(axes, looking, strict=True):
        for axis, name in zip(row, names, strict=True):
            found = examples[f"{name}, {arm.name}"]
            axis.imshow(found["alignment"], cmap="Greys", vmin=0, vmax=1, aspect="auto")
            axis.set_xticks(range(len(found["source"])), found["source"], fontsize=6)
            axis.set_yticks(range(len(found["written"])), found["written"], fontsize=6)
            wrong = np.flatnonzero(found["written"] != found["target"])
            for place in wrong:
                axis.get_yticklabels()[place].set_color("C3")
            axis.set_title(f"{name}, {arm.name}", fontsize=8)
            axis.set_xlabel("source", fontsize=7)
            axis.set_ylabel("written", fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
