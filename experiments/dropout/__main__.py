"""python -m experiments.dropout: where dropout may stand, and what it does to memory."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import run_command


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


def run_experiment(config: Config) -> int:
    """Every arm in turn, then the report; a seed that misses its gate is named in it."""
    from experiments import report
    from experiments.dropout import problems
    from experiments.dropout.arms import ARMS
    from experiments.folders import writable
    from experiments.sweeps import sweep

    for name in ("seeds", "steps", "threads"):
        value = getattr(config, name)
        if value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    text = problems.tunes()
    everything = [problems.text_task(arm, text, config.steps) for arm in ARMS]
    everything += [problems.probe(arm, config.steps) for arm in ARMS]
    tasks = [task for task in everything if config.only in task.name]
    if not tasks:
        names = "; ".join(task.name for task in everything)
        raise ValueError(f"only is {config.only!r}; expected part of one of: {names}")
    folder = writable(config.out)
    print(
        f"{len(text.train)} characters to train on, {len(text.held_out[1])} to test on", flush=True
    )
    begun = time.perf_counter()
    results = {}
    for task in tasks:
        results[task.name], _ = sweep(task, range(config.seeds), config.threads)
        print(report.line(task, results[task.name]), flush=True)
    seconds = time.perf_counter() - begun
    print(f"\n{config.seeds} seeds, learning rate chosen on validation data:")
    print(report.table(tasks, results))
    report.write_results(folder, tasks, results, seconds)
    report.draw(folder / "dropout.png", tasks, results)
    print(f"{seconds:.0f} s; results.json and dropout.png are in {folder}")
    return report.conclude(results)


if __name__ == "__main__":
    sys.exit(main())
