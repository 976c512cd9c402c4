"""What an experiment is: one record, which each folder's `experiment.py` calls EXPERIMENT."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from experiments.lab.folder import RunFolder
from experiments.lab.record import Report
from experiments.lab.task import Task

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Settings:
    """What every experiment can be told."""

    quick: bool = False
    """Small sizes that end within a minute, to see everything work."""
    out: Path | None = None
    """The folder for everything that is written; runs/NAME where left out."""

    def check(self) -> None:
        """Raises ValueError for a setting that makes no run: an integer has to be at least 1."""
        for one in fields(self):
            value = getattr(self, one.name)
            if type(value) is int and value < 1:
                raise ValueError(f"{one.name} is {value}; expected at least 1")


@dataclass(frozen=True)
class SweepSettings(Settings):
    """What an experiment can be told whose tasks are trained with several seeds."""

    seeds: int = 3
    """Runs of each task and learning rate."""
    only: str = ""
    """Run only the tasks whose name contains this."""
    threads: int = 2
    """Runs of a task that go on at the same time."""


class Results(NamedTuple):
    """What a run has found so far.

    Fields:
      tasks: those that were run.
      found: the result of each task by its name, as `sweep` gives it.
      params: of each task by its name: those of the best learning rate, leaves [seeds, ...].
      measured: what `measure` returned.
    """

    tasks: list[Task]
    found: dict[str, dict[str, Any]]
    params: dict[str, Any]
    measured: dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """An experiment: tasks to train, things to measure, or both, and how to report them.

    Attributes:
      name: of its folder and its command.
      source: where the question comes from.
      data: what it reads or draws.
      minutes: of a default run on two cores.
      config: its settings.
      report: (config, results) -> a `Report`.
      tasks: config -> all its tasks; `--only` chooses among them.
      measure: (config, results, folder) -> what else there is to find, a JSON value; None where
        there is nothing to report.
      draw: (config, results) -> figures by file name; None draws the learning curves.
      use: (config, folder, text) -> what the best model saved in the run's folder makes of a text;
        None where there is nothing to try.
      needs: packages of the extra `experiments`, beside those of all.
      quick: settings that `--quick` changes.
      tiny: settings with which a test runs all of it in seconds.
    """

    name: str
    source: str
    data: str
    minutes: float
    config: type[Settings]
    report: Callable[[Any, Results], Report]
    tasks: Callable[[Any], list[Task]] | None = None
    measure: Callable[[Any, Results, RunFolder], dict[str, Any] | None] | None = None
    draw: Callable[[Any, Results], Mapping[str, Any]] | None = None
    use: Callable[[Any, RunFolder, str], str] | None = None
    needs: tuple[str, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)

    @property
    def package(self) -> ModuleType:
        """The package of its folder."""
        return importlib.import_module(".".join(self.folder.relative_to(ROOT.parent).parts))

    @property
    def folder(self) -> Path:
        """Where its code and its committed results are."""
        return place(self.name)

    @property
    def question(self) -> str:
        """The sentence of its package."""
        return " ".join((self.package.__doc__ or "").split())

    def resolved(self, config: Settings) -> Settings:
        """The settings with `quick` written out, where nothing else was asked for."""
        if not config.quick:
            return config
        default = type(config)()
        same = lambda name: getattr(config, name) == getattr(default, name)
        return replace(config, **{name: v for name, v in self.quick.items() if same(name)})


def names() -> list[str]:
    """All experiments, in the order of their folders."""
    return list(_places())


def place(name: str) -> Path:
    """The folder of an experiment; raises ValueError where there is none of that name."""
    places = _places()
    if name not in places:
        known = ", ".join(places)
        raise ValueError(f"there is no experiment {name!r}; expected one of {known}")
    return places[name]


def find(name: str) -> Experiment:
    """The experiment of a name; raises ValueError where there is none."""
    parts = place(name).relative_to(ROOT.parent).parts
    return importlib.import_module(".".join([*parts, "experiment"])).EXPERIMENT


def _places() -> dict[str, Path]:
    found = [*ROOT.glob("*/experiment.py"), *ROOT.glob("*/*/experiment.py")]
    return {path.parent.name: path.parent for path in sorted(found) if path.parent.name != "lab"}
