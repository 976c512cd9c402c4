"""Strings and what they are to become: digits' names, run-length codes undone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = "abcd"
COUNTS = "12345"


class Pairs(NamedTuple):
    """Source and target strings as ids; target is padded with its end symbol, E.

    Fields:
      source: [N, S] ids.
      source_lengths: [N].
      target: [N, L] ids 0..E.
      target_lengths: [N], E counted once.
    """

    source: jax.Array
    source_lengths: jax.Array
    target: jax.Array
    target_lengths: jax.Array


def pairs(sources, targets, source_symbols: str, target_symbols: str) -> Pairs:
    """Strings as ids, padded on the right."""
    end = len(target_symbols)
    source = _table([[source_symbols.index(c) for c in text] for text in sources], 0)
    target = _table([[target_symbols.index(c) for c in text] + [end] for text in targets], end)
    sizes = lambda texts, more: jnp.array([len(text) + more for text in texts])
    return Pairs(source, sizes(sources, 0), target, sizes(targets, 1))


def _table(rows: list[list[int]], fill: int) -> jax.Array:
    table = np.full((len(rows), max(map(len, rows))), fill, np.int32)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return jnp.asarray(table)


def expand(runs: str) -> str:
    """Undoes a run-length code: "a3b2" is "aaabb"."""
    return "".join(letter * int(n) for letter, n in zip(runs[::2], runs[1::2], strict=True))


def all_runs(number: int) -> list[str]:
    """Every run-length code of so many runs; neighbouring letters differ."""
    found = [""]
    for _ in range(number):
        found = [
            text + letter + n
            for text in found
            for letter in LETTERS
            for n in COUNTS
            if text[-2:-1] != letter
        ]
    return found


def random_runs(number: int, rows: int, seed: int) -> list[str]:
    """Run-length codes of so many runs, drawn evenly."""
    rng = np.random.default_rng(seed)
    letters = np.cumsum(rng.integers(1, len(LETTERS), (rows, number)), axis=1) % len(LETTERS)
    counts = rng.integers(len(COUNTS), size=(rows, number))
    return [
        "".join(LETTERS[i] + COUNTS[n] for i, n in zip(*row, strict=True))
        for row in zip(letters, counts, strict=True)
    ]
