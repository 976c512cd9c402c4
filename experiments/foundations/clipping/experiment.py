"""How many runs diverge with and without clipping of gradients."""

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.foundations.clipping.model import CLIPS, OPTIMIZERS, train
from experiments.lab.experiment import Experiment, Results, Settings
from experiments.lab.folder import RunFolder
from experiments.lab.record import Report, Table
from experiments.sources.adding import BASELINE

RATES = (1e-3, 1e-2)
TIMES = 10  # how much larger than at first losses, or params, are that have got out of hand
LAST = 50


@dataclass(frozen=True)
class Config(Settings):
    """Train networks whose gradients explode, by SGD and Adam, with clipping and without."""

    seeds: int = 10
    """Runs of each setting."""
    steps: int = 500
    """Updates of each run."""
    length: int = 100
    """Numbers in a row, two of which are to be added."""
    threads: int = 2
    """Runs of a setting that go on at the same time."""


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def run(name: str, clip: str, steps: int, length: int, rate: jax.Array, key: jax.Array):
    """`train` by the optimiser of that name; one program for all learning rates."""
    return train(optax.chain(CLIPS[clip], OPTIMIZERS[name](rate)), steps, length, key)


def diverged(losses: np.ndarray) -> np.ndarray:
    """Which runs, [N] of losses [N, steps], hold a NaN or end far above where they began."""
    last = losses[:, -LAST:].mean(axis=1)
    return ~np.isfinite(losses).all(axis=1) | ~(last <= TIMES * losses[:, 0])


def measure(config: Config, results: Results, folder: RunFolder) -> dict[str, Any]:
    """Every optimiser, way of clipping and learning rate, so many runs at the same time."""
    del results, folder
    keys = [jax.random.key(seed) for seed in range(config.seeds)]
    study = []
    for name, clip, rate in itertools.product(OPTIMIZERS, CLIPS, RATES):
        # Each on its own: on a CPU small products of one run are faster than wide ones of all.
        one = functools.partial(run, name, clip, config.steps, config.length, jnp.float32(rate))
        with ThreadPoolExecutor(config.threads) as pool:
            done = pool.map(lambda key: jax.tree.map(np.asarray, one(key)), keys)  # noqa: B023
            losses, norms, growth = (np.stack(each) for each in zip(*done, strict=True))
        setting = {"optimizer": name, "rate": rate, "clip": clip}
        study.append(setting | counted(losses, norms, growth))
        print(f"{name}, {rate:g}, clip: {clip}: {study[-1]['thrown']:.0%} thrown", flush=True)
    return {"study": study}


def counted(losses: np.ndarray, norms: np.ndarray, growth: np.ndarray) -> dict[str, Any]:
    """What became of the runs of a setting, from losses and norms [N, steps], and growth [N]."""
    return {
        "diverged": float(diverged(losses).mean()),
        "diverged_seeds": np.flatnonzero(diverged(losses)).tolist(),
        "thrown": float((~(growth <= TIMES)).mean()),
        "growth": growth.tolist(),
        "last_loss": losses[:, -LAST:].mean(axis=1).tolist(),
        "largest_norm": float(np.nanmax(norms)),
        "curve": losses.tolist(),
    }


def report(config: Config, results: Results) -> Report:
    """The shares of runs that diverged and whose weights were thrown away, and their norms."""
    study = results.measured["study"]
    rows = [
        [
            f"{row['optimizer']}, {row['rate']:g}, clip: {row['clip']}",
            f"{row['diverged']:.0%}",
            f"{row['thrown']:.0%}",
            *(f"{np.median(row[key]):.3g}" for key in ("growth", "last_loss")),
            f"{row['largest_norm']:.2g}",
        ]
        for row in study
    ]
    caption = (
        f"Of {config.seeds} runs of {config.steps} updates, those of which losses (diverged) or "
        f"params (thrown) end more than {TIMES} times as large as they began; medians of the "
        "growth of params and of the last losses (always saying 1 has "
        f"{BASELINE:.3f}); the largest norm of a gradient:"
    )
    thrown = lambda clip: max(row["thrown"] for row in study if row["clip"] == clip)
    shares = ", ".join(f"{thrown(clip):.0%} with clip: {clip}" for clip in CLIPS)
    header = ["", "diverged", "thrown", "growth", "last loss", "largest norm"]
    return Report(
        f"Params of the worst setting that end far from where they began: {shares}.",
        [Table(header, rows, caption)],
    )


def draw(config: Config, results: Results) -> dict[str, Any]:
    """Losses of all runs above; below, how many times larger params ended than they began."""
    import matplotlib.pyplot as plt

    study = results.measured["study"]
    settings = list(itertools.product(OPTIMIZERS, RATES))
    size = (3.3 * len(settings), 5.2)
    figure, axes = plt.subplots(2, len(settings), figsize=size, layout="constrained", sharey="row")
    for (axis, below), setting in zip(axes.T, settings, strict=True):
        axis.set_title(f"{setting[0]}, {setting[1]:g}", fontsize=10)
        for place, clip in enumerate(CLIPS):
            key = (*setting, clip)
            row = next(r for r in study if (r["optimizer"], r["rate"], r["clip"]) == key)
            for curve in row["curve"]:
                ten = min(10, len(curve))
                smooth = np.convolve(np.clip(curve, 0, 1e6), np.ones(ten) / ten, "valid")
                axis.semilogy(smooth, color=f"C{place}", lw=0.6)
            offsets = place + np.linspace(-0.2, 0.2, len(row["growth"]))
            below.semilogy(offsets, np.clip(row["growth"], 0, 1e30), "o", color=f"C{place}", ms=3)
        axis.axhline(BASELINE, color="k", lw=0.8, ls=":")
        axis.set_xlabel("update", fontsize=8)
        below.axhline(TIMES, color="k", lw=0.8, ls="--")
        below.set_xticks(range(len(CLIPS)), [f"clip: {clip}" for clip in CLIPS], fontsize=8)
        below.set_xlim(-0.5, len(CLIPS) - 0.5)
    axes[0, 0].set_ylabel("squared error, mean of 10 batches", fontsize=8)
    axes[1, 0].set_ylabel("params at the end, times as large", fontsize=8)
    return {"clipping.png": figure}


EXPERIMENT = Experiment(
    name="clipping",
    source="Pascanu et al. 2013",
    data="drawn: numbers, two of them marked",
    minutes=1,
    config=Config,
    measure=measure,
    report=report,
    draw=draw,
    quick={"seeds": 2, "steps": 100},
    tiny={"seeds": 1, "steps": 2, "length": 6},
)
