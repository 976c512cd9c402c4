"""Tags that mark spans: their rules, what they say, and how predictions of them are scored."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding import crf_sample, crf_viterbi
from seqjax.losses import CRFParams
from seqjax.metrics import (
    Span,
    SpanScores,
    mean_scores,
    span_scores,
    span_scores_by_type,
    span_tags,
    tag_rules,
    tag_spans,
)

BIO = ["O", "B-X", "I-X", "B-Y", "I-Y"]
BIOES = ["O", *(f"{mark}-{kind}" for kind in "XY" for mark in "BIES")]


def is_valid(tags, scheme):
    """Whether tags are what spans are written as: the scheme, by another way."""
    return span_tags(tag_spans(tags, scheme=scheme), len(tags), scheme=scheme) == list(tags)


NAMES = {
    "BIO": BIO,
    "IOB1": BIO,
    "IO": ["O", "I-X", "I-Y"],
    "BIOES": BIOES,
    "BILOU": [tag.translate(str.maketrans("ES", "LU")) for tag in BIOES],
}


@pytest.mark.parametrize(("scheme", "names"), NAMES.items())
def test_rules_allow_exactly_what_spans_are_written_as(scheme, names):
    rules = jax.tree.map(np.asarray, tag_rules(names, scheme=scheme))
    assert rules.transitions.shape == (len(names),) * 2
    allowed = 0
    for ids in itertools.product(range(len(names)), repeat=3):
        score = rules.start[ids[0]] + rules.end[ids[-1]]
        score += sum(rules.transitions[i, j] for i, j in itertools.pairwise(ids))
        assert score in (0, -np.inf)
        tags = [names[i] for i in ids]
        assert (score == 0) == is_valid(tags, scheme), tags
        allowed += score == 0
    assert 0 < allowed < len(names) ** 3 or scheme == "IO"


def test_rules_keep_draws_and_the_best_tagging_valid():
    rules = tag_rules(BIO)
    params = jax.tree.map(jnp.add, CRFParams.zeros(len(BIO)), rules)
    emissions = 2 * jax.random.normal(jax.random.key(0), (200, 6, len(BIO)))
    plain = crf_viterbi(CRFParams.zeros(len(BIO)), emissions).tags
    for tags in (
        crf_viterbi(params, emissions).tags,
        crf_sample(params, emissions, key=jax.random.key(1)),
    ):
        assert all(is_valid([BIO[i] for i in row], "BIO") for row in np.asarray(tags))
    assert not all(is_valid([BIO[i] for i in row], "BIO") for row in np.asarray(plain))


SPANS = {
    "B-X I-X O": [(0, 2, "X")],
    "B-X B-X": [(0, 1, "X"), (1, 2, "X")],
    "B-X I-Y": [(0, 1, "X"), (1, 2, "Y")],
    "O I-X I-X": [(1, 3, "X")],
    "I-X": [(0, 1, "X")],
    "O O": [],
    "": [],
}
STRICT = {"B-X I-Y": [(0, 1, "X")], "O I-X I-X": [], "I-X": []}
SPANS_BIOES = {
    "S-X S-X": [(0, 1, "X"), (1, 2, "X")],
    "B-X I-X E-X": [(0, 3, "X")],
    "B-X E-X E-X": [(0, 2, "X"), (2, 3, "X")],
    "B-X I-X O": [(0, 2, "X")],
    "B-X S-X": [(0, 1, "X"), (1, 2, "X")],
    "B-X E-Y": [(0, 1, "X"), (1, 2, "Y")],
    "I-X E-X": [(0, 2, "X")],
    "E-X I-X": [(0, 1, "X"), (1, 2, "X")],
}
STRICT_BIOES = {
    "B-X E-X E-X": [(0, 2, "X")],
    "B-X I-X O": [],
    "B-X S-X": [(1, 2, "X")],
    "B-X E-Y": [],
    "I-X E-X": [],
    "E-X I-X": [],
}


@pytest.mark.parametrize("text", SPANS)
def test_spans_of_bio(text):
    tags = text.split()
    assert tag_spans(tags) == SPANS[text]
    assert tag_spans(tags, strict=True) == STRICT.get(text, SPANS[text])


@pytest.mark.parametrize("text", SPANS_BIOES)
def test_spans_of_bioes(text):
    tags = text.split()
    assert tag_spans(tags, scheme="BIOES") == SPANS_BIOES[text]
    strict = tag_spans(tags, scheme="BIOES", strict=True)
    assert strict == STRICT_BIOES.get(text, SPANS_BIOES[text])


# What seqeval's schemes say of the same tags.
OTHERS = {
    ("IOB1", "I-X I-X B-X I-Y"): ([(0, 2, "X"), (2, 3, "X"), (3, 4, "Y")], None),
    ("IOB1", "B-X O I-X"): ([(0, 1, "X"), (2, 3, "X")], [(2, 3, "X")]),
    ("IO", "I-X I-X I-Y O I-X"): ([(0, 2, "X"), (2, 3, "Y"), (4, 5, "X")], None),
    ("BILOU", "B-X I-X L-X U-X"): ([(0, 3, "X"), (3, 4, "X")], None),
    ("BILOU", "B-X O L-X U-X"): ([(0, 1, "X"), (2, 3, "X"), (3, 4, "X")], [(3, 4, "X")]),
    ("BIO", "B I O I"): ([(0, 2, ""), (3, 4, "")], [(0, 2, "")]),
    ("BILOU", "B L U O"): ([(0, 2, ""), (2, 3, "")], None),
}


@pytest.mark.parametrize(("scheme", "text"), OTHERS)
def test_spans_of_other_schemes_and_of_bare_marks(scheme, text):
    lenient, strict = OTHERS[scheme, text]
    assert tag_spans(text.split(), scheme=scheme) == lenient
    assert tag_spans(text.split(), scheme=scheme, strict=True) == (strict or lenient)


def test_rules_of_bare_marks():
    bare, typed = tag_rules(["O", "B", "I"]), tag_rules(["O", "B-X", "I-X"])
    jax.tree.map(np.testing.assert_array_equal, bare, typed)


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BIOES", "BILOU"])
def test_spans_come_back_from_their_tags(scheme):
    spans = [Span(0, 1, "X"), Span(1, 4, "X"), Span(5, 7, "Y-Z")]
    tags = span_tags(spans[::-1], 8, scheme=scheme)
    assert tag_spans(tags, scheme=scheme) == spans
    assert tag_spans(tags, scheme=scheme, strict=True) == spans
    assert tags[4] == tags[7] == "O"


def scores(expected, predicted):
    return span_scores([tag_spans(expected.split())], [tag_spans(predicted.split())])


def test_a_span_is_right_with_both_bounds_and_its_type_or_wrong():
    assert scores("B-X I-X O", "B-X I-X O") == SpanScores(1, 1, 1)
    assert scores("B-X I-X O", "B-X O O") == SpanScores(0, 1, 1)  # partial overlap
    assert scores("B-X I-X O", "B-X I-X I-X") == SpanScores(0, 1, 1)
    assert scores("B-X I-X O", "B-Y I-Y O") == SpanScores(0, 1, 1)  # another type
    assert scores("B-X I-X O", "B-X B-X O") == SpanScores(0, 2, 1)  # cut in two
    assert scores("O O B-X", "O B-X O") == SpanScores(0, 1, 1)


def test_scores_are_over_all_rows():
    rows = ["B-X O B-Y O", "B-X I-X"], ["B-X O O B-Y", "B-X I-X"]
    found = span_scores(*([tag_spans(row.split()) for row in side] for side in rows))
    assert found == SpanScores(2, 3, 3)
    assert found.precision == found.recall == found.f1 == 2 / 3
    # Not the mean of the rows' own scores, (1/2 + 1) / 2.
    misses = span_scores([[Span(0, 1, "X")] * 2], [[Span(0, 1, "X"), Span(2, 3, "X")]])
    assert misses == SpanScores(1, 2, 1)  # a span counts once
    assert (misses.precision, misses.recall, misses.f1) == (0.5, 1.0, 2 / 3)


def test_all_outside_has_no_f1():
    assert scores("B-X O O O O", "O O O O O").f1 == 0  # though four tags of five are right
    assert span_scores([], []) == SpanScores(0, 0, 0)
    assert scores("O", "O").f1 == scores("O", "O").precision == scores("O", "O").recall == 0


def test_scores_by_type_and_their_means():
    """The example of seqeval's README, with a second row; numbers by hand."""
    expected = ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O", "B-LOC"]
    predicted = ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O", "B-ORG"]
    rows = [[tag_spans(text.split()) for text in side] for side in (expected, predicted)]
    by_type = span_scores_by_type(*rows)
    assert by_type == {
        "LOC": SpanScores(0, 0, 1),
        "MISC": SpanScores(0, 1, 1),
        "ORG": SpanScores(0, 1, 0),
        "PER": SpanScores(1, 1, 1),
    }
    assert list(by_type) == ["LOC", "MISC", "ORG", "PER"]
    assert SpanScores(*map(sum, zip(*by_type.values(), strict=True))) == span_scores(*rows)
    assert mean_scores(by_type) == (1 / 4, 1 / 4, 1 / 4)
    assert mean_scores(by_type, weighted=True) == (1 / 3, 1 / 3, 1 / 3)
    uneven = {"A": SpanScores(1, 2, 1), "B": SpanScores(3, 3, 6)}
    assert mean_scores(uneven) == (0.75, 0.75, 2 / 3)
    np.testing.assert_allclose(mean_scores(uneven, weighted=True), (6.5 / 7, 4 / 7, 14 / 21))
    assert mean_scores({}) == mean_scores({"A": SpanScores(0, 1, 0)}, weighted=True) == (0, 0, 0)
    assert span_scores_by_type([], []) == {}
