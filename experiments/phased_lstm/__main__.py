"""python -m experiments.phased_lstm: waves sampled at uneven times, by clock and without."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import run_command
from experiments.lab.folder import RunFolder

MARGIN = 5.0  # points by which a Phased LSTM should be better than any other


@dataclass(frozen=True)
class Config:
    """Tell sines with a period of 5 to 6 from others, sampled at random times."""

    seeds: int = 3
    """Runs of each network and learning rate."""
    steps: int = 1500
    """Batches of 32 waves to train on."""
    resolution: float = 0.0
    """Sample every so many units of time instead of at random times; 0 is random."""
    out: Path = Path("runs/phased_lstm")
    """Where results.json and phased_lstm.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.phased_lstm")


def differences_in_points(points: dict[str, float]) -> dict[str, float]:
    """By how much each Phased LSTM is better than each other network."""
    return {
        f"{name} less {other}": points[name] - points[other]
        for name in points
        for other in points
        if "Phased" in name and "Phased" not in other
    }


def run_experiment(config: Config, folder: RunFolder) -> None:
    """Every arm in turn, then the table, the margins and the picture."""
    import jax
    import numpy as np

    from experiments import report
    from experiments.lab.sweep import sweep
    from experiments.phased_lstm.arms import ARMS, ROWS, task
    from experiments.phased_lstm.pictures import draw_results
    from experiments.phased_lstm.sines import draw

    if config.seeds < 1 or config.steps < 50:
        raise ValueError(f"seeds is {config.seeds} and steps {config.steps}; expected 1 and 50")
    if not (config.resolution == 0 or 0.1 <= config.resolution <= 5):
        raise ValueError(f"resolution is {config.resolution}; expected 0, or 0.1 to 5")
    resolution = config.resolution or None
    condition = "random times" if resolution is None else f"every {resolution:g}"
    tasks = [task(arm, condition, resolution, config.steps) for arm in ARMS]
    pairs = list(zip(ARMS, tasks, strict=True))
    begun, results, params = time.perf_counter(), {}, None
    for arm, one in pairs:
        count = sum(a.size for a in jax.tree.leaves(jax.eval_shape(arm.init, jax.random.key(0))))
        print(f"{one.name}, {count} parameters ...", flush=True)
        results[one.name], params = sweep(one, range(config.seeds))
        results[one.name]["parameters"] = count
    seconds = time.perf_counter() - begun
    print(f"\non test data, {config.seeds} seeds, learning rate chosen on validation data:")
    print(report.table(tasks, results))
    points = {arm.name: 100 * results[one.name]["test"]["accuracy"]["mean"] for arm, one in pairs}
    margins = differences_in_points(points)
    for name, margin in margins.items():
        print(f"{name}: {margin:+.1f} points (aim: {MARGIN:+g})")
    report.write_results(folder, tasks, results, seconds, {"margins_in_points": margins})
    first = jax.tree.map(lambda a: np.asarray(a[0]), params)["cell"]
    drawn = ARMS[-1].cell, first, draw(jax.random.key(0), 1, resolution)
    with folder.writing("phased_lstm.png") as path:
        draw_results(path, tasks, results, 5000 / ROWS, drawn)
    print(f"{seconds:.0f} s; results.json and phased_lstm.png are in {folder.path}")


if __name__ == "__main__":
    sys.exit(main())
