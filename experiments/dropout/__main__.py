"""python -m experiments.dropout: where dropout may stand, and what it does to memory."""

import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder


@dataclass(frozen=True)
class Config:
    """Train an LSTM on little text, and on a symbol to remember, with dropout in seven places."""

    seeds: int = 3
    """Runs of each arm and learning rate."""
    steps: int = 800
    """Training steps of a run, of either kind."""
    only: str = ""
    """Run only what has this in its name, such as "text", "memory" or "zoneout"."""
    threads: int = 2
    """Runs of an arm that go on at the same time."""
    out: Path = Path("runs/dropout")
    """Where results.json and dropout.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 1 where a result is too good, 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.dropout")


def run_experiment(config: Config, folder: RunFolder) -> int:
    """Every arm in turn, then the report; a seed that misses its gate is named in it."""
    from experiments.dropout import problems
    from experiments.dropout.arms import ARMS
    from experiments.suites import chosen, run_tasks

    check_counts(config, "seeds", "steps", "threads")
    text = problems.tunes()
    everything = [problems.text_task(arm, text, config.steps) for arm in ARMS]
    tasks = chosen(everything + [problems.probe(arm, config.steps) for arm in ARMS], config.only)
    print(f"{len(text.train)} characters to train on, {len(text.held_out[1])} to test on")
    return run_tasks(tasks, folder, "dropout.png", config.seeds, config.threads)


if __name__ == "__main__":
    sys.exit(main())
