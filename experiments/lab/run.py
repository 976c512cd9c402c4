"""The one loop of all experiments: tasks, measurements, report, pictures."""

import time
from pathlib import Path
from typing import Any

from experiments.lab import pictures, record, tables
from experiments.lab.experiment import Experiment, Results, Settings, SweepSettings
from experiments.lab.folder import RunFolder
from experiments.lab.record import Report
from experiments.lab.sweep import sweep
from experiments.lab.task import Task, chosen

FACTS = "metric", "gated", "baseline", "gate", "steps", "rates", "rises", "margins"


def run(experiment: Experiment, config: Settings) -> int:
    """Runs an experiment in its folder and prints what it finds.

    A seed that misses its task's gate is a result, not an error: a line names it.

    Returns:
      1 where a loss lies below what is possible, else 0.

    Raises:
      ValueError: for a setting that makes no run, or a folder that is not the experiment's.
    """
    config = experiment.resolved(config)
    config.check()
    with _folder(experiment, config) as folder:
        begun = time.perf_counter()
        tasks = list(experiment.tasks(config)) if experiment.tasks else []
        if tasks and isinstance(config, SweepSettings):
            tasks = chosen(tasks, config.only)
        results = Results(tasks, {}, {}, {})
        for task in tasks:
            results.found[task.name], results.params[task.name] = _train(task, config)
            print(tables.line(task, results.found[task.name]), flush=True)
        if experiment.measure:
            measured = experiment.measure(config, results, folder)
            if measured is None:
                return 0
            results.measured.update(measured)
        report = experiment.report(config, results)
        show(report)
        _write(experiment, config, results, report, time.perf_counter() - begun, folder)
    return conclude(results)


def use(experiment: Experiment, config: Settings, text: str) -> str:
    """What the best model in the run's folder makes of a text.

    Raises:
      ValueError: for a setting or a text that cannot be used, or if no model was saved.
    """
    assert experiment.use is not None
    config.check()
    with _folder(experiment, config) as folder:
        if not folder.directory("best").is_dir():
            raise ValueError(
                f"{folder.path} has no saved model to try; run python -m experiments "
                f"{experiment.name} first, or name the folder of a run by --out"
            )
        return experiment.use(config, folder, text)


def _folder(experiment: Experiment, config: Settings) -> RunFolder:
    return RunFolder(config.out or Path("runs") / experiment.name, experiment.name)


def show(report: Report) -> None:
    """Prints a report."""
    for table in report.tables:
        print("\n" + tables.text(table))
    print("\n" + "\n".join([report.headline, *report.misses, *report.notes]))


def conclude(results: Results) -> int:
    """Names the seeds that failed; 1 where a loss lies below what is possible, else 0."""
    for line in failed(results):
        print(line)
    found = (test for result in results.found.values() for test in result["test"].values())
    if any(test["leak"] for test in found):
        print("error: a loss below the exact bound: the target leaks into the input")
        return 1
    return 0


def failed(results: Results) -> list[str]:
    """A line for each task of which a seed missed the gate."""
    return [
        f"failed: {name}, seeds {', '.join(map(str, result['failed_seeds']))}"
        for name, result in results.found.items()
        if result["failed_seeds"]
    ]


def _train(task: Task, config: Settings) -> tuple[dict[str, Any], Any]:
    assert isinstance(config, SweepSettings), "an experiment with tasks has SweepSettings"
    return sweep(task, range(config.seeds), config.threads)


def _write(
    experiment: Experiment,
    config: Settings,
    results: Results,
    report: Report,
    seconds: float,
    folder: RunFolder,
) -> None:
    """Writes results.json and the figures, and says where they are."""
    import matplotlib.pyplot as plt

    tasks = {
        task.name: {key: getattr(task, key) for key in FACTS} | results.found[task.name]
        for task in results.tasks
    }
    report = Report(
        report.headline, report.tables, [*report.misses, *failed(results)], report.notes
    )
    content = record.record(experiment.name, config, report, seconds, tasks, results.measured)
    folder.write_text("results.json", record.dumps(content))
    figures = experiment.draw(config, results) if experiment.draw else {}
    if results.tasks and not experiment.draw:
        figures = {f"{experiment.name}.png": pictures.curves(results.tasks, results.found)}
    for name, figure in figures.items():
        with folder.writing(name) as path:
            figure.savefig(path, dpi=110)
        plt.close(figure)
    written = ", ".join(["results.json", *figures])
    print(f"{seconds:.0f} s; in {folder.path}: {written}")
