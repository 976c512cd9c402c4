"""The table, the verdict and the picture of the pronunciation experiment."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.pronunciation.arms import METRIC, Arm

KINDS = "ML", "smoothing", "RAML"


def chosen(arms: list[Arm], results: dict[str, Any]) -> dict[str, Arm]:
    """Of each kind the arm that is best on validation words, at its best learning rate."""
    valid = lambda arm: min(results[arm.name]["validation"].values())
    return {
        kind: min((arm for arm in arms if arm.kind == kind), key=valid)
        for kind in KINDS
        if any(arm.kind == kind for arm in arms)
    }


def verdict(arms: list[Arm], results: dict[str, Any]) -> list[str]:
    """What the chosen arms reached on test words, and which differences their seeds leave open."""
    lines, errors = [], {}
    for kind, arm in chosen(arms, results).items():
        test = results[arm.name]["test"]
        errors[kind] = np.array(test[METRIC]["seeds"])
        lines.append(
            f"{arm.name}: {100 * test[METRIC]['mean']:.2f} % of phones wrong, "
            f"{100 * test['exact match']['mean']:.2f} % of words right"
        )
    if "RAML" in errors:
        for kind in errors.keys() - {"RAML"}:
            apart = 100 * (errors["RAML"] - errors[kind])
            better = "better" if apart.mean() < 0 else "not better"
            each = ", ".join(f"{a:+.2f}" for a in apart)
            lines.append(
                f"RAML is {better} than {kind}: {apart.mean():+.2f} points of phone error rate "
                f"(seeds {each})"
            )
    return lines


def draw(path: Path, arms: list[Arm], results: dict[str, Any], baseline: dict[str, float]) -> None:
    """Error of phones and words right of every arm, a point a seed, by edits a target."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    best = chosen(arms, results)
    for axis, metric in zip(axes, (METRIC, "exact match"), strict=True):
        for place, arm in enumerate(arms):
            seeds = 100 * np.array(results[arm.name]["test"][metric]["seeds"])
            color = f"C{KINDS.index(arm.kind)}"
            axis.scatter([place] * len(seeds), seeds, s=18, color=color, zorder=3)
            edge = "k" if arm in best.values() else color
            axis.plot([place - 0.3, place + 0.3], [seeds.mean()] * 2, color=edge, lw=2)
        ml = [100 * results["ML"]["test"][metric]["mean"]] if "ML" in results else []
        for value in ml:
            axis.axhline(value, color="0.6", lw=1, ls="--", label="mean of ML")
        axis.set_xticks(range(len(arms)), [arm.name for arm in arms], rotation=40, ha="right")
        title = "phones wrong" if metric == METRIC else "words right"
        axis.set_title(f"{title}, held-out words; nearest spelling {100 * baseline[metric]:.1f} %")
        axis.set_ylabel("%")
        axis.legend(fontsize=8)
    figure.supxlabel(
        "a point a seed, a bar their mean; black: chosen on validation words", fontsize=8
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
