"""python -m experiments.attention: what attention is for, as sequences get longer."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder


@dataclass(frozen=True)
class Config:
    """Train encoder-decoders of equal size with and without attention, and decode by length."""

    seeds: int = 3
    """Runs of each arm, task and learning rate."""
    steps: int = 600
    """Batches of 32 rows that each run is trained on."""
    only: str = ""
    """Run only the tasks whose name contains this: copy, reverse, expansion."""
    general: bool = False
    """Run general attention too, three minutes more."""
    workers: int = 2
    """Processes, one a core."""
    out: Path = Path("runs/attention")
    """Where results.json, attention.png and alignments.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.attention")


def run_experiment(config: Config, folder: RunFolder) -> None:
    """Every arm on every task, then the report. What misses its gate is named, not an error."""
    import jax

    from experiments import report
    from experiments.attention import figures
    from experiments.attention.models import ARMS
    from experiments.attention.sources import TASKS
    from experiments.attention.tasks import make_task, run_job

    check_counts(config, "seeds", "steps", "workers")
    names = [name for name in TASKS if config.only in name]
    if not names:
        raise ValueError(f"only is {config.only!r}; expected part of one of: {', '.join(TASKS)}")
    arms = list(ARMS if config.general else ARMS[:-1])
    # The long ones first, so that no core waits at the end.
    order = sorted(range(len(arms)), key=lambda number: arms[number].attention is None)
    jobs = [(name, number, config.steps, config.seeds) for number in order for name in names]
    begun = time.perf_counter()
    results, examples = {}, {}
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
        for name, result, shown in pool.map(run_job, jobs):
            seconds = result["compile_seconds"] + result["run_seconds"]
            print(f"{name}: {seconds:.0f} s", flush=True)
            results[name] = result
            examples[name] = shown
    seconds = time.perf_counter() - begun
    key = jax.random.key(0)
    size = lambda arm: sum(a.size for a in jax.tree.leaves(jax.eval_shape(arm.init, key)))
    print(f"\non test data, written greedily without teacher forcing, {config.seeds} seeds:")
    print(figures.table(arms, names, results, {arm.name: size(arm) for arm in arms}))
    for line in figures.verdicts(arms, names, results):
        print(line)
    tasks = [make_task(arm, name, config.steps) for name in names for arm in arms]
    report.write_results(folder, tasks, results, seconds)
    with folder.writing("attention.png") as path:
        figures.draw_curves(path, arms, names, results)
    with folder.writing("alignments.png") as path:
        figures.draw_alignments(path, arms, names, examples)
    print(f"{seconds:.0f} s; results.json, attention.png and alignments.png are in {folder.path}")


if __name__ == "__main__":
    sys.exit(main())
