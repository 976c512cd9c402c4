"""A picture of every diagnostic."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.gradients.clipping import TIMES
from experiments.gradients.report import WHEN
from experiments.lab.folder import RunFolder
from experiments.sources.adding import BASELINE

COLORS = {"initial": "0.55", "trained": "C3"}
TITLES = {"initial": "at initialisation", "trained": "trained"}


def draw_all(folder: RunFolder, results: dict[str, Any]) -> None:
    """One file a diagnostic."""
    for draw in (flow, exponents, saturation, influence):
        with folder.writing(f"{draw.__name__}.png") as path:
            draw(path, results)


def panels(results: dict[str, Any], rows: int = 1, **how):
    """A column for each network."""
    figure, axes = plt.subplots(
        rows,
        len(results),
        figsize=(3.3 * len(results), 2.9 * rows),
        layout="constrained",
        squeeze=False,
        **how,
    )
    for axis, name in zip(axes[0], results, strict=True):
        axis.set_title(name, fontsize=10)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Writes and forgets a figure."""
    figure.savefig(path, dpi=110)
    plt.close(figure)


def flow(path: Path, results: dict[str, Any]) -> None:
    """Norms of the Jacobians of the last state, by lag: of states above, of inputs below."""
    figure, axes = panels(results, rows=2, sharex=True, sharey="row")
    for column, each in zip(axes.T, results.values(), strict=True):
        for when in WHEN:
            for i, seed in enumerate(each[when]):
                label = TITLES[when] if i == 0 else None
                for axis, key in zip(column, ("log_norms", "log_input_norms"), strict=True):
                    curve = np.array(seed[key]) / np.log(10)
                    axis.plot(curve, color=COLORS[when], lw=1.2, label=label)
                gains = np.array(seed["log_gains"]) / np.log(10)
                column[0].plot(gains, color=COLORS[when], lw=0.8, ls=":")
        column[0].axhline(0, color="k", lw=0.5)
        column[1].set_xlabel("lag k, steps", fontsize=8)
    axes[0, 0].set_ylabel(r"$\log_{10}\,\|\partial h_T/\partial h_{T-k}\|$", fontsize=9)
    axes[1, 0].set_ylabel(r"$\log_{10}\,\|\partial h_T/\partial x_{T-k}\|$", fontsize=9)
    axes[0, 0].legend(fontsize=7)
    axes[0, -1].plot([], [], "k:", lw=0.8, label="root mean square")
    axes[0, -1].legend(fontsize=7)
    save(figure, path)


def exponents(path: Path, results: dict[str, Any]) -> None:
    """All Lyapunov exponents, largest first."""
    figure, axes = panels(results, sharey=True)
    for axis, each in zip(axes[0], results.values(), strict=True):
        for when in WHEN:
            for i, seed in enumerate(each[when]):
                values = np.sort(seed["exponents"])[::-1]
                label = TITLES[when] if i == 0 else None
                axis.plot(np.maximum(values, -8), color=COLORS[when], lw=1.2, label=label)
        axis.axhline(0, color="k", lw=0.5)
        axis.set_xlabel("number of the exponent", fontsize=8)
    axes[0, 0].set_ylabel("Lyapunov exponent, nats a step", fontsize=8)
    axes[0, 0].legend(fontsize=7)
    save(figure, path)


def saturation(path: Path, results: dict[str, Any]) -> None:
    """How often each unit of each gate is open, over how often it is shut."""
    figure, axes = panels(results, rows=2, sharex=True, sharey=True)
    for column, each in zip(axes.T, results.values(), strict=True):
        for axis, when in zip(column, WHEN, strict=True):
            for name, gate in each[when][0]["saturation"].items():
                axis.scatter(gate["left"], gate["right"], s=9, alpha=0.7, label=name)
            axis.plot([0, 1], [1, 0], color="0.8", lw=0.8)
            axis.set_xlim(-0.04, 1.04)
            axis.set_ylim(-0.04, 1.04)
            axis.legend(fontsize=7)
        column[1].set_xlabel("share of time at the left end", fontsize=8)
    for axis, when in zip(axes[:, 0], WHEN, strict=True):
        axis.set_ylabel(f"{TITLES[when]}:\nat the right end", fontsize=8)
    save(figure, path)


def influence(path: Path, results: dict[str, Any]) -> None:
    """How much a character counts for the next one's probability, by distance."""
    figure, axes = panels(results, sharey=True)
    for axis, each in zip(axes[0], results.values(), strict=True):
        for when in WHEN:
            for i, seed in enumerate(each[when]):
                label = TITLES[when] if i == 0 else None
                axis.semilogy(seed["influence"], color=COLORS[when], lw=1.2, label=label)
            half = np.median([seed["influence_half_life"] for seed in each[when]])
            if np.isfinite(half):
                axis.axvline(half, color=COLORS[when], lw=0.8, ls=":")
        axis.set_xlabel("distance k, characters", fontsize=8)
    axes[0, 0].set_ylabel(r"$E\,\|\partial \log p_t/\partial x_{t-k}\|$", fontsize=9)
    axes[0, 0].legend(fontsize=7)
    axes[0, 0].set_ylim(bottom=1e-8)
    save(figure, path)


def clipping(path: Path, study: list[dict[str, Any]]) -> None:
    """Losses of all runs above; below, how many times larger params ended than they began."""
    settings = list(dict.fromkeys((row["optimizer"], row["rate"]) for row in study))
    size = (3.3 * len(settings), 5.2)
    figure, axes = plt.subplots(
        2, len(settings), figsize=size, layout="constrained", sharey="row", squeeze=False
    )
    clips = list(dict.fromkeys(row["clip"] for row in study))
    for (axis, below), setting in zip(axes.T, settings, strict=True):
        axis.set_title(f"{setting[0]}, {setting[1]:g}", fontsize=10)
        for row in study:
            if (row["optimizer"], row["rate"]) != setting:
                continue
            place = clips.index(row["clip"])
            for curve in row["curve"]:
                smooth = np.convolve(np.clip(curve, 0, 1e6), np.ones(10) / 10, "valid")
                axis.semilogy(smooth, color=f"C{place}", lw=0.6)
            offsets = place + np.linspace(-0.2, 0.2, len(row["growth"]))
            below.semilogy(offsets, np.clip(row["growth"], 0, 1e30), "o", color=f"C{place}", ms=3)
        axis.axhline(BASELINE, color="k", lw=0.8, ls=":")
        axis.set_xlabel("update", fontsize=8)
        below.axhline(TIMES, color="k", lw=0.8, ls="--")
        below.set_xticks(range(len(clips)), [f"clip: {clip}" for clip in clips], fontsize=8)
        below.set_xlim(-0.5, len(clips) - 0.5)
    axes[0, 0].set_ylabel("squared error, mean of 10 batches", fontsize=8)
    axes[1, 0].set_ylabel("params at the end, times as large", fontsize=8)
    save(figure, path)
