"""python -m experiments.adding: the adding problem over 100 steps, six recurrences of one size."""

import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder


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


def run_experiment(config: Config, folder: RunFolder) -> int:
    """Every arm in turn, then the report; a seed that misses the gate is named in it."""
    from experiments.adding.arms import ARMS, task
    from experiments.suites import chosen, run_tasks

    check_counts(config, "seeds", "steps", "threads")
    tasks = chosen([task(arm, config.steps) for arm in ARMS], config.only)
    return run_tasks(tasks, folder, "adding.png", config.seeds, config.threads)


if __name__ == "__main__":
    sys.exit(main())
