"""Names of tags that mark spans, BIO and BIOES: which may follow which, spans, and their F1.

`B-X` begins a span of type X, `I-X` goes on, `O` is outside; in BIOES `E-X` ends a span of several
tokens and `S-X` is one of a single token. Everything here runs on the host.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import one_of, require
from seqjax.losses.crf import CRFParams

SCHEMES = ("BIO", "BIOES")


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
    """Counts of spans, to be added up by field over batches, and their scores.

    Fields:
      correct: [] int, spans that are predicted with both their bounds and their type.
      predicted: [] int, all that are predicted.
      expected: [] int, all that there are.
    """

    correct: int
    predicted: int
    expected: int

    @property
    def precision(self) -> float:
        """Correct of those predicted, 0 where none is."""
        return self.correct / max(self.predicted, 1)

    @property
    def recall(self) -> float:
        """Correct of those expected, 0 where none is."""
        return self.correct / max(self.expected, 1)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall, 0 where no span is predicted or expected."""
        return 2 * self.correct / max(self.predicted + self.expected, 1)


def tag_rules(names: Sequence[str], *, scheme: str = "BIO") -> CRFParams:
    """Scores that forbid taggings which mean nothing: 0 for what may follow, -inf for the rest.

    Add them to learned scores, `jax.tree.map(jnp.add, params, tag_rules(names))`: then no draw and
    no best tagging breaks the scheme, and no probability is spent on what does. Add them in the
    loss too; added at the end alone, they repair a model that has learned something else.

    Args:
      names: of the K tags in the order of their ids: "O", "B-X", "I-X", and in BIOES "E-X", "S-X".
      scheme: "BIO" (I-X follows B-X or I-X) or "BIOES" (what B-X opens, E-X closes).

    Returns:
      `CRFParams` of float32: [K, K], [K] and [K].

    Raises:
      ValueError: for no names, one twice, or one that is no tag of the scheme.

    Example:
      >>> rules = tag_rules(["O", "B-X", "I-X"])
      >>> print(rules.transitions, rules.start)
      [[  0.   0. -inf]
       [  0.   0.   0.]
       [  0.   0.   0.]] [  0.   0. -inf]

    References:
      Ramshaw and Marcus, Text Chunking using Transformation-Based Learning, 1995, for BIO. Ratinov
      and Roth, Design Challenges and Misconceptions in Named Entity Recognition, 2009, for BIOES
      (as BILOU).
    """
    require(len(names) > 0, "names is empty; expected one name a tag.")
    require(len(set(names)) == len(names), f"names is {list(names)}; expected different ones.")
    parts = [_split(name, scheme) for name in names]
    outside = ("O", "")
    score = lambda ok: jnp.where(np.array(ok), 0.0, -jnp.inf).astype(jnp.float32)
    return CRFParams(
        score([[_follows(a, b, scheme) for b in parts] for a in parts]),
        score([_follows(outside, b, scheme) for b in parts]),
        score([_follows(a, outside, scheme) for a in parts]),
    )


def tag_spans(tags: Iterable[str], *, scheme: str = "BIO", strict: bool = False) -> list[Span]:
    """The spans that the tags of one row mark.

    Args:
      tags: T names.
      scheme: "BIO" or "BIOES".
      strict: False reads tags that break the scheme as CoNLL's script does, by which results are
        published: an I-X or E-X with no span of X before it begins one, and a span ends where the
        next tag does not go on. True leaves out every span that is not written as the scheme says.

    Returns:
      `Span`s in order, half open: start <= t < stop, of a row [T].

    Raises:
      ValueError: for a name that is no tag of the scheme.

    Example:
      >>> tag_spans(["B-X", "I-X", "O", "I-Y"])
      [Span(start=0, stop=2, type='X'), Span(start=3, stop=4, type='Y')]
      >>> tag_spans(["B-X", "I-X", "O", "I-Y"], strict=True)
      [Span(start=0, stop=2, type='X')]

    References:
      Tjong Kim Sang and De Meulder 2003, the shared task of CoNLL.
    """
    parts = [_split(name, scheme) for name in tags]
    spans, start = [], None
    for t, (mark, kind) in enumerate([*parts, ("O", "")]):
        goes_on = start is not None and mark in "IE" and kind == parts[start][1]
        if start is not None and not goes_on:
            spans.append(Span(start, t, parts[start][1]))
            start = None
        if mark != "O" and start is None:
            start = t
        if mark in "ES" and start is not None:
            spans.append(Span(start, t + 1, kind))
            start = None
    written = lambda span: parts[span.start : span.stop] == _written(span, scheme)
    return [span for span in spans if not strict or written(span)]


