"""Tags that mark spans: which may follow which, the spans that they mark, and how to write them.

    scheme           a span of X of three tokens     one token     a second X right after another X
    "BIO" (IOB2)     B-X I-X I-X                     B-X           B-X ...
    "IOB1"           I-X I-X I-X                     I-X           B-X ...
    "IO"             I-X I-X I-X                     I-X           cannot be told apart
    "BIOES"          B-X I-X E-X                     S-X           as the first
    "BILOU"          B-X I-X L-X                     U-X           as the first

`O` is outside of all. Where there is one type of span its name may be left out: `B`, `I`, `O`.
Everything here runs on the host.
"""

from collections.abc import Iterable, Sequence

import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import one_of, require
from seqjax.losses.crf import CRFParams
from seqjax.metrics.spans import Span, check_spans

# What the marks of each scheme mean, in those of BIOES.
_MARKS = {
    "BIO": {"B": "B", "I": "I"},
    "IOB1": {"B": "B", "I": "I"},
    "IO": {"I": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
}
_OUTSIDE = ("O", "")


def tag_rules(names: Sequence[str], *, scheme: str = "BIO") -> CRFParams:
    """Scores that forbid meaningless taggings: 0 for what may follow, -inf for the rest.

    Add them to learned scores, `jax.tree.map(jnp.add, params, tag_rules(names))`. Then every draw
    and every best tagging keeps the scheme, and no probability is spent on what breaks it. Add them
    in the loss too: added only when decoding, they repair a model that has learned something else.

    Args:
      names: the K tags in the order of their ids, such as "O", "B-X", "I-X".
      scheme: "BIO", "IOB1", "IO", "BIOES" or "BILOU".

    Returns:
      `CRFParams` of float32: [K, K], [K] and [K].

    Raises:
      ValueError: for no names, a repeated one, or one that is not a tag of the scheme.

    Example:
      >>> rules = tag_rules(["O", "B-X", "I-X"])
      >>> print(rules.transitions, rules.start)
      [[  0.   0. -inf]
       [  0.   0.   0.]
       [  0.   0.   0.]] [  0.   0. -inf]

    References:
      Ramshaw and Marcus, Text Chunking using Transformation-Based Learning, 1995, for BIO. Ratinov
      and Roth, Design Challenges and Misconceptions in Named Entity Recognition, 2009, for BILOU.
    """
    parts = _split_all("names", names, scheme)
    require(len(names) > 0, "names is empty; expected one name for each tag.")
    require(len(set(names)) == len(names), f"names is {list(names)}; expected different ones.")
    score = lambda ok: jnp.where(np.array(ok), 0.0, -jnp.inf).astype(jnp.float32)
    return CRFParams(
        score([[_follows(a, b, scheme) for b in parts] for a in parts]),
        score([_follows(_OUTSIDE, b, scheme) for b in parts]),
        score([_follows(a, _OUTSIDE, scheme) for a in parts]),
    )


def tag_spans(tags: Iterable[str], *, scheme: str = "BIO", strict: bool = False) -> list[Span]:
    """The spans that the tags of one row mark.

    Args:
      tags: T names, the tags of one row.
      scheme: "BIO", "IOB1", "IO", "BIOES" or "BILOU".
      strict: False reads tags that break the scheme as the CoNLL script does, by which results are
        published: an inner or last tag without a span of its type before it begins one, and a span
        ends where the next tag does not continue it. True leaves out every span that is not written
        as the scheme says.

    Returns:
      `Span`s in order, half open: start <= t < stop, of a row [T].

    Raises:
      ValueError: for a string or several rows in place of one row of names, or a name that is not a
        tag of the scheme.

    Example:
      >>> tag_spans(["B-X", "I-X", "O", "I-Y"])
      [Span(start=0, stop=2, type='X'), Span(start=3, stop=4, type='Y')]
      >>> tag_spans(["B-X", "I-X", "O", "I-Y"], strict=True)
      [Span(start=0, stop=2, type='X')]

    References:
      Tjong Kim Sang and De Meulder 2003, the shared task of CoNLL.
    """
    names = tags if isinstance(tags, str) else list(tags)
    parts = _split_all("tags", names, scheme)
    spans, start = [], None
    for t, (mark, kind) in enumerate([*parts, _OUTSIDE]):
        continues = start is not None and mark in "IE" and kind == parts[start][1]
        if start is not None and not continues:
            spans.append(Span(start, t, parts[start][1]))
            start = None
        if mark != "O" and start is None:
            start = t
        if mark in "ES" and start is not None:
            spans.append(Span(start, t + 1, kind))
            start = None
    before = [None, *spans]
    written = lambda i: [_join(part, scheme) for part in _parts(spans[i], before[i], scheme)]
    return [
        span
        for i, span in enumerate(spans)
        if not strict or names[span.start : span.stop] == written(i)
    ]


def span_tags(spans: Iterable[Span], length: int, *, scheme: str = "BIO") -> list[str]:
    """The tags of a row of spans: `tag_spans` reads the spans back.

    Args:
      spans: (start, stop, type), half open and without overlaps; a type may be "".
      length: T, of the row.
      scheme: "BIO", "IOB1", "IO", "BIOES" or "BILOU".

    Returns:
      T names of a row [T].

    Raises:
      ValueError: if spans is not a list of spans of one row, a span is empty, reaches beyond 0..T
        or overlaps another, or if "IO" cannot tell two of them apart.

    Example:
      >>> span_tags([Span(0, 1, "X"), Span(1, 3, "X")], 4, scheme="BIOES")
      ['S-X', 'B-X', 'E-X', 'O']

    References:
      Ramshaw and Marcus 1995; Ratinov and Roth 2009.
    """
    one_of("scheme", scheme, tuple(_MARKS))
    tags, before = ["O"] * length, None
    for span in sorted(check_spans("spans", spans)):
        require(
            0 <= span.start < span.stop <= length,
            f"spans holds {span}; expected 0 <= start < stop <= {length}, the length of the row.",
        )
        require(
            before is None or before.stop <= span.start,
            f"spans holds {span}, which overlaps another; expected spans apart.",
        )
        require(
            scheme != "IO" or not _touch(before, span),
            f"spans holds {span} right after another of its type; 'IO' cannot tell them apart. "
            "Choose scheme='BIO'.",
        )
        marked = [_join(part, scheme) for part in _parts(span, before, scheme)]
        tags[span.start : span.stop] = marked
        before = span
    return tags


def _split_all(argument: str, names: Sequence[str], scheme: str) -> list[tuple[str, str]]:
    """The mark, as BIOES has it, and the type of each tag; ("O", "") outside."""
    one_of("scheme", scheme, tuple(_MARKS))
    require(
        not isinstance(names, str) and all(isinstance(name, str) for name in names),
        f"{argument} is {names!r}; expected a list of names such as ['B-PER', 'O'], one row.",
    )
    return [_split(name, scheme) for name in names]


def _split(name: str, scheme: str) -> tuple[str, str]:
    mark, dash, kind = name.partition("-")
    marks = _MARKS[scheme]
    require(
        name == "O" or (mark in marks and bool(dash) == bool(kind)),
        f"tag {name!r} is not one of {scheme}; expected 'O' or one of {', '.join(marks)}, alone or "
        f"with '-' and a type, such as '{next(iter(marks))}-PER'.",
    )
    return marks.get(mark, "O"), kind


def _join(part: tuple[str, str], scheme: str) -> str:
    """The name of a tag; the inverse of `_split`."""
    mark = next(own for own, meaning in _MARKS[scheme].items() if meaning == part[0])
    return f"{mark}-{part[1]}" if part[1] else mark


def _follows(before: tuple[str, str], after: tuple[str, str], scheme: str) -> bool:
    """Whether a tag may come after another; outside stands for both ends of the row."""
    is_open, same = before[0] in "BI", before[1] == after[1]
    if scheme == "IO":
        return True
    if scheme == "IOB1":
        return after[0] != "B" or (is_open and same)
    if after[0] in "IE":
        return is_open and same
    return not is_open or scheme == "BIO"


def _parts(span: Span, before: Span | None, scheme: str) -> list[tuple[str, str]]:
    """The marks and types of a span as the scheme writes it, after the span before."""
    size = span.stop - span.start
    marks = "B" + "I" * (size - 1)
    if scheme in ("BIOES", "BILOU"):
        marks = "S" if size == 1 else "B" + "I" * (size - 2) + "E"
    if scheme == "IO" or (scheme == "IOB1" and not _touch(before, span)):
        marks = "I" * size
    return [(mark, span.type) for mark in marks]


def _touch(before: Span | None, span: Span) -> bool:
    """Whether a span follows another of its type without a token between."""
    return before is not None and (before.stop, before.type) == (span.start, span.type)
