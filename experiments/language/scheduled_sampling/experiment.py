"""Labels that a tagger reads back, true or its own: Bengio et al. 2015, and Huszár's critique."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.folder import RunFolder
from experiments.lab.record import Report, Table
from experiments.lab.task import Task, estimate
from experiments.language.scheduled_sampling.data import (
    LABELS,
    LENGTH,
    MODEL,
    STAY,
    filter_error,
    pairs_optimum,
)
from experiments.language.scheduled_sampling.model import Arm, arms, init, learned_pairs, wrong
from experiments.sources.hmm import posteriors, told_error

BATCH_SIZE, TEST_ROWS = 64, 1024
SHARE = 0.8  # of teacher forcing's free-running error: the aim of the other arms
FREE, TOLD = "free-running error", "next-label error"


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train taggers of sticky labels with true or own labels as inputs."""

    steps: int = 1000
    """Training steps of a run."""
    length: int = LENGTH
    """Labels of a row."""
    pair_steps: int = 200
    """Training steps on Huszár's source."""


def task(arm: Arm, bound: float, config: Config) -> Task:
    """One way of training; the learning rate is chosen by the free-running error for each."""

    def loss(params, count, key):
        key_d, key_s = jax.random.split(key)
        seen, labels = MODEL.draw(key_d, BATCH_SIZE, config.length)
        return arm.loss(params, labels, seen, count, key_s), count + 1

    def evaluate(params, key, split):
        del split  # the key differs
        seen, labels = MODEL.draw(key, TEST_ROWS, config.length)
        filtered = posteriors(MODEL, seen)[0].argmax(axis=-1)
        found = wrong(params, labels, seen) | {"exact filter's error": filtered != labels}
        return {name: estimate(errors) for name, errors in found.items()}

    return Task(
        name=arm.name,
        init=init,
        loss=loss,
        evaluate=evaluate,
        metric=FREE,
        optimum={FREE: bound, TOLD: told_error(MODEL, config.length)},
        baseline=1 - 1 / LABELS,
        gate=1 - 1 / LABELS,
        steps=config.steps,
        rates=(2e-3, 5e-3, 1.2e-2),
        rises=False,
        carry=lambda params: jnp.int32(0),
    )


def tasks(config: Config) -> list[Task]:
    """Every way of training, teacher forcing first."""
    bound = filter_error(config.length)
    return [task(arm, bound, config) for arm in arms(config.steps)]


def measure(config: Config, results: Results, folder: RunFolder) -> dict[str, Any]:
    """Errors by place of the first seeds, and what is learned of Huszár's source."""
    del folder
    seen, labels = MODEL.draw(jax.random.key(5), 4 * TEST_ROWS, config.length)
    free = jax.jit(lambda params: wrong(params, labels, seen)[FREE].mean(axis=0))
    first = {name: jax.tree.map(lambda a: a[0], one) for name, one in results.params.items()}
    places = {name: free(params).tolist() for name, params in first.items()}
    exact = (posteriors(MODEL, seen)[0].argmax(axis=-1) != labels).mean(axis=0)
    epsilons = jnp.linspace(1, 0, 5)
    keys = jax.vmap(jax.random.key)(jnp.arange(config.seeds))
    learn = jax.jit(
        jax.vmap(lambda e: jax.vmap(lambda k: learned_pairs(e, k, config.pair_steps))(keys))
    )
    tables = learn(epsilons)  # [ε, seed, token read, token predicted]
    stays = (tables[..., 0, 0] + tables[..., 1, 1]) / 2
    return {
        "by_place": places | {"exact filter": exact.tolist()},
        "pairs": {
            f"{e:g}": seeds for e, seeds in zip(epsilons.tolist(), stays.tolist(), strict=True)
        },
    }


def report(config: Config, results: Results) -> Report:
    """Errors on its own and told the label before; shares of teacher forcing's; Huszár's source."""
    test = {name: found["test"] for name, found in results.found.items()}
    spread = lambda one: f"{one['mean']:.3f} ({one['min']:.3f} to {one['max']:.3f})"
    rows = [
        [name, spread(one[FREE]), spread(one[TOLD]), f"{results.found[name]['rate']:g}"]
        for name, one in test.items()
    ]
    least = results.tasks[0].optimum
    rows.append(["the least possible", f"{least[FREE]:.3f}", f"{least[TOLD]:.3f}", ""])
    caption = f"Share of wrong labels, mean, best and worst of {config.seeds} seeds; a guess: 0.9:"
    head = ["trained by", "on its own, greedily", "told the label before", "rate"]
    line, misses = verdict({name: one[FREE]["mean"] for name, one in test.items()})
    tables = [Table(head, rows, caption), pairs_table(results.measured["pairs"])]
    return Report(line, tables, misses)


