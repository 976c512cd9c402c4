"""A text too small for the network, and a symbol to remember."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.dropout.arms import Arm, Network
from experiments.sweeps import Task, estimate

WINDOW, BATCH_SIZE, TEXT_SIZE = 64, 16, 64
TRAINED, HELD_OUT = 12_000, 15_000  # characters: to train on; to validate and to test on, each
LAG, CLASSES, NOISE, PROBE_SIZE, TEST_ROWS = 20, 8, 8, 32, 1024


@dataclass(frozen=True, eq=False)
class Text:
    """Characters as ids.

    Attributes:
      train: [N].
      held_out: [2, M], to validate on and to test on.
      vocab_size: V.
    """

    train: np.ndarray
    held_out: np.ndarray
    vocab_size: int

    @classmethod
    def of(cls, train: str, valid: str, test: str) -> "Text":
        """Encodes three splits; the longer of the latter two is cut to the length of the other."""
        letters = {letter: i for i, letter in enumerate(sorted(set(train + valid + test)))}
        encode = lambda text: np.array([letters[letter] for letter in text], np.int32)
        size = min(len(valid), len(test))
        return cls(
            encode(train), np.stack([encode(valid[:size]), encode(test[:size])]), len(letters)
        )

    @property
    def unigram(self) -> float:
        """Nats a character of the test text by the training text's counts, one added to each."""
        counts = np.bincount(self.train, minlength=self.vocab_size) + 1
        return float(-np.mean(np.log(counts / counts.sum())[self.held_out[1]]))


def tunes() -> Text:
    """Tunes of Aird's collection from the music21 package, all versions of a tune on one side.

    Raises:
      DataError: (a ValueError) if music21 is missing.
    """
    from experiments.music.tunes import read_tunes, split_tunes

    few = [tune for tune in read_tunes() if tune.collection == "airdsAirs"]
    splits = split_tunes(few, valid=0.2, test=0.2)
    cut = lambda texts, size: "\n".join(texts)[:size]
    valid, test = cut(splits.valid, HELD_OUT), cut(splits.test, HELD_OUT)
    return Text.of(cut(splits.train, TRAINED), valid, test)


def rows(ids: jax.Array) -> jax.Array:
    """Ids [..., N] as rows of WINDOW + 1 that overlap by one, what is left at the end cut off."""
    count = (ids.shape[-1] - 1) // WINDOW
    places = jnp.arange(count)[:, None] * WINDOW + jnp.arange(WINDOW + 1)
    return ids[..., places]


def text_task(arm: Arm, text: Text, steps: int) -> Task:
    """Characters of a text, windows of it in random order; nats of held-out text and of its own."""
    net = Network(arm, TEXT_SIZE, text.vocab_size, text.vocab_size)
    train, held_out = jnp.asarray(text.train), rows(jnp.asarray(text.held_out))

    def losses(params, tokens, key=None):
        return sj.token_losses(net.logits(params, tokens[:, :-1], key), tokens[:, 1:])

    def loss(params, key):
        key_p, key_d = jax.random.split(key)
        starts = jax.random.randint(key_p, (BATCH_SIZE, 1), 0, len(train) - WINDOW)
        return losses(params, train[starts + jnp.arange(WINDOW + 1)], key_d).mean()

    def evaluate(params, key, split):
        del key
        own = rows(train)[: held_out.shape[1]]
        held = estimate(losses(params, held_out[split]))
        seen = estimate(losses(params, own))
        gap = type(held)(held.mean - seen.mean, jnp.hypot(held.error, seen.error))
        return {"nats/char": held, "training text": seen, "gap": gap}

    return Task(
        name=f"text, {arm.name}",
        init=net.init,
        loss=loss,
        evaluate=evaluate,
        metric="nats/char",
        optimum={},  # of tunes nobody knows it
        baseline=text.unigram,
        gate=text.unigram,
        steps=steps,
        rates=(3e-3, 1e-2),
        rises=False,
    )


def copying_rows(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Symbols [B, LAG + 1], the first of which is the class [B] to say after all the noise."""
    key_c, key_n = jax.random.split(key)
    classes = jax.random.randint(key_c, (count,), 0, CLASSES)
    noise = jax.random.randint(key_n, (count, LAG), CLASSES, CLASSES + NOISE)
    return jnp.concatenate([classes[:, None], noise], axis=1), classes


def probe(arm: Arm, steps: int) -> Task:
    """Is a symbol still known after LAG steps? Trained with dropout, asked without."""
    net = Network(arm, PROBE_SIZE, CLASSES + NOISE, CLASSES)

    def loss(params, key):
        key_r, key_d = jax.random.split(key)
        symbols, classes = copying_rows(key_r, 2 * BATCH_SIZE)
        return sj.cross_entropy(net.logits(params, symbols, key_d)[:, -1], classes)

    def evaluate(params, key, split):
        del split  # fresh rows, from another key
        symbols, classes = copying_rows(key, TEST_ROWS)
        logits = net.logits(params, symbols)[:, -1]
        nats = estimate(sj.token_losses(logits, classes))
        return {"accuracy": estimate(logits.argmax(axis=-1) == classes), "nats": nats}

    return Task(
        name=f"memory, {arm.name}",
        init=net.init,
        loss=loss,
        evaluate=evaluate,
        metric="accuracy",
        optimum={"accuracy": 1.0, "nats": 0.0},
        baseline=1 / CLASSES,
        gate=0.99,
        steps=steps,
        rates=(3e-3, 1e-2),
    )
