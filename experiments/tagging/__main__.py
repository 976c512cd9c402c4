"""python -m experiments.tagging: one and two directions beside the exact filter and smoother."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.commands import run_command


@dataclass(frozen=True)
class Config:
    """Tag the symbols of a hidden Markov model, and classify long rows by a cue at either end."""

    seeds: int = 3
    """Runs of each arm and learning rate."""
    steps: int = 1500
    """Training steps of a tagger; a classifier takes a third of them."""
    only: str = ""
    """Run only the arms whose name contains this, such as "tagging" or "cue"."""
    threads: int = 2
    """Runs of an arm that go on at the same time."""
    out: Path = Path("runs/tagging")
    """Where results.json and tagging.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 1 where a result is too good, 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.tagging")


def run_experiment(config: Config) -> int:
    """Every arm in turn, then the report; a seed that misses its gate is named in it."""
    import jax

    from experiments import report
    from experiments.folders import writable
    from experiments.sweeps import sweep
    from experiments.tagging import cues, tagger

    for name in ("seeds", "steps", "threads"):
        value = getattr(config, name)
        if value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    everything = tagger.tasks(config.steps) + cues.tasks(max(config.steps // 3, 1))
    tasks = [task for task in everything if config.only in task.name]
    if not tasks:
        names = "; ".join(task.name for task in everything)
        raise ValueError(f"only is {config.only!r}; expected part of one of: {names}")
    folder = writable(config.out)
    begun = time.perf_counter()
    facts = tagger.known(tagger.MODEL)
    for place, name in enumerate(("filter", "smoother")):
        print(f"exact {name}: accuracy {facts['accuracy'][place]:.4f}, ", end="")
        print(f"{facts['nats'][place]:.4f} nats a tag; always the commonest: {facts['guess']:.4f}")
    results = {}
    for task in tasks:
        results[task.name], params = sweep(task, range(config.seeds), config.threads)
        sizes = [leaf[0].size for leaf in jax.tree.leaves(params)]
        results[task.name]["parameters"] = sum(sizes)
        print(report.line(task, results[task.name]), flush=True)
    seconds = time.perf_counter() - begun
    print(f"\non test data, {config.seeds} seeds, learning rate chosen on validation data:")
    print(report.table(tasks, results))
    report.write_results(folder, tasks, results, seconds)
    report.draw(folder / "tagging.png", tasks, results)
    print(f"{seconds:.0f} s; results.json and tagging.png are in {folder}")
    return report.conclude(results)


if __name__ == "__main__":
    sys.exit(main())
