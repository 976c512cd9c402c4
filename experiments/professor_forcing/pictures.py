"""The picture: accuracy of the discriminator through training, and what was reached."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def draw(path: Path, results: dict[str, Any], steps: int, floor: float, shuffled: float) -> None:
    """Four panels, a line or a point a seed."""
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.8), layout="constrained")
    watched = next(r["watched"] for r in results.values() if r["watched"] is not None)
    for seed, curve in enumerate(watched):
        axes[0].plot((np.arange(len(curve)) + 1) * steps / len(curve), curve, f"C{seed}", lw=1)
    for gate in (0.75, 0.99):
        axes[0].axhline(gate, color="k", ls=":", lw=1)
    axes[0].set_xlabel("step")
    axes[0].set_title(
        "accuracy of its own discriminator,\nprofessor forcing; gates dotted", fontsize=9
    )
    _points(axes[1], results, lambda r: r["fresh_judge"]["seeds"])
    axes[1].axhline(0.5, color="k", ls=":", lw=1)
    axes[1].set_title("accuracy of a fresh discriminator,\nheld-out text", fontsize=9)
    _points(axes[2], results, lambda r: r["test"]["nats/character"]["seeds"])
    axes[2].set_title("test nats/character", fontsize=9)
    _points(axes[3], results, lambda r: r["test"]["KL of pairs, beyond 50"]["seeds"])
    axes[3].axhline(floor, color="k", ls="--", lw=1)
    axes[3].set_title(
        f"KL of pairs of written characters 51 to 200\n(real text {floor:.3f}, shuffled "
        f"{shuffled:.2f})",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _points(axis: Any, results: dict[str, Any], seeds_of: Any) -> None:
    for place, result in enumerate(results.values()):
        seeds = seeds_of(result)
        spread = place + np.linspace(-0.1, 0.1, len(seeds))
        axis.scatter(spread, seeds, s=24, color=[f"C{i}" for i in range(len(seeds))])
    axis.set_xticks(range(len(results)), [name.replace(" ", "\n") for name in results], fontsize=8)
    axis.set_xlim(-0.5, len(results) - 0.5)
