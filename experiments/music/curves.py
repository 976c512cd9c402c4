"""The picture of a run: training and validation loss against the n-gram's."""

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def curves(history: dict[str, Any], baseline: float, order: int) -> Figure:
    """Training and validation loss against the n-gram's, and the gradient's norm."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(8, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    top.plot(*_columns(history["train"]), color="0.75", label="training, each window")
    top.plot(*_columns(history["valid"]), "o-", label="validation")
    top.axhline(baseline, color="C3", ls="--", label=f"Kneser-Ney, order {order}, validation")
    lowest = min([baseline, *(value for _, value in history["valid"])])
    top.set_ylim(lowest - 0.3, lowest + 1.7)
    top.set_ylabel("bits per character")
    top.legend(frameon=False)
    bottom.semilogy(*_columns(history["grad_norm"]), color="0.5")
    bottom.set_ylabel("gradient norm")
    bottom.set_xlabel("step")
    return figure


def _columns(points: Sequence) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]
