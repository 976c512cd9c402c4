"""Where the heads of a trained network read and write, over time."""

from pathlib import Path
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import seqjax as sj
from experiments.ntm.arms import PLANS, network
from experiments.ntm.problems import PROBLEMS, Rows


def watch(net: sj.Stack, params: Any, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs [T, O] for the first row, and weightings [T, N, S] of its read and write heads."""

    def step(carry, x):
        carry, y = net.step(params, carry, x)
        return carry, (jax.nn.sigmoid(y), carry[0].read_weights, carry[0].write_weights)

    seen = sj.scan(step, net.initial_carry(params, 1), rows.xs[:1])[1]
    ys, reads, writes = (np.asarray(part[0]) for part in seen)
    return ys, reads, writes


def used(weights: np.ndarray) -> tuple[np.ndarray, int]:
    """Weightings [T, S] cut to the slots that are ever in use, and the number of the first one.

    Numbers run from -S / 2, so that the ring is cut opposite of slot 0, where heads begin.
    """
    slots = weights.shape[1]
    centred = np.roll(weights, slots // 2, axis=1)
    places = np.flatnonzero(centred.max(axis=0) > 0.1)
    low, high = (max(places[0] - 2, 0), places[-1] + 3) if places.size else (0, slots)
    return centred[:, low:high], int(low - slots // 2)


def draw(path: Path, name: str, params: Any, label: str) -> Path:
    """What comes in and out and where the heads are, a column for each of the first two tests."""
    problem, key = PROBLEMS[name], jax.random.key(7)
    net = network(PLANS[name][0].cell, problem)
    tests = list(problem.tests.items())[:2]
    figure, axes = plt.subplots(5, len(tests), figsize=(6.5 * len(tests), 9), squeeze=False,
        layout="constrained", height_ratios=(1, 1, 1, 2.2, 2.2))  # fmt: skip
    for column, (test, span) in enumerate(tests):
        rows, title = problem.draw(key, 1, *span), f"{name}, {test}, {label}"
        ys, reads, writes = watch(net, params, rows)
        mask = np.asarray(rows.mask[0])[:, None]
        panels = [("inputs", np.asarray(rows.xs[0]), 0)]
        panels += [("targets", np.asarray(rows.targets[0]), 0), ("outputs", ys * mask, 0)]
        panels += [("write weights, slot", *used(writes.max(axis=1)))]
        panels += [("read weights, slot", *used(reads.max(axis=1)))]
        for axis, (part, image, first) in zip(axes[:, column], panels, strict=True):
            extent = (-0.5, image.shape[0] - 0.5, first - 0.5, first + image.shape[1] - 0.5)
            axis.imshow(image.T, aspect="auto", origin="lower", cmap="gray_r", extent=extent,
                vmin=0, vmax=1, interpolation="nearest")  # fmt: skip
            axis.set_ylabel(part, fontsize=8)
            axis.tick_params(labelsize=7)
        axes[0, column].set_title(title, fontsize=9)
        axes[-1, column].set_xlabel("step", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
