"""Small tasks whose best possible result is known exactly."""

from dataclasses import dataclass, replace

from experiments.foundations.basics import streams, transfer
from experiments.lab import tables
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report
from experiments.lab.task import Task


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train small networks on tasks whose best possible result is known exactly."""

    threads: int = 1
    """Runs of a task that go on at the same time."""
    share: int = 1
    """Train for one in so many of the steps that each task needs."""


def tasks(config: Config) -> list[Task]:
    """Streams, and a keyword that moves."""
    everything = streams.tasks() + transfer.tasks()
    return [replace(task, steps=max(1, task.steps // config.share)) for task in everything]


def report(config: Config, results: Results) -> Report:
    """What was reached beside what is possible."""
    failed = [name for name, found in results.found.items() if found["failed_seeds"]]
    line = f"Missed by a seed: {'; '.join(failed)}" if failed else "Every seed reaches every gate"
    caption = f"On test data, {config.seeds} seeds, learning rate chosen on validation data:"
    table = tables.of_tasks(results.tasks, results.found, caption)
    return Report(f"{line}.", [table])


EXPERIMENT = Experiment(
    name="basics",
    source="Elman 1990; Jordan 1986",
    data="drawn: bits, a Markov chain, a keyword in noise",
    minutes=1,
    config=Config,
    tasks=tasks,
    report=report,
    quick={"seeds": 1, "share": 4},
    tiny={"seeds": 1, "share": 200, "only": "Markov"},
)
