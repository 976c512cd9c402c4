"""A text too small for the network, and rows with a symbol to remember."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments.sources.tunes import read_tunes, split_tunes

WINDOW = 64
TRAINED, HELD_OUT = 12_000, 15_000  # characters: to train on; to validate and to test on, each
LAG, CLASSES, NOISE = 20, 8, 8


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


def copying_rows(key: jax.Array, count: int, lag: int) -> tuple[jax.Array, jax.Array]:
    """Symbols [B, lag + 1], the first of which is the class [B] to say after all the noise."""
    key_c, key_n = jax.random.split(key)
    classes = jax.random.randint(key_c, (count,), 0, CLASSES)
    noise = jax.random.randint(key_n, (count, lag), CLASSES, CLASSES + NOISE)
    return jnp.concatenate([classes[:, None], noise], axis=1), classes
