"""python -m experiments.scheduled_sampling: labels that a tagger reads back, true or its own."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.commands import check_counts, run_command
from experiments.lab.folder import RunFolder

SHARE = 0.8  # of teacher forcing's free-running error: the aim of the other arms


@dataclass(frozen=True)
class Config:
    """Train taggers of sticky labels with true or own labels as inputs."""

    seeds: int = 3
    """Runs of each way of training and learning rate."""
    steps: int = 1000
    """Training steps of a run."""
    threads: int = 2
    """Runs at the same time."""
    out: Path = Path("runs/scheduled_sampling")
    """Where results.json and scheduled_sampling.png are written."""


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 1 where a result is too good, 2 after a wrong argument."""
    return run_command(run_experiment, Config, args, "python -m experiments.scheduled_sampling")


def run_experiment(config: Config, folder: RunFolder) -> int:
    """Every way of training, Huszár's source, and the report."""
    import jax
    import jax.numpy as jnp

    from experiments import report
    from experiments.lab.sweep import sweep
    from experiments.scheduled_sampling import arms, pictures

    check_counts(config, "seeds", "steps", "threads")
    begun = time.perf_counter()
    bound = arms.filter_error()
    no_skill = 1 - 1 / arms.SOURCE.labels
    tasks, results, wrong, gate = [], {}, {}, no_skill
    labels, seen = arms.SOURCE.draw(jax.random.key(5), 4096, arms.LENGTH)
    for arm in arms.arms(config.steps):
        print(f"{arm.name} ...", flush=True)
        task = arms.task(arm, config.steps, bound, gate)
        results[arm.name], params = sweep(task, range(config.seeds), config.threads)
        tasks.append(task)
        if gate == no_skill:  # teacher forcing, which comes first, is the others' measure
            gate = SHARE * results[arm.name]["test"][task.metric]["mean"]
        wrong[arm.name] = arms.gap(jax.tree.map(lambda a: a[0], params), labels, seen).free_error
    wrong["exact filter"] = jnp.argmax(arms.SOURCE.filter(seen), axis=-1) != labels
    wrong["exact filter"] = wrong["exact filter"].mean(axis=0)
    table = huszar_table(config.seeds)
    seconds = time.perf_counter() - begun
    print(f"\non test data, {config.seeds} seeds, learning rate chosen on validation data:")
    print(report.table(tasks, results))
    print(shares(results))
    print(huszar_lines(table))
    places = {name: values.tolist() for name, values in wrong.items()}
    extra = {"by_place": places, "huszar": table}
    report.write_results(folder, tasks, results, seconds, extra)
    with folder.writing("scheduled_sampling.png") as path:
        pictures.draw(path, results, places, table)
    print(f"{seconds:.0f} s; results.json and scheduled_sampling.png are in {folder.path}")
    return report.conclude(results)


def shares(results: dict[str, Any]) -> str:
    """The free-running error of each arm as a share of teacher forcing's; the aim is SHARE."""
    error = lambda name: results[name]["test"]["free-running error"]["mean"]
    first, *others = results
    parts = [f"{name} {error(name) / error(first):.2f}" for name in others]
    return f"free-running error, share of teacher forcing's (aim {SHARE}): " + ", ".join(parts)


def huszar_table(seeds: int) -> list[list[float]]:
    """Rows (ε, learned Q(x₂ = x₁ | x₁)), the mean of both x₁."""
    import jax
    import jax.numpy as jnp

    from experiments.scheduled_sampling import huszar

    epsilons = jnp.linspace(0, 1, 5)
    pairs = [(epsilon, jax.random.key(seed)) for epsilon in epsilons for seed in range(seeds)]
    learned = jax.jit(huszar.learned)
    tables = [learned(*pair) for pair in pairs]
    return [
        [float(epsilon), float((table[0, 0] + table[1, 1]) / 2)]
        for (epsilon, _), table in zip(pairs, tables, strict=True)
    ]


def huszar_lines(table: list[list[float]]) -> str:
    """What two steps of Huszár's source teach, beside where the critique says it ends."""
    from experiments.scheduled_sampling.huszar import optimum

    lines = ["Huszár's source: ε, learned Q(x2 = x1 | x1) of each seed, 0.95 ε + 0.5 (1 - ε)"]
    for epsilon in sorted({row[0] for row in table}, reverse=True):
        seeds = " ".join(f"{row[1]:.4f}" for row in table if row[0] == epsilon)
        lines.append(f"  {epsilon:.2f}  {seeds}  {optimum(epsilon):.4f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
