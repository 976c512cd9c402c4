"""python -m experiments.tagging: one and two directions beside the exact filter and smoother."""

import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder


@dataclass(frozen=True)
class Config:
    """Tag the symbols of a hidden Markov model, and classify long rows by a cue at either end."""

    seeds: int = 3
    """Runs of each arm and learning rate."""
    steps: int = 1500
    """Training steps of a tagger; a classifier takes a third of them."""
    only: str = ""
    """Run only the arms whose name contains this, such as "tagging" or "cue"."""
    threads: int = 2
    """Runs of an arm that go on at the same time."""
    out: Path = Path("runs/tagging")
    """Where results.json and tagging.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 1 where a result is too good, 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.tagging")


def run_experiment(config: Config, folder: RunFolder) -> int:
    """Every arm in turn, then the report; a seed that misses its gate is named in it."""
    from experiments.suites import chosen, run_tasks
    from experiments.tagging import cues, tagger

    check_counts(config, "seeds", "steps", "threads")
    everything = tagger.tasks(config.steps) + cues.tasks(max(config.steps // 3, 1))
    tasks = chosen(everything, config.only)
    facts = tagger.known(tagger.MODEL)
    for place, name in enumerate(("filter", "smoother")):
        print(f"exact {name}: accuracy {facts['accuracy'][place]:.4f}, ", end="")
        print(f"{facts['nats'][place]:.4f} nats a tag; always the commonest: {facts['guess']:.4f}")
    return run_tasks(tasks, folder, "tagging.png", config.seeds, config.threads)


if __name__ == "__main__":
    sys.exit(main())
