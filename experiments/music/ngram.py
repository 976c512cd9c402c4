"""Interpolated Kneser-Ney n-grams over tokens: the baseline of the music experiment.

    p(w | h) = max(c(hw) - D(c(hw)), 0) / c(h) + gamma(h) p(w | h')
    gamma(h) = (D₁ N₁(h) + D₂ N₂(h) + D₃ N₃(h)) / c(h)

h' is h without its oldest token; N₁(h), N₂(h), N₃(h) count the tokens seen once, twice and at
least three times after h. Below the highest order c counts the different tokens to the left instead
of the occurrences; only what begins a document, which nothing precedes, keeps its occurrences.
Order 0 is uniform over the vocabulary, so no probability is zero.

A document is scored as its tokens and an end token, given a begin token; contexts never cross
documents. Bits per character are the sum of -log2 p over the number of scored tokens, where the end
token counts as one. A neural model that is compared must be scored in the same way.

References:
  Chen and Goodman, An empirical study of smoothing techniques for language modeling, TR-10-98,
  1998: equations of interpolated and of modified Kneser-Ney smoothing (three discounts).
  Heafield et al., Scalable modified Kneser-Ney language model estimation, 2013: counts at the
  beginnings of documents, discounts where counts of counts are missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.music.grams import UNSEEN, before, count, join
from experiments.music.smoothing import Smoothed


@dataclass(frozen=True)
class Order:
    """The grams of one length; a gram's number is its position in the sorted keys."""

    keys: np.ndarray  # [G] number of the history x (vocabulary + 1) + last token
    highest: Smoothed  # counts occurrences: for the model of this order
    lower: Smoothed  # counts different tokens to the left: for the models of higher orders

    def number(self, keys: np.ndarray) -> np.ndarray:
        """The numbers of grams given by their keys, UNSEEN where there is no such gram."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, UNSEEN)


@dataclass(frozen=True)
class KneserNey:
    """The models of every order up to `len(orders)`, which share their tables."""

    vocabulary: int
    orders: tuple[Order, ...]

    @classmethod
    def fit(
        cls, documents: Sequence[np.ndarray], vocabulary: int, order: int = 8, modified: bool = True
    ) -> "KneserNey":
        """Counts the grams of some documents.

        Args:
          documents: each [L] integers from 1 to vocabulary - 1; 0 is the end token.
          vocabulary: number of tokens, the end token included.
          order: greatest length of a gram.
          modified: three discounts an order rather than one.

        Raises:
          ValueError: if there are no documents, a token is out of range, or order < 1.
        """
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        tokens, places = join(documents, vocabulary)
        grams = [count(tokens, places, vocabulary, np.zeros_like(tokens), 1)]
        for length in range(2, order + 2):
            grams.append(count(tokens, places, vocabulary, before(grams[-1].numbers), length))
        orders = []
        for shorter, longer in zip(grams, grams[1:], strict=False):
            # Each longer gram adds a token to the left of the shorter one that ends where it does.
            left = np.bincount(shorter.numbers[longer.first], minlength=len(shorter.keys))
            lower = np.where(shorter.begins, shorter.counts, left)
            histories = shorter.keys // (vocabulary + 1)
            smoothed = (Smoothed.of(c, histories, modified) for c in (shorter.counts, lower))
            orders.append(Order(shorter.keys, *smoothed))
        return cls(vocabulary, tuple(orders))

    def bits_per_token(self, documents: Sequence[np.ndarray]) -> np.ndarray:
        """Mean of -log2 p over all tokens and end tokens of some documents.

        Args:
          documents: each [L] integers from 1 to vocabulary - 1.

        Returns:
          [order] bits, for the models of order 1, 2, ...

        Raises:
          ValueError: if there are no documents or a token is out of range.
        """
        tokens, places = join(documents, self.vocabulary)
        scored = places > 0
        histories = [h[scored] for h in self._histories(tokens, places)]
        return np.array(
            [-np.log2(p).mean() for p in self._probabilities(histories, tokens[scored])]
        )

    def distribution(self, history: Sequence[int], order: int | None = None) -> np.ndarray:
        """p(w | h) for every token w, by the model of one order.

        Args:
          history: [L] the tokens since the begin token, which is added here.
          order: which model; None means the highest.

        Returns:
          [vocabulary] probabilities; position 0 is the end token.
        """
        tokens, places = join([np.array(history, np.int64)], self.vocabulary)
        histories = [h[-1:].repeat(self.vocabulary) for h in self._histories(tokens, places)]
        models = self._probabilities(histories, np.arange(self.vocabulary))
        return models[(order or len(self.orders)) - 1]

    def _histories(self, tokens: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
        """For each length from 0 the number of the history before each of N tokens, each [N]."""
        histories = [np.zeros_like(tokens)]
        for length, order in enumerate(self.orders[:-1], 1):
            keys = histories[-1] * (self.vocabulary + 1) + tokens
            inside = (places >= length - 1) & (histories[-1] >= 0)
            histories.append(before(np.where(inside, order.number(keys), UNSEEN)))
        return histories

    def _probabilities(self, histories: list[np.ndarray], tokens: np.ndarray) -> list[np.ndarray]:
        """p of N tokens after their histories by the model of each order, each [N]."""
        models, shorter = [], np.full(len(tokens), 1 / self.vocabulary)
        for order, history in zip(self.orders, histories, strict=True):
            grams = order.number(history * (self.vocabulary + 1) + tokens)
            models.append(order.highest.probability(grams, history, shorter))
            shorter = order.lower.probability(grams, history, shorter)
        return models


@dataclass(frozen=True)
class Baseline:
    """The best order on validation, and bits per character."""

    order: int
    test: float
    by_order: tuple[float, ...]  # on validation, for orders 1, 2, ...

    @property
    def valid(self) -> float:
        """Bits per character of the best order on validation."""
        return self.by_order[self.order - 1]


def baseline(splits: Sequence[Sequence[np.ndarray]], vocabulary: int, order: int = 8) -> Baseline:
    """Fits every order up to `order`, chooses one on validation and scores it on test.

    Args:
      splits: the documents of train, valid and test, each [L] integers from 1 to vocabulary - 1.
      vocabulary: number of tokens, the end token included.
      order: the greatest one tried.
    """
    train, valid, test = splits
    model = KneserNey.fit(train, vocabulary, order)
    by_order = model.bits_per_token(valid)
    best = int(by_order.argmin())
    return Baseline(best + 1, float(model.bits_per_token(test)[best]), tuple(by_order.tolist()))
