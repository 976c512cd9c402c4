"""Error rates of a whole corpus, from the distances or the edits of its rows.

H tokens are right, S substituted, D deleted and I inserted, summed over all rows. A reference has
H + S + D tokens, a hypothesis H + S + I.
"""

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks
from seqjax.metrics.distances import EditCounts


def error_rate(distances, reference_lengths) -> jax.Array:
    """Edits per token of the references: the word, character or phone error rate.

        WER = Σ distances / Σ reference_lengths = (S + D + I) / (H + S + D)

    It is a rate of the whole corpus. A mean of the rates of single rows is another number, which
    gives short rows more weight.

    Args:
      distances: [...] edits of each row, from `edit_distance` with its default costs. Not tokens:
        the distance comes first.
      reference_lengths: [...] tokens of each reference (not of the hypothesis), of the same shape.

    Returns:
      [] a float that may exceed 1. Where all references are empty it is 0 without edits, else inf.

    Raises:
      ValueError: if the shapes differ, or texts are given.

    Example:
      >>> from seqjax.metrics import edit_distance
      >>> references, lengths = jnp.array([[1, 2, 3, 4], [5, 6, 0, 0]]), jnp.array([4, 2])
      >>> hypotheses = jnp.array([[1, 9, 3, 4], [5, 6, 7, 0]])  # of 4 and 3 tokens
      >>> distances = edit_distance(hypotheses, references, jnp.array([4, 3]), lengths)
      >>> print(distances, error_rate(distances, lengths).round(3))
      [1 1] 0.333

    References:
      Wagner and Fischer, The string-to-string correction problem, 1974, for the distance.
    """
    for name, numbers in (("distances", distances), ("reference_lengths", reference_lengths)):
        checks.require(
            isinstance(numbers, jax.Array) or np.asarray(numbers).dtype.kind in "biuf",
            f"{name} is {numbers!r}; expected numbers, the edits and the length of each reference, "
            "not texts. Number the words, and count their edits by edit_distance.",
        )
    distances, lengths = jnp.asarray(distances), jnp.asarray(reference_lengths)
    checks.require(
        distances.shape == lengths.shape,
        f"distances has shape {distances.shape} and reference_lengths {lengths.shape}; expected "
        "the same, one distance and one length for each reference.",
    )
    return _ratio(jnp.sum(distances), jnp.sum(lengths))


def match_error_rate(counts: EditCounts, reference_lengths) -> jax.Array:
    """The share of wrong places in the alignment, which unlike the error rate is at most 1.

        MER = (S + D + I) / (H + S + D + I)

    Args:
      counts: of each row, from `edit_counts`, fields [...].
      reference_lengths: [...] tokens of each reference.

    Returns:
      [] a float in [0, 1]; 0 without any token. Where several alignments have the fewest edits, it
      is that of `edit_counts`, with the most substitutions; other programs may take another one.

    Raises:
      ValueError: if counts are not `EditCounts` or the shapes differ.

    Example:
      >>> from seqjax.metrics import edit_counts
      >>> counts = edit_counts(jnp.array([[1, 9, 3, 5, 6]]), jnp.array([[1, 2, 3, 4]]))
      >>> print(match_error_rate(counts, jnp.array([4])))  # H = 2, S = 2, I = 1
      0.6

    References:
      Morris, Maier and Green, From WER and RIL to MER and WIL: improved evaluation measures for
      connected speech recognition, 2004.
    """
    edits, right, _ = _totals(counts, reference_lengths)
    return _ratio(edits, right + edits)


def word_information_lost(counts: EditCounts, reference_lengths) -> jax.Array:
    """How much of the references' information the hypotheses lose, by shares of right tokens.

        WIL = 1 - H / (H + S + D) · H / (H + S + I)

    Args:
      counts: of each row, from `edit_counts`, fields [...].
      reference_lengths: [...] tokens of each reference.

    Returns:
      [] a float in [0, 1]; 0 without any token, 1 where no token is right. Ties between alignments
      are as in `match_error_rate`.

    Raises:
      ValueError: if counts are not `EditCounts` or the shapes differ.

    Example:
      >>> from seqjax.metrics import edit_counts
      >>> counts = edit_counts(jnp.array([[1, 9, 3, 5, 6]]), jnp.array([[1, 2, 3, 4]]))
      >>> print(word_information_lost(counts, jnp.array([4])))  # 1 - 2 / 4 · 2 / 5
      0.8

    References:
      Morris, Maier and Green 2004.
    """
    edits, right, tokens = _totals(counts, reference_lengths)
    said = jnp.sum(tokens + counts.insertions - counts.deletions)
    kept = _ratio(right, jnp.sum(tokens)) * _ratio(right, said)
    return jnp.where(edits == 0, 0.0, 1 - kept)


def _totals(counts: EditCounts, reference_lengths):
    """All edits [], all right tokens [] and the tokens of the references [...]."""
    checks.require(
        isinstance(counts, EditCounts),
        f"counts is a {type(counts).__name__}; expected the EditCounts of edit_counts.",
    )
    lengths = jnp.asarray(reference_lengths).astype(jnp.int32)
    shapes = {jnp.shape(field) for field in counts}
    checks.require(
        shapes == {lengths.shape},
        f"counts has shapes {sorted(shapes)} and reference_lengths {lengths.shape}; expected the "
        "same, the edits and the length of each reference.",
    )
    edits = jnp.sum(counts.substitutions + counts.deletions + counts.insertions)
    return edits, jnp.sum(lengths - counts.substitutions - counts.deletions), lengths


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """part / whole in floats, 0 where part is 0."""
    part, whole = part.astype(float), whole.astype(float)
    return jnp.where(part == 0, 0.0, part / jnp.where(part == 0, 1.0, whole))
