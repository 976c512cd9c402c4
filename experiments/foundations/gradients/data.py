"""Python's own help texts as characters, in three parts without a paragraph in common."""

import re
from functools import cache
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.task import TEST

LETTERS = " abcdefghijklmnopqrstuvwxyz0.,:;()[]'\"`=_-*"


@cache
def splits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test text as ids: six, one and one eighths of the topics.

    Topics share paragraphs; each is taken where it comes first.
    """
    parts: list[list[str]] = [[], [], []]
    seen: set[str] = set()
    for number, name in enumerate(sorted(topics)):
        for paragraph in topics[name].split("\n\n"):
            text = re.sub(r"\d+", "0", paragraph.lower())
            text = re.sub(f"[^{re.escape(LETTERS)}]+", " ", text)
            text = re.sub(r" +", " ", text).strip() + " "
            if text not in seen:
                parts[{6: 1, 7: 2}.get(number % 8, 0)].append(text)
            seen.add(text)
    place = {letter: i for i, letter in enumerate(LETTERS)}
    train, valid, test = (np.array([place[c] for c in "".join(p)], np.int32) for p in parts)
    return train, valid, test


def windows(tokens: jax.Array, key: jax.Array, rows: int, length: int) -> jax.Array:
    """Random pieces of a text, [rows, length]."""
    starts = jax.random.randint(key, (rows, 1), 0, tokens.size - length)
    return tokens[starts + jnp.arange(length, dtype=jnp.int32)]


def test_windows(rows: int, length: int) -> jax.Array:
    """The same pieces of the test text for every network, [rows, length]."""
    return windows(jnp.asarray(splits()[TEST + 1]), jax.random.key(TEST), rows, length)


def unigram_entropy() -> float:
    """Nats a character of the test text for the frequencies of the training text."""
    train, _, test = splits()
    counts = np.bincount(train, minlength=len(LETTERS)) + 1.0
    return float(-np.log(counts / counts.sum())[test].mean())
