"""A character model of tunes with and without a professor: Lamb et al. 2016."""

from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.folder import RunFolder
from experiments.lab.record import Report, Table
from experiments.lab.task import Estimate, Task, estimate
from experiments.language.professor_forcing.data import (
    Text,
    floor_and_baseline,
    pair_counts,
    pair_divergence,
    tunes,
    unigram_entropy,
    windows,
)
from experiments.language.professor_forcing.model import (
    BATCH_SIZE,
    HIDDEN,
    JUDGE,
    fresh_judges,
    generator,
    judged,
    nats,
    written,
)

ARMS = TEACHER, PROFESSOR = "teacher forcing", "professor forcing"
NATS, PAIRS, JUDGED = "nats/character", "KL of pairs", "fresh discriminator's accuracy"
WORSE = 1.02  # what professor forcing may cost in nats a character
FEWER = 0.10  # by how much a fresh discriminator's accuracy should fall
TEST_ROWS, WRITTEN_ROWS = 256, 384


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train a character model on tunes with and without a discriminator of its behaviour."""

    seeds: int = 5
    """Runs of each way of training and learning rate."""
    steps: int = 600
    """Training steps of a run."""
    length: int = 50
    """Characters of a window."""
    written: int = 200
    """Characters that a model writes in a row; those beyond a window's length are compared."""
    judge_steps: int = 200
    """Training steps of a fresh discriminator."""


def task(name: str, text: Text, config: Config) -> Task:
    """Teacher forcing, or professor forcing where the name says so."""
    vocab_size = len(text.vocabulary)
    professor = name == PROFESSOR
    reference = pair_counts(text.rest[None], vocab_size)
    unigram = unigram_entropy(text.train, vocab_size)

    def init(key):
        judge = JUDGE.init(jax.random.fold_in(key, 1), HIDDEN + vocab_size)
        params = {"generator": generator(vocab_size)(key)}
        return params | ({"judge": judge} if professor else {})

    def loss(params, key):
        key_w, key_s = jax.random.split(key)
        piece = windows(text.train, key_w, BATCH_SIZE, config.length)
        if not professor:
            return nats(params["generator"], piece).mean()
        out = judged(params, piece, key_s)
        return out.generator + out.discriminator

    def evaluate(params, key, split):
        key_w, key_s = jax.random.split(key)
        piece = windows(text.held_out[split], key_w, TEST_ROWS, config.written)
        first = windows(text.rest, key_w, WRITTEN_ROWS, 1)[:, 0]
        late = written(params["generator"], first, config.written, key_s)[:, config.length :]
        pairs = pair_divergence(reference, pair_counts(late, vocab_size))
        return {
            NATS: estimate(nats(params["generator"], piece)),
            PAIRS: Estimate(pairs, jnp.zeros(())),
        }

    def watch(params):
        piece = windows(text.train, jax.random.key(3), 128, config.length)
        return judged(params, piece, jax.random.key(4)).accuracy

    return Task(
        name=name,
        init=init,
        loss=loss,
        evaluate=evaluate,
        metric=NATS,
        optimum={},  # of tunes nobody knows it
        baseline=unigram,
        gate=unigram,
        steps=config.steps,
        rates=(3e-3, 8e-3),
        rises=False,
        max_norm=10.0,
        watch=watch if professor else None,
    )


def tasks(config: Config) -> list[Task]:
    """Both ways of training."""
    return [task(name, tunes(), config) for name in ARMS]


def measure(config: Config, results: Results, folder: RunFolder) -> dict[str, Any]:
    """What fresh discriminators tell apart; how far real and shuffled text are from the tunes."""
    del folder
    text = tunes()
    floor, shuffled = floor_and_baseline(text, WRITTEN_ROWS, config.written - config.length)
    judge = jax.jit(lambda params: fresh_judges(params, text, config.length, config.judge_steps))
    accuracy = {name: judge(one["generator"]).tolist() for name, one in results.params.items()}
    return {"floor": floor, "shuffled": shuffled, JUDGED: accuracy}


