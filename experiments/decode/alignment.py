"""Which source token each written token looked at, as a heat map of characters."""

from collections.abc import Sequence
from typing import Any

import numpy as np

SHADES = " .:-=+*#%@"


def show_alignment(weights: np.ndarray, source: Sequence[str], written: Sequence[str]) -> str:
    """Weights [L, S] as one character each, darker for more; ten shades from 0 to 1.

    Raises:
      ValueError: if the weights are not [L, S] in [0, 1].

    Example:
      >>> print(show_alignment(np.array([[0.0, 1.0], [0.9, 0.1]]), "ab", "ba"))
        ab
      b  @
      a @.
    """
    weights = check_weights(weights, source, written)
    shades = np.minimum((weights * len(SHADES)).astype(int), len(SHADES) - 1)
    width = max(map(len, written), default=0)
    rows = [f"{' ' * width} {''.join(token[0] for token in source)}"]
    for token, row in zip(written, shades, strict=True):
        rows.append(f"{token:<{width}} {''.join(SHADES[shade] for shade in row)}")
    return "\n".join(rows)


def check_weights(weights: Any, source: Sequence[str], written: Sequence[str]) -> np.ndarray:
    """The weights as an array, or a ValueError."""
    array = np.asarray(weights, float)
    if array.shape != (len(written), len(source)):
        raise ValueError(
            f"weights have shape {array.shape}; expected [L, S] = ({len(written)}, {len(source)}), "
            "a row for each written token and a column for each source token"
        )
    if not bool(np.all((array >= 0) & (array <= 1 + 1e-6))):
        raise ValueError("weights lie outside [0, 1]; expected a softmax over the source")
    return array
