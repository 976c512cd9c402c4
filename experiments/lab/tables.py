"""Tables: of tasks beside what is known exactly, as text and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.lab.record import Table
from experiments.lab.task import Task

COLUMNS = "mean", "min", "max", "optimum", "baseline", "gate", "failed", "rate"


def line(task: Task, result: Mapping[str, Any]) -> str:
    """One task's means and seeds on test data, as soon as they are there."""
    parts = [
        f"{name} {found['mean']:.4f} ({' '.join(f'{one:.4f}' for one in found['seeds'])})"
        for name, found in result["test"].items()
    ]
    seconds = result["compile_seconds"] + result["run_seconds"]
    return f"{task.name}: {', '.join(parts)}; rate {result['rate']:g}, {seconds:.0f} s"


def of_tasks(tasks: Sequence[Task], found: Mapping[str, Any], caption: str = "") -> Table:
    """One row a task and metric; what is known exactly stands beside what was reached."""
    rows = []
    for task in tasks:
        result = found[task.name]
        for name, test in result["test"].items():
            known = [number(test[key]) for key in ("mean", "min", "max", "optimum")]
            rest = [""] * 4
            if name == (task.gated or task.metric):
                failed = ", ".join(map(str, result["failed_seeds"])) or "none"
                rest = [number(task.baseline), number(task.gate), failed, f"{result['rate']:g}"]
            title = f"{task.name}, {name}" if name == task.metric else f"    {name}"
            rows.append([title + " LEAK" * test["leak"], *known, *rest])
    return Table(["", *COLUMNS], rows, caption)


def number(value: float | None) -> str:
    """Four digits behind the point; nothing for None."""
    return "" if value is None else f"{value:.4f}"


def seeds(test: Mapping[str, Any], digits: int = 4) -> str:
    """What each seed reached."""
    return ", ".join(f"{value:.{digits}f}" for value in test["seeds"])


def text(table: Table) -> str:
    """A table in columns, for a terminal."""
    lines = [list(table.header), *map(list, table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = "\n".join(
        (
            line[0].ljust(widths[0]) + "".join(f"  {c:>{n}}" for c, n in _pairs(line, widths))
        ).rstrip()
        for line in lines
    )
    return f"{table.caption}\n{body}" if table.caption else body


def markdown(table: Table) -> str:
    """A table in Markdown."""
    cell = lambda text: text.strip().replace("|", "\\|")
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def _pairs(line: Sequence[str], widths: Sequence[int]) -> zip:
    return zip(line[1:], widths[1:], strict=True)
