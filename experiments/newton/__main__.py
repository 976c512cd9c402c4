"""python -m experiments.newton: iterations of Newton's method against the Lyapunov exponent."""

import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder


@dataclass(frozen=True)
class Config:
    """How many iterations a network takes over time, beside how fast its states drift apart."""

    length: int = 256
    """T, steps of a sequence."""
    hidden_size: int = 12
    """H."""
    seeds: int = 3
    """Networks for each cell and gain."""
    gains: int = 17
    """How many scales of the recurrent weights, from 0.2 to 4."""
    out: Path = Path("runs/newton")
    """Where results.json and newton.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.newton")


def run_experiment(config: Config, folder: RunFolder) -> None:
    """Iterations and exponents, times beside `unroll`, the report."""
    from experiments.newton import measure, report

    check_counts(config, "length", "hidden_size", "seeds", "gains")
    points = measure.iterations(config.length, config.hidden_size, config.seeds, config.gains)
    times = measure.times()
    print(report.table(points))
    print(report.times_table(times))
    with folder.writing("results.json") as path:
        report.write(path, config, points, times)
    with folder.writing("newton.png") as path:
        report.draw(path, points, config.length)
    print(f"results.json and newton.png are in {folder.path}")


if __name__ == "__main__":
    sys.exit(main())