def report(config: Config, results: Results) -> Report:
    """What both ways reached, and how far seeds lie apart."""
    found = {
        name: {
            JUDGED: results.measured[JUDGED][name],
            NATS: one["test"][NATS]["seeds"],
            PAIRS: one["test"][PAIRS]["seeds"],
        }
        for name, one in results.found.items()
    }
    rows = [
        [name, *(spread(one[key]) for key in (JUDGED, NATS, PAIRS))] for name, one in found.items()
    ]
    facts = results.measured
    caption = (
        f"Mean and standard deviation of {config.seeds} seeds; KL of pairs of written characters "
        f"{config.length + 1} to {config.written} (real text {facts['floor']:.3f}, shuffled "
        f"{facts['shuffled']:.3f}); without a past {results.tasks[0].baseline:.3f} nats:"
    )
    line, misses = verdict(
        {name: {k: mean(v) for k, v in one.items()} for name, one in found.items()}
    )
    return Report(
        line, [Table(["trained by", JUDGED, f"test {NATS}", PAIRS], rows, caption)], misses
    )


def verdict(means: dict[str, dict[str, float]]) -> tuple[str, list[str]]:
    """What professor forcing makes better, and every aim that it misses."""
    if len(means) < len(ARMS):
        return f"Nothing to compare: {', '.join(means)} alone.", []
    one, other = (means[name] for name in ARMS)
    better = [name for name in one if other[name] < one[name]]
    fall, cost = one[JUDGED] - other[JUDGED], other[NATS] / one[NATS] - 1
    aims = {
        f"a fresh discriminator's accuracy falls by {fall:.3f}, not {FEWER}": fall >= FEWER,
        f"nats a character: {cost:+.1%}, more than {WORSE - 1:.0%}": cost <= WORSE - 1,
        f"KL of pairs rises from {one[PAIRS]:.3f} to {other[PAIRS]:.3f}": PAIRS in better,
    }
    misses = [miss for miss, met in aims.items() if not met]
    gains = "; ".join(better) or "nothing"
    return f"Better by professor forcing: {gains}. Aims missed: {len(misses)} of 3.", misses


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}"


def draw(config: Config, results: Results) -> dict[str, Any]:
    """Four panels, a line or a point a seed."""
    import matplotlib.pyplot as plt

    facts, test = results.measured, {name: one["test"] for name, one in results.found.items()}
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.8), layout="constrained")
    curves = results.found[PROFESSOR]["watched"] if PROFESSOR in results.found else []
    for seed, curve in enumerate(curves):
        steps = (np.arange(len(curve)) + 1) * config.steps / len(curve)
        axes[0].plot(steps, curve, f"C{seed}", lw=1)
    axes[0].set_title(
        "its own discriminator's accuracy;\nit trains the generator between dotted lines"
    )
    panels = [
        (f"{JUDGED},\nheld-out text", facts[JUDGED], 0.5),
        (f"test {NATS}", {name: one[NATS]["seeds"] for name, one in test.items()}, None),
        (
            f"{PAIRS}; dashed: real text",
            {n: one[PAIRS]["seeds"] for n, one in test.items()},
            facts["floor"],
        ),
    ]
    for gate in (0.75, 0.99):
        axes[0].axhline(gate, color="k", ls=":", lw=1)
    for axis, (title, found, known) in zip(axes[1:], panels, strict=True):
        for place, seeds in enumerate(found.values()):
            colors = [f"C{seed}" for seed in range(len(seeds))]
            axis.scatter(place + np.linspace(-0.1, 0.1, len(seeds)), seeds, s=24, color=colors)
        if known is not None:
            axis.axhline(known, color="k", ls="--", lw=1)
        axis.set_xticks(range(len(found)), [name.replace(" ", "\n") for name in found], fontsize=8)
        axis.set(title=title, xlim=(-0.5, len(found) - 0.5))
    for axis in axes:
        axis.title.set_fontsize(9)
    axes[0].set_xlabel("step")
    return {"professor_forcing.png": figure}


EXPERIMENT = Experiment(
    name="professor_forcing",
    source="Lamb et al. 2016",
    data="100,000 characters of O'Neill's tunes",
    minutes=7,
    config=Config,
    tasks=tasks,
    measure=measure,
    report=report,
    draw=draw,
    needs=("music21",),
    quick={"seeds": 1, "steps": 50, "judge_steps": 50},
    tiny={"seeds": 1, "steps": 2, "length": 3, "written": 5, "judge_steps": 1, "only": "professor"},
)
