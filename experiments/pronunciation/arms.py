"""Three objectives of several strengths for one network, and how well it says words."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.lab.sweep import sweep
from experiments.lab.task import VALID, Task, estimate
from experiments.pronunciation import words
from experiments.pronunciation.models import ROOM, Network
from experiments.pronunciation.words import Split, Words
from seqjax import objectives

BATCH = 32
STEPS = 2000
RATES = 3e-3, 6e-3, 1.2e-2
METRIC = "phone error rate"


@dataclass(frozen=True)
class Arm:
    """An objective.

    Attributes:
      kind: "ML", "smoothing" (label smoothing by `strength`) or "RAML" (edit distance, at the
        temperature `strength` in edits).
      strength: 0 is maximum likelihood for all three.
    """

    kind: str
    strength: float = 0.0

    @property
    def name(self) -> str:
        """In tables."""
        return self.kind if self.kind == "ML" else f"{self.kind} {self.strength:g}"


ARMS = (
    Arm("ML"),
    *(Arm("smoothing", rate) for rate in (0.05, 0.1, 0.2, 0.3)),
    *(Arm("RAML", temperature) for temperature in (0.1, 0.12, 0.14, 0.16)),
)


def draw(arm: Arm, network: Network, key: jax.Array, data: Words, rows: int = BATCH):
    """A batch: letters and their counts, target phones [rows, ROOM + 1] and how many there are.

    Of a word with several pronunciations any is drawn, and of RAML's law one near to it.
    """
    key_w, key_v, key_e = jax.random.split(key, 3)
    chosen = jax.random.randint(key_w, (rows,), 0, data.letters.shape[0])
    variant = jax.random.randint(key_v, (rows,), 0, data.variants[chosen])
    targets, lengths = data.phones[chosen, variant], data.phone_counts[chosen, variant]
    if arm.kind == "RAML":
        how: dict[str, Any] = dict(vocab_size=network.phones, temperature=arm.strength)
        near = objectives.sample_edits(
            key_e, targets, lengths, max_len=ROOM, pad=network.end, **how
        )
        targets, lengths = near.tokens, near.lengths
    targets = jnp.pad(targets, ((0, 0), (0, ROOM + 1 - targets.shape[1])))
    targets = jnp.where(jnp.arange(ROOM + 1) < lengths[:, None], targets, network.end)
    return data.letters[chosen], data.letter_counts[chosen], targets, lengths


def score(said, counts, data: Words):
    """Edits [N] to the nearest variant of each word, and how many phones that one has."""
    edits = sj.metrics.edit_distance(said[:, None], data.phones, counts[:, None], data.phone_counts)
    edits = jnp.where(data.phone_counts > 0, edits, jnp.iinfo(jnp.int32).max)
    nearest = jnp.argmin(edits, axis=1)[:, None]
    take = lambda a: jnp.take_along_axis(a, nearest, axis=1)[:, 0]
    return take(edits), take(data.phone_counts)


def rates(edits, lengths):
    """Error rate of phones, over all words, and the share of words without an error."""
    each = edits.astype(jnp.float32) / jnp.mean(lengths.astype(jnp.float32))
    return {METRIC: estimate(each), "exact match": estimate((edits == 0).astype(jnp.float32))}


def nearest_spelling(train: Words, data: Words) -> dict[str, float]:
    """What the first pronunciation of the training word spelled most alike gives: no learning."""
    known = jnp.asarray(train.letters), jnp.asarray(train.letter_counts)
    one = lambda word, n: jnp.argmin(
        sj.metrics.edit_distance(known[0], word[None], known[1], n[None])
    )
    closest = np.asarray(jax.lax.map(lambda row: one(*row), (data.letters, data.letter_counts)))
    edits, lengths = score(train.phones[closest, 0], train.phone_counts[closest, 0], data)
    return {name: float(found.mean) for name, found in rates(edits, lengths).items()}


@cache
def split() -> Split:
    """The data, read once a process."""
    return words.load()


def make_task(arm: Arm, data: Split, steps: int = STEPS, baseline: float = 1.0) -> Task:
    """One objective; the learning rate is chosen by phone error rate on validation words."""
    network = Network(len(data.phones))
    train = jax.tree.map(jnp.asarray, data.train)
    tests = jax.tree.map(lambda *a: jnp.stack(a), data.valid, data.test)

    def loss(params, key):
        smoothing = arm.strength if arm.kind == "smoothing" else 0.0
        return network.loss(params, *draw(arm, network, key, train), smoothing)

    def evaluate(params, key, split):
        del key
        held_out = jax.tree.map(lambda a: a[split - VALID], tests)
        said = network.say(params, held_out.letters, held_out.letter_counts)
        return rates(*score(*said, held_out))

    return Task(
        name=arm.name,
        init=network.init,
        loss=loss,
        evaluate=evaluate,
        metric=METRIC,
        optimum={METRIC: 0.0},
        baseline=baseline,
        gate=baseline,
        steps=steps,
        rates=RATES,
        rises=False,
    )


def run_job(job: tuple[Arm, int, int, float]) -> tuple[str, dict[str, Any]]:
    """An arm's name and results."""
    arm, steps, seeds, baseline = job
    return arm.name, sweep(make_task(arm, split(), steps, baseline), range(seeds))[0]
