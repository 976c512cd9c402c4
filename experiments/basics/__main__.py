"""python -m experiments.basics: small tasks, each beside the best result that is possible."""

import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder


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


def run_experiment(config: Config, folder: RunFolder) -> int:
    """Every task in turn, then the report; 1 where a loss lies below what is possible."""
    from experiments.basics import lags, streams, topologies, transfer
    from experiments.suites import chosen, run_tasks

    check_counts(config, "seeds")
    everything = streams.tasks() + topologies.tasks() + transfer.tasks() + lags.tasks()
    return run_tasks(chosen(everything, config.only), folder, "basics.png", config.seeds)


if __name__ == "__main__":
    sys.exit(main())