def span_tags(spans: Iterable[Span], length: int, *, scheme: str = "BIO") -> list[str]:
    """The tags of a row of spans: what `tag_spans` reads back.

    Args:
      spans: half open and apart, (start, stop, type).
      length: T, of the row.
      scheme: "BIO" or "BIOES".

    Returns:
      T names of a row [T].

    Raises:
      ValueError: if a span is empty, reaches beyond 0..T or overlaps another.

    Example:
      >>> span_tags([Span(0, 1, "X"), Span(1, 3, "X")], 4, scheme="BIOES")
      ['S-X', 'B-X', 'E-X', 'O']

    References:
      Ramshaw and Marcus 1995; Ratinov and Roth 2009.
    """
    one_of("scheme", scheme, SCHEMES)
    tags = ["O"] * length
    for span in map(Span._make, spans):
        require(
            0 <= span.start < span.stop <= length,
            f"spans holds {span}; expected 0 <= start < stop <= {length}, the length of the row.",
        )
        require(
            all(tag == "O" for tag in tags[span.start : span.stop]),
            f"spans holds {span}, which overlaps another; expected spans apart.",
        )
        marked = ["-".join(part) for part in _written(span, scheme)]
        tags[span.start : span.stop] = marked
    return tags


def span_scores(
    expected: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]]
) -> SpanScores:
    """Counts of correct spans over rows, from which `f1`, `precision` and `recall` follow.

    A span is correct if its bounds and its type are: one that only overlaps is wrong on both sides.
    Counts are summed over all rows and types (micro average). The share of right tags says little
    beside it: where most tokens are outside, O for all of them has a high one and F1 0.

    Args:
      expected: the spans of each row, as of `tag_spans`.
      predicted: the same of the predicted tags.

    Returns:
      `SpanScores`, of which each count is [].

    Raises:
      ValueError: if there are not as many rows of both.

    Example:
      >>> right = [tag_spans(["B-X", "I-X", "B-Y"])]
      >>> print(span_scores(right, [tag_spans(["B-X", "O", "B-Y"])]).f1)
      0.5

    References:
      Tjong Kim Sang and De Meulder 2003, section 2.4.
    """
    require(
        len(expected) == len(predicted),
        f"expected has {len(expected)} rows but predicted has {len(predicted)}; expected as many.",
    )
    pairs = [(set(a), set(b)) for a, b in zip(expected, predicted, strict=True)]
    sums = ((len(a & b), len(b), len(a)) for a, b in pairs)
    return SpanScores(*map(sum, zip(*sums, strict=True))) if pairs else SpanScores(0, 0, 0)


def _split(name: str, scheme: str) -> tuple[str, str]:
    """A tag's mark and type, ("O", "") outside."""
    one_of("scheme", scheme, SCHEMES)
    mark, _, kind = name.partition("-")
    marks = scheme.replace("O", "")
    require(
        name == "O" or (len(mark) == 1 and mark in marks and bool(kind)),
        f"tag {name!r} is none of {scheme}; expected 'O' or one of {', '.join(marks)} with '-' and "
        "a type, such as 'B-PER'.",
    )
    return mark, kind


def _follows(before: tuple[str, str], after: tuple[str, str], scheme: str) -> bool:
    """Whether a tag may come after another; outside stands for the ends of the row."""
    is_open = before[0] in "BI"
    goes_on = after[0] in "IE"
    if goes_on:
        return is_open and before[1] == after[1]
    return not is_open or scheme == "BIO"


def _written(span: Span, scheme: str) -> list[tuple[str, str]]:
    """The marks and types of a span as the scheme writes it."""
    size = span.stop - span.start
    marks = "B" + "I" * (size - 1)
    if scheme == "BIOES":
        marks = "S" if size == 1 else "B" + "I" * (size - 2) + "E"
    return [(mark, span.type) for mark in marks]
