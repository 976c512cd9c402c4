"""python -m experiments.ntm: a memory that learns to copy, beside an LSTM."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.commands import run_command
from experiments.lab.folder import RunFolder


@dataclass(frozen=True)
class Config:
    """Train a Neural Turing Machine and an LSTM on a task, and test them beyond its lengths."""

    task: Literal["copy", "repeat", "recall", "ngrams", "sort"] = "copy"
    """Copy 8-bit vectors; repeat-copy; associative recall; dynamic 6-grams; priority sort."""
    seeds: int = 3
    """Runs of each network and learning rate."""
    steps: int = 0
    """Of training, for both networks; 0 means as many as the task needs."""
    out: Path = Path("runs/ntm")
    """Where results.json and the pictures are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 1 where a result is too good, 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.ntm")


def run_experiment(config: Config, folder: RunFolder) -> int:
    """Both networks, the report, a picture of the memory; 1 where a cost is below the possible."""
    import jax
    import numpy as np

    from experiments import report
    from experiments.lab.sweep import sweep
    from experiments.ntm import arms, pictures

    for name, least in (("seeds", 1), ("steps", 0)):
        value = getattr(config, name)
        if value < least:
            raise ValueError(f"{name} is {value}; expected at least {least}")
    place = "" if config.task == "copy" else f"{config.task}/"
    begun = time.perf_counter()
    tasks = arms.tasks(config.task, config.steps or None)
    results, params = {}, {}
    for task in tasks:
        print(f"{task.name} ...", flush=True)
        result, params[task.name] = sweep(task, range(config.seeds), threads=2)
        numbers = sum(leaf[0].size for leaf in jax.tree.leaves(params[task.name]))
        results[task.name] = result | {"parameters": numbers}
    seconds = time.perf_counter() - begun
    print(f"\nbits a sequence on test data, {config.seeds} seeds, rate chosen on validation data:")
    print(report.table(tasks, results))
    print("parameters:", ", ".join(f"{name} {r['parameters']:,}" for name, r in results.items()))
    report.write_results(folder, tasks, results, seconds, name=f"{place}results.json")
    with folder.writing(f"{place}curves.png") as path:
        report.draw(path, tasks, results)
    memory = tasks[0]
    best = int(np.argmin(results[memory.name]["test"][memory.metric]["seeds"]))
    one = jax.tree.map(lambda a: a[best], params[memory.name])
    with folder.writing(f"{place}memory.png") as path:
        pictures.draw(path, config.task, one, f"seed {best}")
    print(f"{seconds:.0f} s; results.json, curves.png and memory.png are in {folder.path / place}")
    return report.conclude(results)


if __name__ == "__main__":
    sys.exit(main())
