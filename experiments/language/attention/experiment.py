"""Encoder-decoders with and without attention, on tasks whose alignment is known."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report, Table
from experiments.lab.task import TEST, Task, estimate
from experiments.language.attention.data import SYMBOLS, TASKS, Pairs, draw
from experiments.language.attention.model import ARMS, Arm

SHORTEST, LONGEST = 5, 40  # of training
LENGTHS = 5, 10, 20, 30, 40, 60  # of measuring
GATED = 30
BATCH, ROWS = 32, 128
EXACT, MASS = 0.95, 0.8  # what attention has to reach at GATED
LOST = 0.2  # what nothing without it should
MASSES = f"mass at {GATED}", f"mass within 1 at {GATED}"


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train encoder-decoders of equal size with and without attention, and decode by length."""

    steps: int = 500
    """Batches of 32 rows that each run is trained on."""
    general: bool = False
    """Run general attention too, three minutes more."""


def make_task(arm: Arm, name: str, steps: int, lengths=LENGTHS, rows: int = ROWS) -> Task:
    """Trains on lengths 5 to 40; the learning rate is chosen by symbols right at these lengths."""

    def loss(params, key):
        return arm.loss(params, draw(name, key, BATCH, SHORTEST, LONGEST, LONGEST))

    def evaluate(params, key, split):
        del split  # fresh rows, from another key
        size = max(lengths)

        def at(length):
            own = jax.random.fold_in(key, length)
            return measure(arm, params, draw(name, own, rows, length, length, size))

        right, exact, mass, near = jax.lax.map(at, jnp.array(lengths))
        known = [i for i, length in enumerate(lengths) if length <= LONGEST]
        found = {"symbols right": estimate(jnp.stack([right[i] for i in known], axis=1))}
        for i, length in enumerate(lengths):
            found[f"exact match at {length}"] = estimate(exact[i])
            if arm.attention is not None:
                found[f"mass at {length}"] = estimate(mass[i])
                found[f"mass within 1 at {length}"] = estimate(near[i])
        return found

    mass = {} if arm.attention is None else {f"mass at {GATED}": 1 - MASS}
    return Task(
        name=f"{name}, {arm.name}",
        init=arm.init,
        loss=loss,
        evaluate=evaluate,
        metric="symbols right",
        optimum={"symbols right": 1.0} | dict.fromkeys(mass, 1.0),
        baseline=SYMBOLS**-GATED if name != "expansion" else 0.0,
        gate=0.0 if arm.attention is None else EXACT,
        steps=steps,
        rates=(5e-3, 1e-2),
        gated=f"exact match at {GATED}",
        margins=mass,
    )


def measure(arm: Arm, params, pairs: Pairs) -> tuple[jax.Array, ...]:
    """Of each row [N]: the share of symbols right, whether all are, the mass of attention on the
    place that the symbol had to be written from, and that on it and its neighbours; all without
    teacher forcing.
    """
    tokens, alignments = arm.write(params, pairs)
    same, real = tokens == pairs.target, pairs.target_mask
    share = lambda a, real: jnp.sum(a * real, axis=1) / jnp.sum(real, axis=1)
    as_float = lambda a: a.astype(jnp.float32)
    places = pairs.position[..., None]
    away = jnp.abs(jnp.arange(alignments.shape[2]) - places)
    within = lambda reach: jnp.sum(jnp.where(away <= reach, alignments[:, :-1], 0), axis=2)
    mass, near = (share(within(reach), as_float(real[:, 1:])) for reach in (0, 1))
    right = share(as_float(same), as_float(real))
    return right, as_float(jnp.all(same, axis=1)), mass, near


def tasks(config: Config) -> list[Task]:
    """Every arm on every task."""
    arms = ARMS if config.general else ARMS[:-1]
    return [make_task(arm, name, config.steps) for name in TASKS for arm in arms]


def trained(results: Results) -> Iterator[tuple[str, Arm, dict[str, Any]]]:
    """Task, arm and what was found, for those that were run."""
    for name in TASKS:
        for arm in ARMS:
            if f"{name}, {arm.name}" in results.found:
                yield name, arm, results.found[f"{name}, {arm.name}"]


