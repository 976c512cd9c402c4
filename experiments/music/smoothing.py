"""Modified Kneser-Ney discounts of one order's counts.

References:
  Chen and Goodman, An empirical study of smoothing techniques for language modeling, TR-10-98,
  1998: modified Kneser-Ney smoothing.
"""

from dataclasses import dataclass

import numpy as np

FALLBACK = (0.5, 1.0, 1.5)  # KenLM's, where the estimate has no answer


def discounts(counts: np.ndarray, modified: bool = True) -> np.ndarray:
    """D for counts of 0, 1, 2 and at least 3: [4] float64.

        Dᵢ = i - (i + 1) Y nᵢ₊₁ / nᵢ,    Y = n₁ / (n₁ + 2 n₂)

    where nᵢ is the number of grams that occur i times.

    Args:
      counts: [G] positive integers.
      modified: three discounts; else one, n1 / (n1 + 2 n2), for every positive count.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if not modified:
        return np.array([0.0] + 3 * [n1 / (n1 + 2 * n2) if n1 and n2 else FALLBACK[0]])
    if min(n1, n2, n3, n4) == 0:
        return np.array([0.0, *FALLBACK])
    single = n1 / (n1 + 2 * n2)
    found = [i - (i + 1) * single * b / a for i, a, b in ((1, n1, n2), (2, n2, n3), (3, n3, n4))]
    return np.array([0.0, *(found if min(found) > 0 else FALLBACK)])


@dataclass(frozen=True)
class Smoothed:
    """One order's counts, ready for the formula of `ngram`; G grams, H histories."""

    discounted: np.ndarray  # [G] c(hw) - D(c(hw))
    totals: np.ndarray  # [H] c(h), at least 1 so that it divides
    gammas: np.ndarray  # [H] weight of the lower order; 1 for histories that nothing follows

    @classmethod
    def of(cls, counts: np.ndarray, histories: np.ndarray, modified: bool) -> "Smoothed":
        """From counts [G] of grams and the number of each one's history, [G]."""
        removed = discounts(counts[counts > 0], modified)[np.minimum(counts, 3)]
        totals = np.bincount(histories, counts)
        divisor = np.maximum(totals, 1)
        gammas = np.where(totals > 0, np.bincount(histories, removed) / divisor, 1.0)
        return cls(counts - removed, divisor, gammas)

    def probability(self, grams: np.ndarray, histories: np.ndarray, shorter: np.ndarray):
        """p(w | h) [N], from the numbers of hw and of h and from p(w | h') `shorter`, all [N]."""
        known = (histories >= 0) & (histories < len(self.totals))
        h = np.where(known, histories, 0)
        seen = np.where(grams >= 0, self.discounted[grams], 0.0)
        return np.where(known, seen / self.totals[h] + self.gammas[h] * shorter, shorter)
