"""The Kneser-Ney baseline: a proper distribution, equal to a slow and to a hand-computed one."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from experiments.music.ngram import KneserNey, baseline
from experiments.music.smoothing import discounts

LETTERS = "\0abcdefg"


def encode(*texts):
    return [np.array([LETTERS.index(c) for c in text], np.int64) for text in texts]


def random_documents(seed, count=40, vocabulary=8):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(vocabulary - 2, 0.5))  # the last token never occurs
    return [rng.choice(vocabulary - 2, rng.integers(0, 30), p=weights) + 1 for _ in range(count)]


def slow_probability(documents, vocabulary, order, history, token, modified):
    """p(token | history) with dictionaries; histories include the begin token "^"."""
    raw = defaultdict(Counter)  # length of gram -> gram -> occurrences
    for document in documents:
        tokens = ["^", *map(int, document), 0]
        for length in range(1, order + 2):
            for start in range(len(tokens) - length + 1):
                raw[length][tuple(tokens[start : start + length])] += 1
    del raw[1][("^",)]

    def counts(length):
        if length == order:
            return raw[length]
        left = Counter(gram[1:] for gram in raw[length + 1])
        return Counter({g: c if g[0] == "^" else left[g] for g, c in raw[length].items()})

    def p(history, length):
        if length == 0:
            return 1 / vocabulary
        if len(history) < length - 1:  # nothing precedes the begin token
            return p(history, length - 1)
        table = counts(length)
        h = tuple(history[len(history) - length + 1 :])
        d = discounts(np.array(list(table.values())), modified)
        follow = {g: c for g, c in table.items() if g[:-1] == h}
        lower = p(history, length - 1)
        if not follow:
            return lower
        total = sum(follow.values())
        gamma = sum(d[min(c, 3)] for c in follow.values()) / total
        c = follow.get((*h, token), 0)
        return (c - d[min(c, 3)]) / total + gamma * lower

    return p(("^", *history), order)


def test_hand_computed_bigram():
    # "ab", "ac": bigrams ^a 2, ab 1, ac 1, b0 1, c0 1. Vocabulary: end, a, b, c.
    model = KneserNey.fit(encode("ab", "ac"), 4, order=2, modified=False)
    # D of bigrams: n1 = 4, n2 = 1 gives 4/6. Tokens to the left: a 1, b 1, c 1, end 2:
    # n1 = 3, n2 = 1 gives 3/5; what four discounts free, 4 x 3/5 of 5, goes to 1/4 each.
    end = (2 - 3 / 5) / 5 + 12 / 25 / 4
    other = (1 - 3 / 5) / 5 + 12 / 25 / 4
    np.testing.assert_allclose(
        model.distribution([1]),
        [2 / 3 * end, 2 / 3 * other, 1 / 6 + 2 / 3 * other, 1 / 6 + 2 / 3 * other],
        rtol=1e-12,
    )
    first = (2 - 2 / 3) / 2 + 1 / 3 * other  # a after the begin token
    assert model.distribution([])[1] == pytest.approx(first, abs=1e-12)


def test_bits_are_the_mean_over_characters_and_the_end_token():
    model = KneserNey.fit(encode("ab", "ac"), 4, order=2)
    steps = [model.distribution([])[1], model.distribution([1])[3], model.distribution([1, 3])[0]]
    bits = model.bits_per_token(encode("ac"))
    assert bits.shape == (2,)
    assert bits[1] == pytest.approx(-np.mean(np.log2(steps)), abs=1e-12)
    # Documents are weighted by their length, and no context crosses them.
    two = model.bits_per_token(encode("ac", "", "ac"))[1]
    end = -np.log2(model.distribution([])[0])
    assert two == pytest.approx((6 * bits[1] + end) / 7, abs=1e-12)


@pytest.mark.parametrize("modified", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_equals_a_slow_reference(order, modified):
    documents = random_documents(order)
    model = KneserNey.fit(documents, 8, 4, modified)
    rng = np.random.default_rng(5)
    for length in [0, 1, 2, 3, 6]:
        history = [
            int(w) for w in (documents[1][:2] if length == 2 else rng.integers(1, 8, length))
        ]
        fast = model.distribution(history, order)
        slow = [slow_probability(documents, 8, order, history, w, modified) for w in range(8)]
        np.testing.assert_allclose(fast, slow, rtol=1e-12)


@pytest.mark.parametrize("modified", [True, False])
def test_sums_to_one_after_seen_and_unseen_histories(modified):
    documents = random_documents(3, count=200)
    model = KneserNey.fit(documents, 8, 8, modified)
    rng = np.random.default_rng(0)
    histories = [document[:end] for document in documents[:20] for end in (0, 1, 5, 12)]
    histories += [rng.integers(1, 8, rng.integers(0, 12)) for _ in range(30)]
    for history in map(np.ndarray.tolist, histories):
        for order in (1, 2, 5, 8):
            p = model.distribution(history, order)
            assert p.min() > 0
            assert p.sum() == pytest.approx(1, abs=1e-9)


def test_unknown_tokens_share_the_uniform_floor():
    model = KneserNey.fit(random_documents(3), 30, order=3)
    p = model.distribution([2, 1])
    np.testing.assert_allclose(p[8:], p[8])
    assert np.isfinite(model.bits_per_token([np.array([9, 20])])).all()
    # A longer vocabulary than 64-bit packing of 8 tokens would allow.
    wide = KneserNey.fit([np.arange(1, 5000)], 100_000, order=8)
    assert wide.distribution([1, 2, 3])[4] > 0.4


def test_discounts():
    counts = np.repeat([1, 2, 3, 4, 9], [40, 20, 12, 8, 5])
    y = 40 / 80
    expected = [0, 1 - 2 * y * 20 / 40, 2 - 3 * y * 12 / 20, 3 - 4 * y * 8 / 12]
    np.testing.assert_allclose(discounts(counts), expected)
    np.testing.assert_allclose(discounts(counts, modified=False), [0, y, y, y])
    np.testing.assert_allclose(discounts(np.array([7, 8])), [0, 0.5, 1, 1.5])


def test_baseline_chooses_on_validation():
    pattern = np.tile([1, 2, 3, 1, 3], 30)
    result = baseline([[pattern[s:] for s in range(5)], [pattern], [pattern[3:]]], 5)
    assert len(result.by_order) == 8
    assert result.valid == min(result.by_order) == result.by_order[result.order - 1]
    assert result.order > 1
    assert result.test < 0.3


def test_errors():
    with pytest.raises(ValueError, match="there are no documents"):
        KneserNey.fit([], 5)
    with pytest.raises(ValueError, match="tokens must be from 1 to 4"):
        KneserNey.fit([np.array([1, 5])], 5)
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        KneserNey.fit(encode("ab"), 5, order=0)
