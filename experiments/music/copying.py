"""How much of a sample is copied: its longest substring that occurs in the training text."""

from collections.abc import Sequence

import numpy as np

BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
SEPARATOR = "\0"  # between documents; no sample contains it


class TrainingText:
    """Documents joined for searching; a found substring never crosses two of them.

    Equal substrings have equal hashes (the sum of character x BASE^position modulo 2^64, shifted to
    position 0), so the longest common length is found by bisection. A hash only proposes: the text
    itself decides.

    Example:
      >>> TrainingText(["the cat", "sat on"]).longest_copy("a cat sat")
      ' cat'
    """

    def __init__(self, documents: Sequence[str]):
        self._text = SEPARATOR.join(documents)
        self._sums, self._inverse = _prefix_sums(self._text)

    def longest_copy(self, sample: str) -> str:
        """The longest substring of a sample in the training text, the first one of that length."""
        sample = sample.replace(SEPARATOR, "")
        sums, inverse = _prefix_sums(sample)
        found, low, high = 0, 0, min(len(sample), len(self._text))
        while low < high:
            length = (low + high + 1) // 2
            own = _hashes(sums, inverse, length)
            shared = _members(own, _hashes(self._sums, self._inverse, length))
            starts = [at for at in shared.tolist() if sample[at : at + length] in self._text]
            if starts:
                low, found = length, starts[0]
            else:
                high = length - 1
        return sample[found : found + low]


def _prefix_sums(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Sums of character x BASE^position before each position [N + 1], and BASE^-position [N]."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    inverse = np.uint64(pow(int(BASE), -1, 2**64))
    powers, inverses = (
        np.cumprod(np.r_[np.uint64(1), np.full(max(len(text) - 1, 0), base, np.uint64)])
        for base in (BASE, inverse)
    )
    sums = np.r_[np.uint64(0), np.cumsum(codes * powers[: len(text)], dtype=np.uint64)]
    return sums, inverses[: len(text)]


def _members(few: np.ndarray, many: np.ndarray) -> np.ndarray:
    """The positions of those of a few hashes that are among many; a table sifts the many first."""
    table = np.zeros(2**16, bool)
    table[few >> np.uint64(48)] = True
    return np.flatnonzero(np.isin(few, many[table[many >> np.uint64(48)]]))


def _hashes(sums: np.ndarray, inverses: np.ndarray, length: int) -> np.ndarray:
    """The hash of every substring of a length: [N - length + 1] uint64."""
    return (sums[length:] - sums[:-length]) * inverses[: len(inverses) - length + 1]
