"""python -m experiments.professor_forcing: does a model behave alike when nobody corrects it."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder

ARMS = "teacher forcing", "professor forcing"
WORSE = 1.02  # what professor forcing may cost in nats a character
FEWER = 0.10  # by how much a fresh discriminator's accuracy should fall


@dataclass(frozen=True)
class Config:
    """Train a character model on tunes with and without a discriminator of its behaviour."""

    seeds: int = 5
    """Runs of each way of training and learning rate."""
    steps: int = 600
    """Training steps of a run."""
    threads: int = 2
    """Runs at the same time."""
    out: Path = Path("runs/professor_forcing")
    """Where results.json and professor_forcing.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.professor_forcing")


def run_experiment(config: Config, folder: RunFolder) -> None:
    """Both ways of training, fresh discriminators of what they gave, and the report."""
    import jax
    import numpy as np

    from experiments import report
    from experiments.lab.sweep import sweep
    from experiments.professor_forcing import arms, pictures
    from experiments.professor_forcing.text import Text, floor_and_baseline

    check_counts(config, "seeds", "steps", "threads")
    begun = time.perf_counter()
    text = Text.read()
    floor, shuffled = floor_and_baseline(text, arms.WRITTEN_ROWS, arms.FREE - arms.LENGTH)
    judge = jax.jit(lambda params: arms.fresh_judges(params, text))
    tasks, results, gate = [], {}, arms.unigram_entropy(text.train, len(text.vocabulary))
    for name in ARMS:
        print(f"{name} ...", flush=True)
        task = arms.task(name, text, config.steps, floor, gate)
        results[name], params = sweep(task, range(config.seeds), config.threads)
        tasks.append(task)
        gate = min(gate, WORSE * results[name]["test"][task.metric]["mean"])
        each = np.asarray(judge(params["generator"])).tolist()
        results[name]["fresh_judge"] = {"seeds": each, "mean": float(np.mean(each))}
    seconds = time.perf_counter() - begun
    print(f"\non test data, {config.seeds} seeds, learning rate chosen on validation data:")
    print(report.table(tasks, results))
    lines = summary(results, floor, shuffled)
    print(lines)
    extra = {"floor": floor, "shuffled": shuffled, "summary": lines.splitlines()}
    report.write_results(folder, tasks, results, seconds, extra)
    with folder.writing("professor_forcing.png") as path:
        pictures.draw(path, results, config.steps, floor, shuffled)
    print(f"{seconds:.0f} s; results.json and professor_forcing.png are in {folder.path}")


def summary(results: dict[str, Any], floor: float, shuffled: float) -> str:
    """The three aims, each with what both ways reached and how far seeds lie apart."""
    first, second = (results[name] for name in ARMS)
    nats, pairs = "nats/character", "KL of pairs, beyond 50"
    one = lambda text, a, b, aim: f"  {text}: {_spread(a)} to {_spread(b)}; {aim}"
    fall = first["fresh_judge"]["mean"] - second["fresh_judge"]["mean"]
    cost = second["test"][nats]["mean"] / first["test"][nats]["mean"] - 1
    kinder = second["test"][pairs]["mean"] <= first["test"][pairs]["mean"]
    seeds = lambda result, name: result["test"][name]["seeds"]
    return "\n".join(
        [
            "teacher forcing to professor forcing, mean and standard deviation over seeds:",
            one(
                "fresh discriminator's accuracy",
                first["fresh_judge"]["seeds"],
                second["fresh_judge"]["seeds"],
                f"falls by {fall:.3f}, aim {FEWER}: {_met(fall >= FEWER)}",
            ),
            one(
                "test nats/character",
                seeds(first, nats),
                seeds(second, nats),
                f"{cost:+.1%}, aim at most {WORSE - 1:.0%}: {_met(cost <= WORSE - 1)}",
            ),
            one(
                "KL of pairs, characters 51 to 200",
                seeds(first, pairs),
                seeds(second, pairs),
                f"aim not worse: {_met(kinder)}; real text {floor:.4f}, shuffled {shuffled:.3f}",
            ),
        ]
    )


def _spread(values: list[float]) -> str:
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)
    return f"{mean:.4f} ± {variance**0.5:.4f}"


def _met(condition: bool) -> str:
    return "met" if condition else "missed"


if __name__ == "__main__":
    sys.exit(main())
