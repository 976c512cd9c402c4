"""Waves sampled at uneven times, by clock and without: Neil et al. 2016, first task."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab import tables
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report, Table
from experiments.lab.task import VALID, Task, estimate
from experiments.signals.phased_lstm.data import BASELINE, draw
from experiments.signals.phased_lstm.model import ARMS, Arm, updates

ROWS, TEST_ROWS, WATCH_ROWS = 32, 2048, 256
EPOCH = 5000  # waves
MARGIN = 5.0  # points by which a Phased LSTM should be better than any LSTM
UNITS = 12  # of which gates are drawn


@dataclass(frozen=True)
class Config(SweepSettings):
    """Tell sines with a period of 5 to 6 from others, sampled at random times."""

    steps: int = 1500
    """Batches of 32 waves to train on."""
    resolution: float = 0.0
    """Sample every so many units of time instead of at random times; 0 is random."""

    def check(self) -> None:
        """Raises ValueError for a resolution that makes rows of no length or of thousands."""
        super().check()
        if not (self.resolution == 0 or 0.1 <= self.resolution <= 5):
            raise ValueError(f"resolution is {self.resolution}; expected 0, or 0.1 to 5")


def task(arm: Arm, config: Config) -> Task:
    """Half of the rows special; a batch is never seen twice."""
    waves = lambda key, rows: draw(key, rows, config.resolution or None)

    def loss(params, key):
        batch = waves(key, ROWS)
        signed = jnp.where(batch.special, 1.0, -1.0) * arm.logits(params, batch)
        return jax.nn.softplus(-signed).mean()

    def evaluate(params, key, split):
        del split  # other waves, from another key
        batch = waves(key, TEST_ROWS)
        found = {"accuracy": estimate(arm.correct(params, batch))}
        if arm.phased:
            found["share of updates"] = estimate(updates(arm.cell, params, batch))
        return found

    def watch(params):
        batch = waves(jax.random.fold_in(jax.random.key(2**31 - 2), VALID), WATCH_ROWS)
        return arm.correct(params, batch).astype(jnp.float32).mean()

    return Task(
        name=arm.name,
        init=arm.init,
        loss=loss,
        evaluate=evaluate,
        metric="accuracy",
        optimum={"accuracy": 1.0},
        baseline=BASELINE,
        gate=BASELINE + 0.05,  # it has learned something
        steps=config.steps,
        rates=(3e-3, 1e-2),
        watch=watch,
    )


def tasks(config: Config) -> list[Task]:
    """One for each way of telling the time."""
    return [task(arm, config) for arm in ARMS]


def report(config: Config, results: Results) -> Report:
    """Accuracy and updates of each network, and what the clock is worth."""
    test = {name: found["test"] for name, found in results.found.items()}
    points = {name: 100 * one["accuracy"]["mean"] for name, one in test.items()}
    rows = []
    for name, one in test.items():
        share = f"{one['share of updates']['mean']:.2f}" if "share of updates" in one else "1"
        rate = f"{results.found[name]['rate']:g}"
        rows.append([name, f"{points[name]:.1f}", tables.seeds(one["accuracy"], 3), share, rate])
    when = f"every {config.resolution:g}" if config.resolution else "at random times"
    caption = (
        f"Accuracy on test waves, sampled {when}, {config.seeds} seeds; always saying yes is right "
        f"in {100 * BASELINE:.1f} %:"
    )
    head = ["network", "mean, %", "each seed", "updates of a unit, share of samples", "rate"]
    line, misses = verdict(points)
    return Report(line, [Table(head, rows, caption)], misses)


def verdict(points: dict[str, float]) -> tuple[str, list[str]]:
    """How far each Phased LSTM is above the best LSTM; a miss for each that is not far enough."""
    clocks = {arm.name for arm in ARMS if arm.phased}
    plain = [name for name in points if name not in clocks]
    if len(plain) in (0, len(points)):
        return f"Accuracy: {', '.join(f'{n}: {p:.1f} %' for n, p in points.items())}.", []
    best = max(plain, key=points.__getitem__)
    above = {name: points[name] - points[best] for name in points if name in clocks}
    lines = [f"{name}: {margin:+.1f} points" for name, margin in above.items()]
    misses = [
        f"{name} is {margin:+.1f} points above the best LSTM, not {MARGIN:+g}"
        for name, margin in above.items()
        if margin < MARGIN
    ]
    return f"Above the best LSTM ({best}): {'; '.join(lines)} (aim: {MARGIN:+g}).", misses


def picture(config: Config, results: Results) -> dict[str, Any]:
    """Left the accuracies, right a wave and the gates that it meets."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    for color, one in enumerate(results.tasks):
        curves = np.array(results.found[one.name]["watched"])
        steps = (np.arange(curves.shape[1]) + 1) * one.steps / curves.shape[1]
        epochs, color = steps * ROWS / EPOCH, f"C{color}"
        left.plot(epochs, curves.mean(axis=0), color=color, label=one.name)
        left.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.2)
    left.axhline(BASELINE, color="0.5", ls=":", label="always special")
    left.set(xlabel="epoch of 5,000 waves", ylabel="accuracy on held-out waves", ylim=(0.45, 1.01))
    left.legend(fontsize=8, loc="lower right")
    clocks = [arm for arm in ARMS if arm.phased and arm.name in results.params]
    for arm in clocks[-1:]:
        first = jax.tree.map(lambda a: jnp.asarray(a[0]), results.params[arm.name]["cell"])
        gates(right, arm, first, config)
    return {"phased_lstm.png": figure}


def gates(axis: Any, arm: Arm, params: Any, config: Config) -> None:
    """Gates of some units over time, fastest below; samples as ticks, where they update as dots."""
    waves = draw(jax.random.key(0), 1, config.resolution or None)
    count = int(waves.lengths[0])
    samples, values = waves.times[0, :count], waves.values[0, :count]
    fine = jnp.linspace(samples[0], samples[-1], 4000)
    order = np.argsort(np.asarray(params.log_period))
    chosen = order[np.linspace(0, len(order) - 1, UNITS).astype(int)]
    opening, met = (np.asarray(arm.cell.time_gate(params, times)) for times in (fine, samples))
    for place, unit in enumerate(chosen):
        axis.fill_between(fine, place, place + 0.85 * opening[:, unit], color="C2", lw=0)
        opened = met[:, unit] > arm.cell.leak
        axis.plot(samples[opened], place + 0.85 * met[opened, unit], "k.", ms=4)
    periods = np.exp(np.asarray(params.log_period))[chosen]
    axis.set_yticks(np.arange(UNITS) + 0.4, [f"{period:.1f}" for period in periods], fontsize=7)
    axis.plot(samples, UNITS + 1 + 0.8 * values, "C0.-", lw=0.7, ms=4)
    axis.set(xlabel="time", ylabel="period of the unit")
    axis.set_title(f"a wave, and gates of {arm.name} (dots: updates)", fontsize=9)


EXPERIMENT = Experiment(
    name="phased_lstm",
    source="Neil et al. 2016",
    data="drawn: samples of sine waves",
    minutes=7,
    config=Config,
    tasks=tasks,
    report=report,
    draw=picture,
    quick={"seeds": 1, "steps": 100},
    tiny={"seeds": 1, "steps": 2, "resolution": 5.0, "only": "ratio 0.2"},
)
