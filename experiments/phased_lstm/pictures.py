"""Accuracy by epoch for each arm, and when units of a trained Phased LSTM are open."""

from pathlib import Path
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import seqjax as sj
from experiments.lab.task import Task
from experiments.phased_lstm.sines import Waves

UNITS = 12  # of which gates are drawn


def draw_results(
    path: Path,
    tasks: list[Task],
    results: dict[str, Any],
    rows_per_epoch: float,
    phased: tuple[sj.cells.PhasedLSTM, Any, Waves],
) -> Path:
    """Left the accuracies, right one wave and the gates that it meets.

    Args:
      path: of the picture.
      tasks: the arms.
      results: what `sweep` found, by task.
      rows_per_epoch: of training, in steps.
      phased: a cell, its params, and waves of which the first is drawn.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    for color, task in enumerate(tasks):
        curves = np.array(results[task.name]["watched"])
        epochs = (np.arange(curves.shape[1]) + 1) * task.steps / curves.shape[1] / rows_per_epoch
        left.plot(epochs, curves.mean(axis=0), color=f"C{color}", label=task.name)
        left.fill_between(
            epochs, curves.min(axis=0), curves.max(axis=0), color=f"C{color}", alpha=0.2
        )
    left.axhline(tasks[0].baseline, color="0.5", ls=":", label="always special")
    left.set(xlabel="epoch of 5,000 waves", ylabel="accuracy on held-out waves", ylim=(0.45, 1.01))
    left.legend(fontsize=8, loc="lower right")
    _gates(right, *phased)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _gates(axis: Any, cell: sj.cells.PhasedLSTM, params: Any, waves: Waves) -> None:
    """Gates of some units over time, fastest below; samples as ticks, where they update as dots."""
    count = int(waves.lengths[0])
    samples, values = np.asarray(waves.times[0, :count]), np.asarray(waves.values[0, :count])
    fine = np.linspace(samples[0], samples[-1], 4000, dtype=np.float32)
    order = np.argsort(np.asarray(params.log_period))
    chosen = order[np.linspace(0, len(order) - 1, UNITS).astype(int)]
    gates, met = (np.asarray(cell.time_gate(params, jax.numpy.asarray(t))) for t in (fine, samples))
    for place, unit in enumerate(chosen):
        axis.fill_between(fine, place, place + 0.85 * gates[:, unit], color="C2", lw=0)
        opened = met[:, unit] > cell.leak
        axis.plot(samples[opened], place + 0.85 * met[opened, unit], "k.", ms=4)
    periods = np.exp(np.asarray(params.log_period))[chosen]
    axis.set_yticks(np.arange(UNITS) + 0.4, [f"{period:.1f}" for period in periods], fontsize=7)
    axis.plot(samples, UNITS + 1 + 0.8 * values, "C0.-", lw=0.7, ms=4)
    axis.set(xlabel="time", ylabel="period of the unit")
    axis.set_title("a wave, and the gates of 12 units (dots: updates)", fontsize=9)
