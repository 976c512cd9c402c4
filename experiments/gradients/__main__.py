"""python -m experiments.gradients: every diagnostic, of networks new and trained."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder


@dataclass(frozen=True)
class Config:
    """Look inside networks at initialisation and trained, and count what diverges unclipped."""

    seeds: int = 3
    """Networks of each kind, and runs of each learning rate."""
    steps: int = 400
    """Updates of each language model."""
    budget: int = 29_700
    """Parameters of each network, nearly."""
    length: int = 200
    """T, steps that gradients are followed back through; training has windows of 64."""
    clipping_steps: int = 500
    """Updates of each run of the study of clipping."""
    clipping_seeds: int = 10
    """Runs of each of its settings."""
    threads: int = 2
    """Runs at the same time."""
    only: Literal["all", "flow", "clipping"] = "all"
    """Run one half alone: the diagnostics, or the study of clipping."""
    out: Path = Path("runs/gradients")
    """Where results.json and the pictures are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.gradients")


def run_experiment(config: Config, folder: RunFolder) -> None:
    """Trains, measures before and after, counts divergences, and reports."""
    from experiments.gradients import arms, clipping, measure, pictures, report
    from experiments.lab.sweep import sweep
    from experiments.lab.task import parameters

    check_counts(
        config, "seeds", "steps", "budget", "length", "clipping_steps", "clipping_seeds", "threads"
    )
    begun = time.perf_counter()
    results = {}
    if config.only != "clipping":
        for arm in arms.arms(config.budget):
            print(f"{arm.name} ...", flush=True)
            training, trained = sweep(
                arms.task(arm, config.steps), range(config.seeds), config.threads
            )
            new = arms.initial(arm, config.seeds)
            results[arm.name] = {
                "parameters": parameters(arm.network.init),
                "training": training,
                "initial": measure.all_of(arm, new, config.length),
                "trained": measure.all_of(arm, trained, config.length),
            }
        print(report.table(results))
        pictures.draw_all(folder, results)
    study = None
    if config.only != "flow":
        print("clipping ...", flush=True)
        study = clipping.study(config.clipping_steps, config.clipping_seeds, config.threads)
        print(report.clipping_table(study))
        with folder.writing("clipping.png") as path:
            pictures.clipping(path, study)
    seconds = time.perf_counter() - begun
    with folder.writing("results.json") as path:
        report.write(path, config, results, study, seconds)
    print(f"{seconds:.0f} s; results.json and pictures are in {folder.path}")


if __name__ == "__main__":
    sys.exit(main())
