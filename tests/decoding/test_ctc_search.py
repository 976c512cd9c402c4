"""Collapsing, greedy decoding and prefix beam search, beside sums over all paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.alignments import collapse, ctc_probabilities, labellings

import seqjax as sj
from seqjax.decoding import LanguageModel, ctc_beam_search, ctc_collapse, ctc_greedy
from seqjax.decoding.lattices import fusion

T, V = 4, 3
RNG = np.random.default_rng(1)
LOGITS = 1.5 * RNG.normal(size=(2, T, V))
ALL = 2 ** (T + 1) - 1  # prefixes of at most T labels out of two
loss = jax.jit(sj.losses.ctc_loss)
greedy = jax.jit(ctc_greedy)
search = jax.jit(ctc_beam_search, static_argnames=("beam_size", "blank", "max_len"))


def test_without_merging_blanks_alone_are_dropped():
    paths = np.array(list(itertools.product(range(V), repeat=4)))
    labels, lengths = ctc_collapse(paths, merge=False)
    for path, row, n in zip(paths, labels, lengths, strict=True):
        assert row[:n].tolist() == [label for label in path if label != 0]
    found = ctc_greedy(jax.nn.one_hot(paths, V), merge=False)
    np.testing.assert_array_equal(found.labels[:, 0], labels)


@pytest.mark.parametrize("blank", [0, 2])
def test_collapse_merges_before_it_drops_blanks(blank):
    paths = np.array(list(itertools.product(range(V), repeat=5)))
    labels, lengths = jax.jit(ctc_collapse, static_argnames="blank")(paths, blank=blank)
    for path, row, n in zip(paths, labels, lengths, strict=True):
        assert tuple(row[:n].tolist()) == collapse(path.tolist(), blank)
        assert (row[n:] == blank).all()


def test_collapse_and_greedy_read_no_padding():
    labels, lengths = ctc_collapse(np.array([[1, 1, 2], [2, 0, 2]]), lengths=np.array([1, 2]))
    assert (labels[:, 0].tolist(), lengths.tolist()) == ([1, 2], [1, 1])
    logits = np.log([[[0.1, 0.9], [0.1, 0.9], [0.8, 0.2], [0.1, 0.9]]]).astype(np.float32)
    best = greedy(logits, lengths=np.array([3]))
    assert (best.labels.tolist(), best.lengths.tolist()) == ([[[1, 0, 0, 0]]], [[1]])
    np.testing.assert_allclose(best.log_probs, [[np.log(0.9 * 0.9 * 0.8)]], rtol=1e-6)
    np.testing.assert_array_equal(best.scores, best.log_probs)
    spoilt = greedy(np.where(np.arange(4)[:, None] < 3, logits, np.nan), lengths=np.array([3]))
    jax.tree.map(np.testing.assert_array_equal, spoilt, best)


@pytest.mark.parametrize("blank", [0, 1])
def test_a_wide_beam_has_every_labelling_with_its_exact_probability(x64, blank):
    found = search(LOGITS, beam_size=ALL, blank=blank)
    for row in range(2):
        exact = ctc_probabilities(LOGITS[row], blank)
        got = labellings(found, row)
        assert {y for y, _ in got} == exact.keys() and len(got) == len(exact)
        np.testing.assert_allclose(
            [p for _, p in got], sorted(np.log(list(exact.values())))[::-1], rtol=1e-10
        )
        for y, log_p in got:
            np.testing.assert_allclose(log_p, np.log(exact[y]), rtol=1e-10)
        assert any(a == b for y, _ in got for a, b in itertools.pairwise(y))  # repeated labels
    np.testing.assert_array_equal(found.scores, found.log_probs)


def test_log_probs_are_minus_the_loss(x64):
    found = search(LOGITS, beam_size=ALL)
    best = found.labels[:, 0], found.lengths[:, 0]
    losses = loss(LOGITS, best[0], label_lengths=best[1])
    np.testing.assert_allclose(found.log_probs[:, 0], -losses, rtol=1e-10)


def test_a_narrow_beam_is_a_lower_bound_and_finds_the_obvious():
    logits = np.where(RNG.integers(0, V, (2, 8, 1)) == np.arange(V), 6.0, 0.0).astype(np.float32)
    found = search(logits, beam_size=3)
    best = greedy(logits)
    for row in range(2):
        assert labellings(found, row)[0][0] == labellings(best, row)[0][0]
    losses = loss(logits, found.labels[:, 0], label_lengths=found.lengths[:, 0])
    assert np.all(found.log_probs[:, 0] <= -losses + 1e-5)
    assert np.all(np.diff(found.scores) <= 0)


def test_rows_end_each_at_its_length_and_nan_after_it_changes_nothing():
    logits = LOGITS.astype(np.float32)
    lengths = np.array([4, 2])
    real = np.arange(T)[:, None] < lengths[:, None, None]
    found = search(np.where(real, logits, np.nan), beam_size=ALL, lengths=lengths)
    exact = ctc_probabilities(logits[1, :2])
    got = dict(labellings(found, 1))
    assert got.keys() == exact.keys()
    np.testing.assert_allclose([got[y] for y in exact], np.log(list(exact.values())), rtol=1e-4)
    clean = search(np.where(real, logits, 0), beam_size=ALL, lengths=lengths)
    jax.tree.map(np.testing.assert_array_equal, found, clean)
    none = search(logits, beam_size=ALL, lengths=np.zeros(2, int))
    assert labellings(none, 0) == [((), 0.0)]


def test_impossible_labels_and_max_len():
    logits = LOGITS.astype(np.float32)
    found = search(np.where(np.arange(V) == 1, -np.inf, logits), beam_size=ALL)
    got = dict(labellings(found, 0))
    exact = {y: p for y, p in ctc_probabilities(logits[0][:, [0, 2]]).items()}
    assert {tuple(1 for _ in y) for y in got} == exact.keys() and not any(1 in y for y in got)
    for y, log_p in got.items():
        np.testing.assert_allclose(np.exp(log_p), exact[(1,) * len(y)], rtol=1e-4)
    short = dict(labellings(search(logits, beam_size=ALL, max_len=1), 0))
    exact = ctc_probabilities(logits[0])
    assert short.keys() == {(), (1,), (2,)}
    for y, log_p in short.items():
        np.testing.assert_allclose(np.exp(log_p), exact[y], rtol=1e-4)


def test_a_language_model_is_fused_with_weight_bonus_and_end(x64):
    table = np.log(RNG.dirichlet(np.ones(V + 1), size=V + 1))  # bigrams over V ids and an end, V

    def step(carry, tokens):  # the carry counts what was read: it must follow its prefix
        return carry + 1, jnp.asarray(table)[tokens] + 0 * carry[:, None]

    def language(weight):
        return LanguageModel(step, jnp.zeros(2), bos=0, eos=V, weight=weight)

    run = jax.jit(
        lambda weight, bonus: ctc_beam_search(
            LOGITS, beam_size=ALL, language=language(weight), insertion_bonus=bonus
        )
    )
    for weight, bonus in [(0.7, 0.3), (0.0, 0.0)]:
        found = run(weight, bonus)
        for row in range(2):
            scores = {}
            for y, p in ctc_probabilities(LOGITS[row]).items():
                said = sum(table[a, b] for a, b in itertools.pairwise((0, *y, V)))
                scores[y] = np.log(p) + weight * said + bonus * len(y)
            ranked = sorted(scores, key=lambda y: -scores[y])
            assert [y for y, _ in labellings(found, row)] == ranked
            expected = [scores[y] for y in ranked]
            np.testing.assert_allclose(found.scores[row, : len(ranked)], expected, rtol=1e-10)


def test_what_a_language_model_rules_out_stays_out():
    table = jnp.log(jnp.where(jnp.arange(V) == 2, 0, 0.5))
    step = lambda carry, tokens: (carry, jnp.broadcast_to(table, (*tokens.shape, V)))
    model = LanguageModel(step, (), bos=0, weight=0.0)
    run = jax.jit(lambda logits: ctc_beam_search(logits, beam_size=5, language=model))
    found = run(LOGITS.astype(np.float32))
    assert {y for y, _ in labellings(found, 0)} == {(), (1,), (1, 1)}
    said = fusion.Fusion((), jnp.zeros((1, 1)), jnp.array([[[-jnp.inf, -1.0]]]))
    bonus = fusion.label_bonus(model, said, 2, jnp.float32)
    assert bonus.tolist() == [[[-np.inf, 0]]]  # 0 times -inf is no NaN


def test_the_language_models_carry_follows_its_prefix():
    # The model allows label 1 first and then 2 alone: it counts what it has read.
    allowed = jnp.log(jnp.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    step = lambda carry, tokens: (carry + 1, allowed[carry])
    model = LanguageModel(step, jnp.zeros(2, jnp.int32), bos=0)
    run = jax.jit(lambda logits: ctc_beam_search(logits, beam_size=ALL, language=model))
    logits = LOGITS.astype(np.float32)
    logits[:, 0, 1:] = -np.inf  # the empty prefix stays at the first frame, and reads nothing
    assert {y for y, _ in labellings(run(logits), 1)} == {(), (1,), (1, 2)}