def verdict(errors: Mapping[str, float]) -> tuple[str, list[str]]:
    """Free-running errors as shares of teacher forcing's; a miss for each above the aim."""
    if "teacher forcing" not in errors:
        return f"Error on its own: {', '.join(f'{n} {e:.3f}' for n, e in errors.items())}.", []
    shares = {name: error / errors["teacher forcing"] for name, error in errors.items()}
    del shares["teacher forcing"]
    lines = [f"{name} {share:.2f}" for name, share in shares.items()]
    misses = [
        f"{name}: {share:.2f} of teacher forcing's error, not {SHARE}"
        for name, share in shares.items()
        if share > SHARE
    ]
    return f"Error on its own, of teacher forcing's: {', '.join(lines)} (aim: {SHARE}).", misses


def pairs_table(pairs: Mapping[str, list[float]]) -> Table:
    """What is learned of Huszár's source beside where the critique says that it ends."""
    rows = [
        [epsilon, ", ".join(f"{one:.3f}" for one in seeds), f"{pairs_optimum(float(epsilon)):.4f}"]
        for epsilon, seeds in pairs.items()
    ]
    caption = f"Huszár's source, whose second symbol is the first with probability {STAY}:"
    return Table(["ε", "learned, each seed", "0.95 ε + 0.5 (1 - ε)"], rows, caption)


def draw(config: Config, results: Results) -> dict[str, Any]:
    """Errors, a point a seed; errors by place; Huszár's source. Exact bounds are black."""
    import matplotlib.pyplot as plt

    del config
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for kind, color, style in ((FREE, "C3", "--"), (TOLD, "C0", ":")):
        for place, found in enumerate(results.found.values()):
            seeds = found["test"][kind]["seeds"]
            spread = place + np.linspace(-0.12, 0.12, len(seeds))
            left.scatter(spread, seeds, s=22, color=color, label=None if place else kind)
        left.axhline(results.tasks[0].optimum[kind], color="k", ls=style, label=f"least {kind}")
    names = [name.replace(" ", "\n") for name in results.found]
    left.set_xticks(range(len(names)), names, fontsize=8)
    left.set(title="sticky labels, a point a seed", ylabel="share of wrong labels", ylim=(0, None))
    for index, (name, errors) in enumerate(results.measured["by_place"].items()):
        exact = name.startswith("exact")
        how = {"color": "k", "ls": "--"} if exact else {"color": f"C{index}", "lw": 4.5 - index}
        middle.plot(errors, label=name, **how)
    middle.set(title="errors feed on errors (seed 0)", xlabel="step", ylim=(0, None))
    middle.set_ylabel("share of wrong labels, on its own")
    line = np.linspace(0, 1, 50)
    right.plot(line, pairs_optimum(line), color="k", label="0.95 ε + 0.5 (1 - ε)")
    right.axhline(STAY, color="0.6", ls=":", label="the source's own")
    for epsilon, seeds in results.measured["pairs"].items():
        right.scatter([float(epsilon)] * len(seeds), seeds, s=16, color="C3")
    right.set(title="Huszár's source of two steps", xlabel="ε, probability of a true input")
    right.set_ylabel("Q(x₂ = x₁ | x₁), a point a seed")
    for axis in (left, middle, right):
        axis.legend(fontsize=7)
    return {"scheduled_sampling.png": figure}


EXPERIMENT = Experiment(
    name="scheduled_sampling",
    source="Bengio et al. 2015; Huszár 2015",
    data="drawn: a hidden Markov model of sticky labels",
    minutes=7,
    config=Config,
    tasks=tasks,
    measure=measure,
    report=report,
    draw=draw,
    quick={"seeds": 1, "steps": 100},
    tiny={"seeds": 1, "steps": 2, "length": 4, "pair_steps": 2, "only": "always"},
)
