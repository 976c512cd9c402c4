"""Spans of rows of tokens, and how well they are predicted. Everything here runs on the host."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seqjax._internal.checks import require


class Span(NamedTuple):
    """Tokens start..stop-1 of a row [T], as a span of a type.

    Fields:
      start: int, the first token.
      stop: int, the one after the last.
      type: such as "PER".
    """

    start: int
    stop: int
    type: str


class SpanScores(NamedTuple):
    """Counts of spans, which add up by field over batches, and the scores that follow from them.

    Fields:
      correct: [] int, predicted spans with the right bounds and the right type.
      predicted: [] int, all predicted spans.
      expected: [] int, all spans that there are.
    """

    correct: int
    predicted: int
    expected: int

    @property
    def precision(self) -> float:
        """The correct share of the predicted spans, 0 where there are none."""
        return self.correct / max(self.predicted, 1)

    @property
    def recall(self) -> float:
        """The correct share of the expected spans, 0 where there are none."""
        return self.correct / max(self.expected, 1)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall, 0 where no span is predicted or expected."""
        return 2 * self.correct / max(self.predicted + self.expected, 1)


class MeanScores(NamedTuple):
    """Scores averaged over types of spans.

    Fields:
      precision: [] float, the mean of the types' precisions.
      recall: [] float, the mean of their recalls.
      f1: [] float, the mean of their F1: not that of precision and recall above.
    """

    precision: float
    recall: float
    f1: float


def span_scores(
    expected: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]]
) -> SpanScores:
    """Counts of correct spans over rows, from which `f1`, `precision` and `recall` follow.

    A span is correct if its bounds and its type are: one that only overlaps is wrong on both sides.
    Counts are summed over all rows and types (micro average). The accuracy of single tags says much
    less: where most tokens are outside, O for all of them is accurate and has F1 0.

    Args:
      expected: the spans of each row, from `tag_spans`: [[Span, ...], ...].
      predicted: the same of the predicted tags.

    Returns:
      `SpanScores`, of which each count is [].

    Raises:
      ValueError: if both do not have the same number of rows, or one row came in place of rows.

    Example:
      >>> from seqjax.metrics import tag_spans
      >>> right = [tag_spans(["B-X", "I-X", "B-Y"])]
      >>> print(span_scores(right, [tag_spans(["B-X", "O", "B-Y"])]).f1)
      0.5

    References:
      Tjong Kim Sang and De Meulder 2003, section 2.4.
    """
    sums = ((len(a & b), len(b), len(a)) for a, b in _rows(expected, predicted))
    return SpanScores(*(sum(counts) for counts in zip((0, 0, 0), *sums, strict=True)))


def span_scores_by_type(
    expected: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]]
) -> dict[str, SpanScores]:
    """`span_scores` of each type by itself, for all types that are expected or predicted.

    Args:
      expected: the spans of each row, from `tag_spans`: [[Span, ...], ...].
      predicted: the same of the predicted tags.

    Returns:
      `SpanScores` by type in alphabetical order; their sum by field is `span_scores`.

    Raises:
      ValueError: as `span_scores`.

    Example:
      >>> expected = [[Span(0, 2, "LOC"), Span(3, 4, "PER")]]
      >>> predicted = [[Span(0, 2, "LOC"), Span(3, 5, "PER"), Span(6, 7, "PER")]]
      >>> for kind, scores in span_scores_by_type(expected, predicted).items():
      ...     print(kind, *scores, scores.f1)
      LOC 1 1 1 1.0
      PER 0 2 1 0.0

    References:
      Tjong Kim Sang and De Meulder 2003, section 2.4.
    """
    rows = _rows(expected, predicted)
    kinds = sorted({span.type for pair in rows for side in pair for span in side})
    of = lambda kind, spans: [span for span in spans if span.type == kind]
    return {
        kind: span_scores([of(kind, a) for a, _ in rows], [of(kind, b) for _, b in rows])
        for kind in kinds
    }


def mean_scores(by_type: Mapping[str, SpanScores], *, weighted: bool = False) -> MeanScores:
    """The mean of the types' scores: rare types count as much as frequent ones.

    Args:
      by_type: from `span_scores_by_type`.
      weighted: False gives every type the same weight (macro average), True its number of expected
        spans (weighted average).

    Returns:
      `MeanScores`, each [], 0 where there is nothing to average.

    Raises:
      ValueError: if by_type is not a mapping from types to `SpanScores`.

    Example:
      >>> by_type = {"LOC": SpanScores(1, 1, 1), "PER": SpanScores(1, 2, 3)}
      >>> print(mean_scores(by_type).f1, mean_scores(by_type, weighted=True).f1)
      0.7 0.55

    References:
      Yang, An Evaluation of Statistical Approaches to Text Categorization, 1999, for macro and
      micro averages.
    """
    require(
        isinstance(by_type, Mapping) and all(isinstance(s, SpanScores) for s in by_type.values()),
        f"by_type is {by_type!r}; expected SpanScores by type, from span_scores_by_type.",
    )
    scores = list(by_type.values())
    weights = np.array([s.expected if weighted else 1 for s in scores])
    total = max(int(weights.sum()), 1)
    mean = lambda values: float(weights @ np.array(values, float)) / total
    return MeanScores(
        mean([s.precision for s in scores]),
        mean([s.recall for s in scores]),
        mean([s.f1 for s in scores]),
    )


def check_spans(name: str, spans: Any) -> list[Span]:
    """The spans of one row; raises where something else stands among them."""
    found = list(spans) if isinstance(spans, Iterable) else [spans]
    for span in found:
        require(
            isinstance(span, tuple)
            and len(span) == 3
            and all(isinstance(n, (int, np.integer)) for n in span[:2])
            and isinstance(span[2], str),
            f"{name} holds {span!r}; expected a span (start, stop, type), such as (0, 2, 'PER').",
        )
    return [Span(*span) for span in found]


def _rows(expected: Any, predicted: Any) -> list[tuple[set[Span], set[Span]]]:
    """The sets of spans of each row."""
    for name, rows in (("expected", expected), ("predicted", predicted)):
        require(
            not any(isinstance(row, Span) for row in rows),
            f"{name} is one row of spans; expected a list of rows, [[Span, ...], ...]. For one row "
            f"pass [{name}].",
        )
    require(
        len(expected) == len(predicted),
        f"expected has {len(expected)} rows but predicted has {len(predicted)}; expected as many.",
    )
    each = lambda name, rows: (set(check_spans(f"{name}[{i}]", r)) for i, r in enumerate(rows))
    return list(zip(each("expected", expected), each("predicted", predicted), strict=True))
