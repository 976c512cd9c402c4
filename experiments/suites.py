"""Experiments that are lists of tasks: which of them to run, all of them in turn, the report."""

import time

import jax

from experiments import report
from experiments.lab.folder import RunFolder
from experiments.sweeps import Task, sweep


def chosen(tasks: list[Task], only: str) -> list[Task]:
    """The tasks with `only` in their names; raises ValueError where there is none."""
    found = [task for task in tasks if only in task.name]
    if not found:
        names = "; ".join(task.name for task in tasks)
        raise ValueError(f"only is {only!r}; expected part of one of: {names}")
    return found


def run_tasks(
    tasks: list[Task], folder: RunFolder, picture: str, seeds: int, threads: int = 1
) -> int:
    """Every task in turn, then table, results.json and picture in the run's folder.

    A seed that misses its task's gate is a result, not an error: it is named in a line of its own.

    Returns:
      1 where a loss lies below what is possible, else 0.
    """
    begun = time.perf_counter()
    results = {}
    for task in tasks:
        result, params = sweep(task, range(seeds), threads)
        numbers = sum(leaf[0].size for leaf in jax.tree.leaves(params))
        results[task.name] = result | {"parameters": numbers}
        print(report.line(task, results[task.name]), flush=True)
    seconds = time.perf_counter() - begun
    print(f"\non test data, {seeds} seeds, learning rate chosen on validation data:")
    print(report.table(tasks, results))
    report.write_results(folder, tasks, results, seconds)
    with folder.writing(picture) as path:
        report.draw(path, tasks, results)
    print(f"{seconds:.0f} s; results.json and {picture} are in {folder.path}")
    return report.conclude(results)