def report(config: Config, results: Results) -> Report:
    """Exact match by length, and the mass on the true place; what falls short of the literature."""
    rows, misses, passed, lost = [], [], [], 0.0
    for name, arm, found in trained(results):
        test, title = found["test"], f"{name}, {arm.name}"
        cells = [test[f"exact match at {length}"]["mean"] for length in LENGTHS]
        cells += [test[mass]["mean"] for mass in MASSES if mass in test]
        shown = [f"{cell:.3f}" for cell in cells] + [""] * (len(LENGTHS) + 2 - len(cells))
        rows.append([title, f"{found['parameters']:,}", *shown, f"{found['rate']:g}"])
        reached = test[f"exact match at {GATED}"]["max"]
        if arm.attention is not None:
            passed += [] if found["failed_seeds"] else [title]
        else:
            lost = max(lost, reached)
            if reached >= LOST:
                misses.append(f"not lost: {title} reaches {reached:.3f} at length {GATED}")
    caption = (
        f"Rows of test data written greedily without a mistake, by length, means of {config.seeds} "
        f"seeds; the mass of attention on the true place at {GATED}, and within one of it. The "
        f"best possible is 1, guessing reaches 0; the gates are {EXACT} at {GATED} with a mass of "
        f"{MASS}:"
    )
    header = ["", "parameters", *map(str, LENGTHS), "mass", "within 1", "rate"]
    line = f"Every seed reaches the gates of: {'; '.join(passed) or 'none'}."
    blind = f" Without attention at most {lost:.3f} of rows of {GATED} are right."
    return Report(line + blind, [Table(header, rows, caption)], misses)


def example(arm: Arm, name: str, params, length: int = 20) -> dict[str, np.ndarray]:
    """What one row of test data was written as, and where the model looked."""
    key = jax.random.fold_in(jax.random.key(2**31 - 1), TEST)
    pairs = draw(name, key, 1, length, length, length)
    tokens, alignments = jax.jit(arm.write)(params, pairs)
    number = int(pairs.source_mask.sum())
    return {
        "source": np.asarray(pairs.source[0, :number]),
        "written": np.asarray(tokens[0, :length]),
        "target": np.asarray(pairs.target[0, :length]),
        "alignment": np.asarray(alignments[0, :length, :number]),
    }


def pictures(config: Config, results: Results) -> dict[str, Any]:
    """Exact match by length, and where each written symbol was read from by the first seed."""
    found = {"attention.png": curves(results)}
    looked = {
        f"{name}, {arm.name}": example(
            arm, name, jax.tree.map(lambda a: a[0], results.params[f"{name}, {arm.name}"])
        )
        for name, arm, _ in trained(results)
        if arm.attention is not None
    }
    return found | ({"alignments.png": alignments(looked)} if looked else {})


def curves(results: Results) -> Any:
    """Exact match by length: a line for the mean over the seeds, a band for all of them."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for name, *_ in trained(results)))
    size = (4.2 * len(names), 3.4)
    figure, axes = plt.subplots(1, len(names), figsize=size, layout="constrained", squeeze=False)
    for name, arm, result in trained(results):
        axis, color = axes[0, names.index(name)], f"C{ARMS.index(arm)}"
        found = [result["test"][f"exact match at {n}"] for n in LENGTHS]
        low, mean, high = ([one[key] for one in found] for key in ("min", "mean", "max"))
        axis.plot(LENGTHS, mean, "o-", ms=3, color=color, label=arm.name)
        axis.fill_between(LENGTHS, low, high, color=color, alpha=0.2, lw=0)
    for axis, name in zip(axes[0], names, strict=True):
        axis.axvspan(LONGEST, max(LENGTHS), color="0.93", zorder=0)
        axis.text(LONGEST + 1, 0.1, "longer than\nin training", fontsize=7)
        axis.set(title=name, xlabel="symbols to write", ylim=(-0.03, 1.03))
        axis.legend(fontsize=7)
    axes[0, 0].set_ylabel("rows written without a mistake")
    return figure


def alignments(looked: dict[str, dict[str, np.ndarray]]) -> Any:
    """Where each written symbol was read from, one row of test data a task; mistakes in red."""
    import matplotlib.pyplot as plt

    columns = min(3, len(looked))
    rows = -(-len(looked) // columns)
    size = (3.6 * columns, 3.6 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat[len(looked) :]:
        axis.set_axis_off()
    for axis, (title, found) in zip(axes.flat, looked.items(), strict=False):
        axis.imshow(found["alignment"], cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axis.set_xticks(range(len(found["source"])), found["source"], fontsize=6)
        axis.set_yticks(range(len(found["written"])), found["written"], fontsize=6)
        for place in np.flatnonzero(found["written"] != found["target"]):
            axis.get_yticklabels()[place].set_color("C3")
        axis.set_title(title, fontsize=8)
        axis.set(xlabel="source", ylabel="written")
    return figure


EXPERIMENT = Experiment(
    name="attention",
    source="Sutskever et al. 2014; Bahdanau et al. 2015; Chorowski et al. 2015",
    data="drawn: sequences to copy, to reverse, and numbers to write in base 6",
    minutes=9,
    config=Config,
    tasks=tasks,
    report=report,
    draw=pictures,
    quick={"seeds": 1, "steps": 60, "only": "copy"},
    tiny={"seeds": 1, "steps": 1, "only": "copy, additive"},
)
