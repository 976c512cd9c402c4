"""The pages made from committed records: RESULTS.md of each experiment, and the index."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.lab import record, tables
from experiments.lab.experiment import ROOT, Experiment, find, names
from experiments.lab.record import Table

MARK = "<!-- Written by `python -m experiments report` from committed results. -->"
HEAD = "Question", "Experiment", "Source", "Data", "Minutes", "Result"


def rewrite(runs: list[Path]) -> list[Path]:
    """Takes the records of some runs, then writes every page; returns the files that changed.

    Raises:
      ValueError: if a folder has no record, or a page was not written by this function.
    """
    changed = [path for run in runs for path in take(run)]
    pages = {ROOT / "README.md": index()}
    pages |= {find(name).folder / "RESULTS.md": results_page(find(name)) for name in names()}
    for path in pages:
        if path.exists() and not path.read_text("utf-8").startswith(MARK):
            raise ValueError(f"{path} was not written by `report`; move it away")
    for path, text in pages.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def take(run: Path) -> list[Path]:
    """Copies what is to be committed of a run: its record without details, and its pictures."""
    content = record.read(run / "results.json")
    folder = find(content["experiment"]).folder / "results"
    folder.mkdir(exist_ok=True)
    target = folder / f"{content['experiment']}.json"
    target.write_text(record.dumps(record.to_commit(content)), encoding="utf-8")
    copied = [target]
    for picture in sorted(run.glob("*.png")):
        copied.append(Path(shutil.copyfile(picture, folder / picture.name)))
    return copied


def committed(experiment: Experiment) -> dict[str, Any]:
    """The committed record of an experiment; raises ValueError where there is none."""
    return record.read(experiment.folder / "results" / f"{experiment.name}.json")


def results_page(experiment: Experiment) -> str:
    """RESULTS.md of an experiment."""
    content = committed(experiment)
    report = content["report"]
    parts = [
        MARK,
        f"# {experiment.name}",
        experiment.question,
        f"**{report['headline']}**",
        f"Run it by `{command(experiment)}`, {duration(experiment.minutes)} on two cores. "
        f"Source: {experiment.source}. Data: {experiment.data}.",
        origin(content["origin"]),
    ]
    for table in report["tables"]:
        parts += [table["caption"]] * bool(table["caption"])
        parts.append(tables.markdown(Table(**table)))
    if report["misses"]:
        parts += ["Misses:", "\n".join(f"- {miss}" for miss in report["misses"])]
    parts += report["notes"]
    pictures = sorted((experiment.folder / "results").glob("*.png"))
    parts += [f"![{path.stem}](results/{path.name})" for path in pictures]
    return "\n\n".join(parts) + "\n"


def index() -> str:
    """README.md of the experiments."""
    rows = [index_row(find(name)) for name in names()]
    return (
        "\n\n".join(
            [
                MARK,
                "# Experiments",
                "`python -m experiments NAME` runs one, `--quick` in a minute at most; "
                "`python -m experiments NAME --help` has its settings. Minutes are of two cores. "
                "`python -m experiments report runs/NAME` takes a run into these pages.",
                tables.markdown(Table(HEAD, rows)),
            ]
        )
        + "\n"
    )


def index_row(experiment: Experiment) -> list[str]:
    """One line of the index."""
    page = (experiment.folder / "RESULTS.md").relative_to(ROOT)
    return [
        experiment.question,
        f"[{experiment.name}]({page.as_posix()})",
        experiment.source,
        experiment.data,
        f"{experiment.minutes:g}",
        committed(experiment)["report"]["headline"],
    ]


def command(experiment: Experiment) -> str:
    """What to type."""
    return f"python -m experiments {experiment.name}"


def duration(minutes: float) -> str:
    """A number of minutes in words."""
    return "about a minute" if minutes == 1 else f"about {minutes:g} minutes"


def origin(facts: Mapping[str, Any]) -> str:
    """Where the figures of a page come from."""
    if facts.get("reported"):
        return (
            f"These figures were reported with commit `{facts['commit']}` ({facts['date']}) and "
            "have not been measured again since."
        )
    place = f"commit `{facts['commit']}`" if facts["commit"] else "no commit"
    return (
        f"Run at {place} on {facts['date']} in {facts['seconds']:.0f} s: JAX {facts['jax']}, "
        f"Python {facts['python']}, {facts['device']}."
    )
