"""The N best taggings of a conditional random field against all of them."""

import itertools

import jax
import numpy as np
import pytest

from seqjax.decoding import crf_n_best, crf_viterbi
from seqjax.losses import CRFParams

B, T, K = 4, 4, 3
RNG = np.random.default_rng(0)
PARAMS = CRFParams._make(RNG.normal(size=shape) for shape in ((K, K), K, K))
FORBIDDING = PARAMS._replace(
    transitions=np.where(RNG.random((K, K)) < 0.3, -np.inf, PARAMS.transitions),
    start=np.where(np.arange(K) == 1, -np.inf, PARAMS.start),
)
EMISSIONS = RNG.normal(size=(B, T, K))
MASK = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
search = jax.jit(crf_n_best, static_argnames="n")


def every(params, emissions):
    """(score, tags) of every tagging of one row that is allowed, best first."""
    found = []
    for tags in itertools.product(range(K), repeat=len(emissions)):
        score = sum(x[tag] for x, tag in zip(emissions, tags, strict=True))
        if tags:
            score += params.start[tags[0]] + params.end[tags[-1]]
            score += sum(params.transitions[pair] for pair in itertools.pairwise(tags))
        found.append((score, tags))
    return sorted((one for one in found if one[0] > -np.inf), key=lambda one: -one[0])


@pytest.mark.parametrize("params", [PARAMS, FORBIDDING], ids=["plain", "forbidding"])
@pytest.mark.parametrize("n", [1, 5, K**T + 2])
def test_they_are_the_best_of_all(params, n, x64):
    best = search(params, EMISSIONS, n=n, mask=MASK)
    assert best.tags.shape == (B, n, T) and best.tags.dtype == np.int32
    for b in range(B):
        want = every(params, EMISSIONS[b, MASK[b]])[:n]
        np.testing.assert_allclose(best.scores[b, : len(want)], [s for s, _ in want], rtol=1e-9)
        assert np.isneginf(best.scores[b, len(want) :]).all()
        assert [tuple(y[MASK[b]].tolist()) for y in best.tags[b, : len(want)]] == [
            tags for _, tags in want
        ]
        assert not np.any(best.tags[b][:, ~MASK[b]])
    one = crf_viterbi(params, EMISSIONS, mask=MASK)
    np.testing.assert_array_equal(best.tags[:, 0], one.tags)
    np.testing.assert_allclose(best.scores[:, 0], one.scores, rtol=1e-12)


def test_ties_go_to_the_lowest_id_and_the_number_is_checked():
    best = search(CRFParams.zeros(2), np.zeros((1, 2, 2), np.float32), n=4)
    assert best.tags[0].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    with pytest.raises(ValueError, match="n is 0; expected an integer of at least 1."):
        crf_n_best(CRFParams.zeros(2), np.zeros((1, 2, 2), np.float32), n=0)
