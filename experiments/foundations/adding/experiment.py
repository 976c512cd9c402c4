"""The adding problem for six recurrences of one size."""

from dataclasses import dataclass

from experiments.foundations.adding.model import ARMS, LENGTH, Arm, network
from experiments.lab import tables
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report, Table
from experiments.lab.task import Task, estimate
from experiments.sources.adding import BASELINE, draw

BATCH_SIZE, TEST_ROWS = 32, 1024
SOLVED = 0.01  # squared error


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train six recurrences of one size to add two numbers among many."""

    steps: int = 3000
    """Training steps of a run."""
    length: int = LENGTH
    """Numbers in a row."""


def task(arm: Arm, steps: int, length: int) -> Task:
    """Squared errors of one arm; that of saying 1 is 1/6."""
    net = network(arm)

    def errors(params, key, rows):
        xs, sums = draw(key, rows, length)
        return (net.sums(params, xs) - sums) ** 2

    def evaluate(params, key, split):
        del split  # fresh numbers, from another key
        return {"squared error": estimate(errors(params, key, TEST_ROWS))}

    return Task(
        name=arm.name,
        init=net.init,
        loss=lambda params, key: errors(params, key, BATCH_SIZE).mean(),
        evaluate=evaluate,
        metric="squared error",
        optimum={"squared error": 0.0},
        baseline=BASELINE,
        gate=SOLVED,
        steps=steps,
        rates=arm.rates,
        rises=False,
    )


def tasks(config: Config) -> list[Task]:
    """One for each recurrence."""
    return [task(arm, config.steps, config.length) for arm in ARMS]


def report(config: Config, results: Results) -> Report:
    """Who adds, with each seed."""
    test = {name: found["test"]["squared error"] for name, found in results.found.items()}
    rows = [
        [name, tables.seeds(test[name], 5), f"{found['rate']:g}", str(found["parameters"])]
        for name, found in results.found.items()
    ]
    solved = [name for name, found in test.items() if found["max"] <= SOLVED]
    caption = (
        f"Squared error on test data, {config.seeds} seeds; always saying 1 has {BASELINE:.4f}:"
    )
    table = Table(["", "squared error", "rate", "parameters"], rows, caption)
    return Report(f"Solved by every seed of: {', '.join(solved) or 'none'}.", [table])


EXPERIMENT = Experiment(
    name="adding",
    source="Hochreiter and Schmidhuber 1997",
    data="drawn: numbers, two of them marked",
    minutes=4,
    config=Config,
    tasks=tasks,
    report=report,
    quick={"seeds": 1, "steps": 300, "length": 30},
    tiny={"seeds": 1, "steps": 2, "length": 6, "only": "GRU"},
)
