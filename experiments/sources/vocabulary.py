"""Characters as integers, with one token for where a document begins and ends."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

BOUNDARY = 0  # begins and ends every document; no character has this number


@dataclass(frozen=True)
class Vocabulary:
    """The characters of a corpus, sorted; the one at position i has the number i + 1.

    Example:
      >>> vocabulary = Vocabulary.of(["abba", "cab"])
      >>> len(vocabulary), vocabulary.encode("cab").tolist()
      (4, [3, 1, 2])
    """

    characters: str

    @classmethod
    def of(cls, documents: Iterable[str]) -> "Vocabulary":
        """The vocabulary of some documents."""
        return cls("".join(sorted(set().union(*documents))))

    def __post_init__(self):
        if list(self.characters) != sorted(set(self.characters)):
            raise ValueError("characters must be sorted, each once; use Vocabulary.of(documents)")

    def __len__(self) -> int:
        """The number of tokens: the characters and the boundary."""
        return len(self.characters) + 1

    def encode(self, text: str) -> np.ndarray:
        """The numbers of a text's characters, without boundaries.

        Returns:
          [len(text)] int32, from 1 to len(self) - 1.

        Raises:
          ValueError: if the text has characters that are not in the vocabulary.
        """
        numbers = {character: number for number, character in enumerate(self.characters, 1)}
        unknown = sorted(set(text) - set(numbers))
        if unknown:
            raise ValueError(
                f"unknown characters {''.join(unknown)!r}; the model knows {self.characters!r}"
            )
        return np.array([numbers[character] for character in text], np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of some tokens up to the first boundary, or to their end.

        Args:
          tokens: [L] integers from 0 to len(self) - 1.
        """
        text = []
        for token in tokens:
            if token == BOUNDARY:
                break
            text.append(self.characters[int(token) - 1])
        return "".join(text)
