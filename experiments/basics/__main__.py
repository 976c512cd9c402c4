"""python -m experiments.basics: small tasks, each beside the best result that is possible."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import run_command


@dataclass(frozen=True)
class Config:
    """Train small networks on tasks whose best possible result is known exactly."""

    seeds: int = 3
    """Runs of each task and learning rate."""
    only: str = ""
    """Run only the tasks whose name contains this."""
    out: Path = Path("runs/basics")
    """Where results.json and basics.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 1 where a result is too good, 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.basics")


def run_experiment(config: Config) -> int:
    """Every task in turn, then the report; 1 where a loss lies below what is possible.

    A seed that misses its task's gate is a result, not an error: it is named in a line of its own.
    """
    from experiments import report
    from experiments.basics import lags, streams, topologies, transfer
    from experiments.folders import writable
    from experiments.sweeps import sweep

    if config.seeds < 1:
        raise ValueError(f"seeds is {config.seeds}; expected at least 1")
    everything = streams.tasks() + topologies.tasks() + transfer.tasks() + lags.tasks()
    tasks = [task for task in everything if config.only in task.name]
    if not tasks:
        names = "; ".join(task.name for task in everything)
        raise ValueError(f"only is {config.only!r}; expected part of one of: {names}")
    folder = writable(config.out)
    begun = time.perf_counter()
    results = {}
    for task in tasks:
        print(f"{task.name} ...", flush=True)
        results[task.name], _ = sweep(task, range(config.seeds))
    seconds = time.perf_counter() - begun
    print(f"\non test data, {config.seeds} seeds, learning rate chosen on validation data:")
    print(report.table(tasks, results))
    report.write_results(folder, tasks, results, seconds)
    report.draw(folder / "basics.png", tasks, results)
    print(f"{seconds:.0f} s; results.json and basics.png are in {folder}")
    return report.conclude(results)


if __name__ == "__main__":
    sys.exit(main())
