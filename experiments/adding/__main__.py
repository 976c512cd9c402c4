"""python -m experiments.adding: the adding problem over 100 steps, six recurrences of one size."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import run_command


@dataclass(frozen=True)
class Config:
    """Train six recurrences of one size to add two numbers among a hundred."""

    seeds: int = 3
    """Runs of each arm and learning rate."""
    steps: int = 3000
    """Training steps of a run."""
    only: str = ""
    """Run only the arms whose name contains this."""
    threads: int = 2
    """Runs of an arm that go on at the same time."""
    out: Path = Path("runs/adding")
    """Where results.json and adding.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 1 where a result is too good, 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.adding")


def run_experiment(config: Config) -> int:
    """Every arm in turn, then the report; a seed that misses the gate is named in it."""
    from experiments import report
    from experiments.adding.arms import ARMS, network, task
    from experiments.folders import writable
    from experiments.sweeps import parameters, sweep

    for name in ("seeds", "steps", "threads"):
        value = getattr(config, name)
        if value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    arms = [arm for arm in ARMS if config.only in arm.name]
    if not arms:
        names = "; ".join(arm.name for arm in ARMS)
        raise ValueError(f"only is {config.only!r}; expected part of one of: {names}")
    tasks = [task(arm, config.steps) for arm in arms]
    folder = writable(config.out)
    begun = time.perf_counter()
    results = {}
    for arm, one in zip(arms, tasks, strict=True):
        results[one.name], _ = sweep(one, range(config.seeds), config.threads)
        results[one.name]["parameters"] = parameters(network(arm).init)
        print(report.line(one, results[one.name]), flush=True)
    seconds = time.perf_counter() - begun
    print(f"\non test data, {config.seeds} seeds, learning rate chosen on validation data:")
    print(report.table(tasks, results))
    report.write_results(folder, tasks, results, seconds)
    report.draw(folder / "adding.png", tasks, results)
    print(f"{seconds:.0f} s; results.json and adding.png are in {folder}")
    return report.conclude(results)


if __name__ == "__main__":
    sys.exit(main())
