"""python -m experiments.state_tracking: who can track a state beyond the lengths trained on."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder


@dataclass(frozen=True)
class Config:
    """Train cells of one size to track states over 40 letters, and test them on 256."""

    seeds: int = 3
    """Runs of each cell, problem and learning rate."""
    steps: int = 400
    """Training steps of a run."""
    only: str = ""
    """Run only what has this in its name, such as "parity" or "LSTM"."""
    threads: int = 2
    """Cells that are compiled and trained at the same time."""
    out: Path = Path("runs/state_tracking")
    """Where results.json and state_tracking.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.state_tracking")


def run_experiment(config: Config, folder: RunFolder) -> None:
    """Every cell on every problem, and the report."""
    from experiments import report as reports
    from experiments.lab.sweep import sweep
    from experiments.state_tracking import report
    from experiments.state_tracking.arms import ARMS, task
    from experiments.state_tracking.automata import PROBLEMS

    check_counts(config, "seeds", "steps", "threads")
    pairs = [(arm, problem) for problem in PROBLEMS for arm in ARMS]
    tasks = [task(arm, problem, config.steps) for arm, problem in pairs]
    tasks = [one for one in tasks if config.only in one.name]
    if not tasks:
        names = ", ".join(problem.name for problem in PROBLEMS)
        arms = ", ".join(arm.name for arm in ARMS)
        raise ValueError(f"only is {config.only!r}; expected part of one of: {names}; {arms}")
    begun = time.perf_counter()
    results = {}
    with ThreadPoolExecutor(config.threads) as pool:
        every = pool.map(lambda one: sweep(one, range(config.seeds))[0], tasks)
        for one, result in zip(tasks, every, strict=True):
            results[one.name] = result
            print(report.line(one, result), flush=True)
    seconds = time.perf_counter() - begun
    print()
    print(report.table(results))
    reports.write_results(folder, tasks, results, seconds)
    with folder.writing("state_tracking.png") as path:
        report.draw(path, results)
    print(f"{seconds:.0f} s; results.json and state_tracking.png are in {folder.path}")


if __name__ == "__main__":
    sys.exit(main())
