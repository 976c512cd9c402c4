"""Error rates of a corpus, by hand and by the library whose definitions they follow."""

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.metrics import (
    EditCounts,
    edit_counts,
    error_rate,
    match_error_rate,
    word_information_lost,
)

WORDS = {word: i for i, word in enumerate("the cat sat on a mat and slept dog".split())}
PAIRS = [  # reference, hypothesis, and (H, S, D, I): no other alignment has as few edits
    ("the cat sat on a mat", "the cat sat a mat", (5, 0, 1, 0)),
    ("the cat slept", "the dog slept and sat", (2, 1, 0, 2)),
    ("a mat", "", (0, 0, 2, 0)),
    ("the dog", "the dog", (2, 0, 0, 0)),
]


def encoded(texts):
    rows = [[WORDS[word] for word in text.split()] for text in texts]
    lengths = np.array([len(row) for row in rows])
    return np.array([row + [-1] * (7 - len(row)) for row in rows]), lengths


REFERENCES, LENGTHS = encoded([reference for reference, _, _ in PAIRS])
HYPOTHESES, HYP_LENGTHS = encoded([hypothesis for _, hypothesis, _ in PAIRS])
COUNTS = edit_counts(HYPOTHESES, REFERENCES, HYP_LENGTHS, LENGTHS)


def test_rates_are_those_of_the_corpus():
    right, swapped, lost, extra = np.sum([kinds for _, _, kinds in PAIRS], axis=0)
    assert (right, swapped, lost, extra) == (9, 1, 3, 2)
    assert [int(field.sum()) for field in COUNTS] == [swapped, lost, extra]
    np.testing.assert_allclose(error_rate(sum(COUNTS), LENGTHS), 6 / 13, rtol=1e-6)
    np.testing.assert_allclose(match_error_rate(COUNTS, LENGTHS), 6 / 15, rtol=1e-6)
    expected = 1 - 9 / 13 * 9 / 12
    np.testing.assert_allclose(word_information_lost(COUNTS, LENGTHS), expected, rtol=1e-6)


def test_rates_are_those_of_jiwer():
    jiwer = pytest.importorskip("jiwer")
    references, hypotheses, _ = zip(*PAIRS, strict=True)
    found = jiwer.process_words(list(references), list(hypotheses))
    np.testing.assert_allclose(match_error_rate(COUNTS, LENGTHS), found.mer, rtol=1e-6)
    np.testing.assert_allclose(word_information_lost(COUNTS, LENGTHS), found.wil, rtol=1e-6)


def test_error_rate_is_one_of_the_corpus():
    assert float(error_rate(jnp.array([2, 0, 3]), jnp.array([1, 9, 0]))) == 0.5
    assert float(error_rate(jnp.array([0]), jnp.array([0]))) == 0.0
    assert float(error_rate(jnp.array([2]), jnp.array([0]))) == np.inf


def counts(*kinds):
    return EditCounts(*(jnp.array([n]) for n in kinds))


def test_rates_without_tokens():
    for rate in match_error_rate, word_information_lost:
        assert rate(counts(0, 0, 0), jnp.array([0])) == 0
        assert rate(counts(0, 0, 2), jnp.array([0])) == 1  # all of it was inserted
        assert rate(counts(0, 3, 0), jnp.array([3])) == 1
        assert rate(counts(0, 0, 0), jnp.array([3], jnp.int8)) == 0


BAD = {
    "distances": (
        lambda: error_rate(jnp.zeros(2, int), jnp.zeros(3, int)),
        "distances has shape (2,) and reference_lengths (3,); expected the same",
    ),
    "texts": (
        lambda: error_rate(["the cat sat"], ["the cat"]),
        "distances is ['the cat sat']; expected numbers, the edits and the length of each "
        "reference, not texts.",
    ),
    "tokens": (
        lambda: match_error_rate(REFERENCES, LENGTHS),  # pyright: ignore[reportArgumentType]
        "counts is a ndarray; expected the EditCounts of edit_counts.",
    ),
    "lengths": (
        lambda: word_information_lost(COUNTS, LENGTHS[:2]),
        "counts has shapes [(4,)] and reference_lengths (2,); expected the same",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as caught:
        call()
    assert text in str(caught.value)
