"""Tunes as streams of characters, and how far samples are from them in pairs of characters."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from experiments.sources.text import DataError
from experiments.sources.tunes import read_tunes, split_tunes
from experiments.sources.vocabulary import Vocabulary

TRAINED, HELD_OUT = 100_000, 40_000  # characters
SMOOTHING = 0.5  # added to each count of a pair


@dataclass(frozen=True)
class Text:
    """Streams of characters, tunes apart by an empty line.

    Attributes:
      vocabulary: of all of it.
      train: [N], what is learned.
      held_out: [2, M], for validation and for testing; no tune, in any version, is in two streams.
      rest: [R], tunes for training that are not learned: the reference for pairs of characters.
    """

    vocabulary: Vocabulary
    train: jax.Array
    held_out: jax.Array
    rest: jax.Array

    @classmethod
    def cut(cls, train: str, valid: str, test: str, size: int = TRAINED) -> "Text":
        """Streams of one text a split; a split that is too short is refused."""
        width = min(HELD_OUT, len(valid), len(test))
        if len(train) <= size or width < 1000:
            raise DataError(f"the text has {len(train)} characters; expected more than {size}")
        vocabulary = Vocabulary.of([train, valid, test])
        encode = lambda text: jnp.asarray(vocabulary.encode(text))
        held_out = jnp.stack([encode(valid[:width]), encode(test[:width])])
        return cls(vocabulary, encode(train[:size]), held_out, encode(train[size:]))


@cache
def tunes() -> Text:
    """O'Neill's tunes from music21, in an order of chance; the book has them by kind.

    Raises:
      DataError: (a ValueError) if music21 is not installed.
    """
    found = [tune for tune in read_tunes() if tune.collection == "oneills1850"]
    np.random.default_rng(0).shuffle(found)
    train, valid, test = ("\n\n".join(split) for _, split in split_tunes(found).items())
    return Text.cut(train, valid, test)


def windows(stream: jax.Array, key: jax.Array, rows: int, length: int) -> jax.Array:
    """Random pieces [B, T + 1] of a stream [N]: a first input and T targets."""
    begin = jax.random.randint(key, (rows, 1), 0, stream.shape[0] - length)
    return stream[begin + jnp.arange(length + 1, dtype=jnp.int32)]


def pair_counts(tokens: jax.Array, vocab_size: int) -> jax.Array:
    """How often each pair stands side by side in rows [B, T]: [V, V]."""
    pairs = tokens[:, :-1] * vocab_size + tokens[:, 1:]
    counts = jnp.zeros(vocab_size**2, jnp.float32).at[pairs.reshape(-1)].add(1.0)
    return counts.reshape(vocab_size, vocab_size)


def pair_divergence(reference: jax.Array, samples: jax.Array) -> jax.Array:
    """KL of pairs, from reference counts [V, V] to samples' counts, in nats a pair.

    The samples' counts are smoothed, so that a pair which they lack costs no infinity; a finite
    sample of the reference itself is above 0 by what its number of pairs and the smoothing do.
    """
    p = reference / reference.sum()
    q = (samples + SMOOTHING) / (samples.sum() + SMOOTHING * samples.size)
    return jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1) / q), 0))


def floor_and_baseline(text: Text, rows: int, length: int) -> tuple[float, float]:
    """The divergence of real text, as much as is sampled, and that of its characters shuffled."""
    vocab_size = len(text.vocabulary)
    reference = pair_counts(text.rest[None], vocab_size)
    key_w, key_s = jax.random.split(jax.random.key(11))
    real = windows(text.rest, key_w, rows, length)
    shuffled = jax.random.permutation(key_s, real, axis=1, independent=True)
    found = [pair_divergence(reference, pair_counts(x, vocab_size)) for x in (real, shuffled)]
    return float(found[0]), float(found[1])


def unigram_entropy(tokens: jax.Array, vocab_size: int) -> float:
    """Nats a character of the best predictor that sees no past."""
    p = np.bincount(np.asarray(tokens), minlength=vocab_size) / tokens.size
    return float(-np.sum(p[p > 0] * np.log(p[p > 0])))
