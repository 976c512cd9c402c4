"""Counts the grams (runs of tokens) of a length in documents, by sorting, without Python loops.

A gram is numbered by its position among the sorted grams of its length. Its key is the number of
its history, the gram before and one shorter, times (vocabulary + 1), plus its last token; so keys
stay below 2^63 whatever the length and the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNSEEN = -1  # the number of a gram that does not occur in training, or would cross documents


@dataclass(frozen=True)
class Grams:
    """The grams of one length in N joined tokens."""

    keys: np.ndarray  # [G] sorted
    counts: np.ndarray  # [G]
    first: np.ndarray  # [G] where each one first ends
    begins: np.ndarray  # [G] whether each one starts with the begin token
    numbers: np.ndarray  # [N] which one ends at each token, UNSEEN where it would cross documents


def count(
    tokens: np.ndarray, places: np.ndarray, vocabulary: int, histories: np.ndarray, length: int
) -> Grams:
    """Counts the grams of a length.

    Args:
      tokens: [N] and
      places: [N], both from `join`.
      vocabulary: number of tokens, the end token included.
      histories: [N] the numbers of the grams of length - 1 before each token; 0 for length 1.
      length: of the grams, at least 1.
    """
    inside = np.flatnonzero(places >= length - 1)
    keys, first, inverse, counts = np.unique(
        (histories * (vocabulary + 1) + tokens)[inside],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    if length == 1:
        counts[keys == vocabulary] = 0  # the begin token is never predicted
    numbers = np.full(len(tokens), UNSEEN)
    numbers[inside] = inverse
    return Grams(keys, counts, inside[first], places[inside[first]] == length - 1, numbers)


def before(numbers: np.ndarray) -> np.ndarray:
    """What stands one token earlier: [N] to [N]; the first token has nothing before it."""
    return np.concatenate([[UNSEEN], numbers[:-1]])


def join(documents: Sequence[np.ndarray], vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents as one array with begin (`vocabulary`) and end (0) tokens, and places in them.

    Args:
      documents: each [L] integers from 1 to vocabulary - 1.
      vocabulary: number of tokens, the end token included.

    Returns:
      Tokens [N] and the place of each one in its document [N], 0 for begin tokens; both int64.

    Raises:
      ValueError: if there are no documents or a token is out of range.
    """
    if not documents:
        raise ValueError("there are no documents")
    for document in documents:
        if len(document) and not 1 <= document.min() <= document.max() < vocabulary:
            raise ValueError(f"tokens must be from 1 to {vocabulary - 1}")
    joined = [np.concatenate([[vocabulary], document, [0]]) for document in documents]
    places = [np.arange(len(document)) for document in joined]
    return np.concatenate(joined).astype(np.int64), np.concatenate(places)
