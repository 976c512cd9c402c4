"""The record of a run: one JSON schema for every experiment, and what is committed of it."""

import json
import math
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DETAILS = "curve", "watched", "compile_seconds", "run_seconds"  # of a task; too long to commit


@dataclass(frozen=True)
class Table:
    """A table of text: a header and rows of as many cells, the first of them a name."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Report:
    """What an experiment has found, in words.

    Attributes:
      headline: the result in a line.
      tables: what was measured.
      misses: every aim that was missed, a line each.
      notes: what else a reader has to know, a paragraph each.
    """

    headline: str
    tables: Sequence[Table]
    misses: Sequence[str] = ()
    notes: Sequence[str] = ()


def record(
    name: str,
    config: Any,
    report: Report,
    seconds: float,
    tasks: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything about one run as a JSON value; `check` states its schema."""
    return plain(
        {
            "experiment": name,
            "config": {key: plain(value) for key, value in asdict(config).items() if key != "out"},
            "origin": {"commit": commit(), "date": time.strftime("%Y-%m-%d"), "seconds": seconds}
            | made_with(),
            "report": asdict(report),
            "tasks": tasks,
            "measured": measured,
        }
    )


def check(content: Mapping[str, Any]) -> None:
    """Raises ValueError unless a value has the schema of a record."""
    keys = {"experiment": str, "config": dict, "origin": dict, "report": dict}
    for key, kind in (keys | {"tasks": dict}).items():
        if not isinstance(content.get(key), kind):
            raise ValueError(f"the record's {key} is {content.get(key)!r}; expected a {kind}")
    origin, report = content["origin"], content["report"]
    if not isinstance(origin.get("commit"), str | None) or not isinstance(origin.get("date"), str):
        raise ValueError(f"origin is {origin}; expected a commit and a date")
    if set(report) != {"headline", "tables", "misses", "notes"} or not report["tables"]:
        raise ValueError(f"report has {sorted(report)}; expected a headline, tables, misses, notes")
    for table in report["tables"]:
        widths = {len(row) for row in [table["header"], *table["rows"]]}
        if len(widths) != 1 or not table["rows"]:
            raise ValueError(f"the table {table['caption']!r} has rows of {widths} cells")
    for name, task in content["tasks"].items():
        if missing := {"metric", "gate", "baseline", "test", "failed_seeds", "rate"} - set(task):
            raise ValueError(f"the task {name!r} has no {', '.join(sorted(missing))}")


def to_commit(content: Mapping[str, Any]) -> dict[str, Any]:
    """A record without curves and details, small enough to be committed."""
    short = lambda task: {key: value for key, value in task.items() if key not in DETAILS}
    tasks = {name: short(task) for name, task in content["tasks"].items()}
    return {key: value for key, value in content.items() if key != "measured"} | {"tasks": tasks}


def read(path: Path) -> dict[str, Any]:
    """The record in a file; raises ValueError where there is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
        check(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of an experiment: {error}") from None
    return content


def dumps(content: Any) -> str:
    """A JSON value as text."""
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """The value as JSON has it: text for paths, and "inf", "-inf" and "nan" for such numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.item() if hasattr(value, "item") else str(value)


def made_with() -> dict[str, str]:
    """The versions and the device that results come from."""
    import jax

    return {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }


def commit() -> str | None:
    """The commit of the checkout, with a + where files differ from it; None outside of one."""
    folder = Path(__file__).parent
    ask = lambda *args: subprocess.run(
        ["git", *args], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        return ask("rev-parse", "--short", "HEAD") + ("+" if ask("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
