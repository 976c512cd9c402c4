"""stochastic_beam_search against the enumerated law without replacement, and its own contract."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support import decoding_models as models

from seqjax.decoding import Sampling, stochastic_beam_search
from seqjax.decoding.beam.stochastic import log1mexp, log_inclusion
from seqjax.decoding.processors.truncation import keep_top_k

EOS, VOCAB, LENGTH, ROWS = 1, 3, 4, 20_000
KEY = jax.random.key(5)


@functools.partial(jax.jit, static_argnames=("size", "length"))
def draw(carry, key=KEY, prompt=None, prompt_lengths=None, size=4, length=LENGTH):
    how: dict[str, Any] = dict(prompt=prompt, prompt_lengths=prompt_lengths, key=key)
    return stochastic_beam_search(
        models.step, carry, bos=0, eos=EOS, beam_size=size, max_len=length, **how
    )


@functools.lru_cache
def enumerated(size=4):
    """Many draws of one model: (beams, index of each into all sequences, their log p)."""
    one = models.random_rows(0, 1, VOCAB)
    tokens, _, log_probs = models.hypotheses(
        models.step, one, np.zeros(1, np.int32), VOCAB, LENGTH, EOS
    )
    beams = draw(jax.tree.map(lambda x: jnp.repeat(x, ROWS, axis=0), one), size=size)
    digits = VOCAB ** np.arange(LENGTH)[::-1]
    index = np.searchsorted(tokens @ digits, np.asarray(beams.tokens) @ digits)
    np.testing.assert_array_equal(tokens[index], beams.tokens)
    return jax.tree.map(np.asarray, beams), index, log_probs[0]


def test_no_sequence_comes_twice_and_each_has_its_probability():
    beams, index, log_probs = enumerated()
    assert all(len(set(row)) == 4 for row in index)
    np.testing.assert_allclose(beams.log_probs, log_probs[index], atol=1e-5)
    assert np.all(np.diff(beams.perturbed, axis=1) <= 0)
    assert np.all(beams.perturbed[:, -1] >= beams.threshold)


def test_sequences_follow_the_law_of_drawing_without_replacement():
    _, index, log_probs = enumerated()
    p = np.exp(log_probs) / np.exp(log_probs).sum()
    ordered = p  # the law of the first k, in order: an axis for each
    for k in range(1, 5):
        if k in (1, 2):
            shape = ordered.shape
            counts = np.bincount(np.ravel_multi_index(index[:, :k].T, shape), minlength=p.size**k)
            pool = lambda x, often: np.append(x[often], x[~often].sum())
            often = ROWS * ordered.ravel() >= 5
            observed, expected = pool(counts, often), ROWS * pool(ordered.ravel(), often)
            assert stats.chisquare(observed, expected).pvalue > 1e-4
        if k < 4:
            left = np.ones(ordered.shape)
            for axis in range(k):
                left = left - p.reshape(-1, *[1] * (k - 1 - axis))
            ordered = ordered[..., None] * p / np.maximum(left, 1e-12)[..., None]
            for axis in range(k):  # no sequence twice
                same = np.arange(p.size).reshape(-1, *[1] * (k - axis)) == np.arange(p.size)
                ordered = np.where(same, 0, ordered)
    np.testing.assert_allclose(ordered.sum(), 1, rtol=1e-6)
    included = sum(ordered.sum(tuple(i for i in range(4) if i != axis)) for axis in range(4))
    found = np.bincount(index.ravel(), minlength=p.size) / ROWS
    deviation = np.sqrt(included * (1 - included) / ROWS)
    assert np.all(np.abs(found - included) < 4.5 * deviation + 1e-12)


def agree(sample, other) -> bool:
    """Whether two samples may be of one law, by the Kolmogorov-Smirnov test."""
    result: Any = stats.ks_2samp(sample, other)
    return result.pvalue > 1e-4


@pytest.mark.parametrize("size", [1, 4])  # narrower and wider than the vocabulary
def test_perturbed_scores_and_threshold_are_order_statistics_of_gumbels(size):
    beams, _, log_probs = enumerated(size)
    noise = np.random.default_rng(0).gumbel(size=(ROWS, log_probs.size))
    largest = -np.sort(-(log_probs + noise), axis=1)
    for k in range(size):
        assert agree(beams.perturbed[:, k], largest[:, k])
    assert agree(beams.threshold, largest[:, size])


def assert_mean(values, truth):
    """The mean is right within three standard errors."""
    error = values.std() / np.sqrt(values.size)
    assert abs(values.mean() - truth) < 3 * error, (values.mean(), truth, error)


def test_weighted_estimators_are_unbiased():
    beams, index, log_probs = enumerated()
    p, weights = np.exp(log_probs), np.exp(beams.log_weights.astype(np.float64))
    reward = np.random.default_rng(1).normal(size=p.size)
    assert_mean(weights.sum(1), 1.0)
    assert_mean((weights * -log_probs[index]).sum(1), -(p * log_probs).sum())
    assert_mean((weights * reward[index]).sum(1), (p * reward).sum())
    normalised = weights / weights.sum(1, keepdims=True)  # a small bias, no constant wrong
    assert abs((normalised * reward[index]).sum(1).mean() - (p * reward).sum()) < 0.03


def test_weighted_estimators_vary_less_than_independent_samples():
    """At k = 16 on a peaked model: at least two times, for the entropy and for a reward."""
    one = models.random_rows(8, 1, 4, scale=1.5)
    tokens, _, log_probs = models.hypotheses(models.step, one, np.zeros(1, np.int32), 4, 5, EOS)
    log_probs = log_probs[0]
    rows = jax.tree.map(lambda x: jnp.repeat(x, 2000, axis=0), one)
    beams = jax.tree.map(np.asarray, draw(rows, size=16, length=5))
    digits = 4 ** np.arange(5)[::-1]
    index = np.searchsorted(tokens @ digits, beams.tokens @ digits)
    p, weights = np.exp(log_probs), np.exp(beams.log_weights.astype(np.float64))
    assert 0.9 < np.sort(p)[-16:].sum() < 0.97  # peaked, yet not all in the beam
    reward = np.random.default_rng(1).normal(size=p.size)
    for values in (-log_probs, reward):
        truth = (p * values).sum()
        independent = (p * (values - truth) ** 2).sum() / 16
        estimates = (weights * values[index]).sum(1)
        assert_mean(estimates, truth)
        normalised = estimates / weights.sum(1)
        for each in (estimates, normalised):
            assert independent > 2 * np.mean((each - truth) ** 2)


def test_a_beam_wider_than_the_law_holds_it_exactly():
    carry = models.random_rows(2, 5, 3)
    beams = draw(carry, size=20, length=2)
    tokens, lengths, log_probs = models.hypotheses(
        models.step, carry, np.zeros(5, np.int32), 3, 2, EOS
    )
    found = len(tokens)
    assert np.all(np.isneginf(beams.threshold)) and found < 20
    for b in range(5):
        assert sorted(beams.tokens[b, :found].tolist()) == tokens.tolist()
        order = np.argsort(-np.asarray(beams.log_probs[b, :found]))
        np.testing.assert_allclose(
            beams.log_probs[b, order], -np.sort(-log_probs[b]), rtol=1e-5, atol=1e-5
        )
    np.testing.assert_allclose(beams.log_weights[:, :found], beams.log_probs[:, :found], atol=1e-6)
    nothing = jax.tree.map(lambda x: np.asarray(x)[:, found:], beams._replace(threshold=()))
    assert np.all(nothing.tokens == EOS) and np.all(nothing.lengths == 0)
    for floats in (nothing.log_probs, nothing.perturbed, nothing.log_weights):
        assert np.all(np.isneginf(floats))


def test_a_row_depends_on_its_own_key_and_inputs_alone():
    carry, keys = models.random_rows(4, 6, 4), jax.random.split(KEY, 6)
    prompts = [[2], [], [EOS, 0, 3], [3, 3, 3], [0], [2, EOS]]
    lengths = np.array([len(p) for p in prompts], np.int32)
    padded = np.array([p + [77] * (3 - len(p)) for p in prompts], np.int32)

    def step(carry, tokens):
        carry, logits = models.step(carry, tokens)
        return carry, logits.at[:, EOS].add(2)

    @functools.partial(jax.jit, static_argnames="length")
    def run(carry, keys, bos=0, prompt=None, prompt_lengths=None, length=LENGTH):
        how: dict[str, Any] = dict(prompt=prompt, prompt_lengths=prompt_lengths, bos=bos)
        how |= dict(eos=EOS, beam_size=3, max_len=length, key=keys)
        return stochastic_beam_search(step, carry, **how)

    beams = run(carry, keys, 0, padded, lengths)
    take = lambda tree, index: jax.tree.map(lambda x: x[index], tree)
    order = np.array([3, 0, 5, 2, 2, 1])  # in other places, with other batch mates
    moved = run(take(carry, order), keys[order], 0, padded[order], lengths[order])
    chex.assert_trees_all_close(moved, take(beams, order), rtol=1e-6)

    primed, first = models.prime(step, carry, np.zeros(6), prompts)
    longer = run(primed, keys, first, length=9)
    ended = np.all(np.asarray(longer.lengths) <= LENGTH, axis=1)
    assert ended.any() and not ended.all()
    np.testing.assert_array_equal(longer.tokens[ended][..., :LENGTH], beams.tokens[ended])
    chex.assert_trees_all_close(take(longer[1:], ended), take(beams[1:], ended), rtol=1e-5)

    bad = carry["params"][2].at[1].set(jnp.nan).at[2].set(jnp.inf)
    spoiled = run({**carry, "params": (*carry["params"][:2], bad)}, keys, 0, padded, lengths)
    others = np.array([0, 3, 4, 5])
    chex.assert_trees_all_equal(take(spoiled, others), take(beams, others))
    assert np.isnan(spoiled.log_probs[1]).any()

    same = run(take(carry, np.zeros(6, int)), KEY, 0, padded[:1].repeat(6, 0), lengths)
    assert len(set(same.perturbed[:, 0].tolist())) == 6  # one key: the rows draw apart


def test_everything_in_the_carry_is_gathered():
    """Each sequence has the probability that its own history gives it."""
    carry = models.every_kind(3)
    bos = np.array([0, 2, 1], np.int32)
    how: dict[str, Any] = dict(bos=bos, eos=EOS, beam_size=6, max_len=4, key=KEY)
    beams = jax.jit(lambda c: stochastic_beam_search(models.history_step, c, **how))(carry)
    each = models.token_log_probs(models.history_step, carry, bos, np.asarray(beams.tokens))
    lengths = np.asarray(beams.lengths)
    np.testing.assert_allclose(beams.log_probs, models.sum_to(each, lengths), atol=1e-4)
    tokens, counted = models.end_at(np.asarray(beams.tokens), EOS)
    np.testing.assert_array_equal(tokens, beams.tokens)
    np.testing.assert_array_equal(counted, lengths)


def test_settings_and_processors_shape_the_law():
    carry = models.random_rows(6, 4, 5)
    temperature = jnp.array([0.5, 1.0, 2.0, 0.0])
    how: dict[str, Any] = dict(bos=0, eos=EOS, beam_size=4, max_len=4, key=KEY)
    how |= dict(how=Sampling(temperature, top_k=3))
    beams = jax.jit(
        lambda c: stochastic_beam_search(models.step, c, processors=[models.NoRepeat()], **how)
    )(carry)

    def law_step(carry, tokens):
        state, last, length = carry
        state, logits = models.step(state, tokens)
        seen = jnp.where(length[:, None] > 0, tokens[:, None], -1)
        logits = jnp.where(jnp.arange(5) == seen, -jnp.inf, logits)
        kept = keep_top_k(logits, 3)
        cold = jnp.where(logits == logits.max(-1, keepdims=True), 0.0, -jnp.inf)
        warm = kept / jnp.where(last == 0, 1, last)[:, None]
        return (state, last, length + 1), jnp.where(last[:, None] == 0, cold, warm)

    carry = (carry, temperature, jnp.zeros(4, jnp.int32))
    tokens, lengths = np.asarray(beams.tokens), np.asarray(beams.lengths)
    each = models.token_log_probs(law_step, carry, np.zeros(4, np.int32), tokens)
    real = lengths > 0
    np.testing.assert_allclose(
        np.asarray(beams.log_probs)[real], models.sum_to(each, lengths)[real], atol=1e-4
    )
    assert real[:3].all() and real[3].tolist() == [True, False, False, False]
    assert beams.log_weights[3, 0] == 0


def test_extreme_logits_are_stable():
    """The naive -log(exp(-T) - exp(-Z) + exp(-g)) overflows at all of these."""
    rows = [[0.0, 1e4, 1e4, -1e4], [500.0, 0.0, -500.0, 499.0], [-1e30, -1e30, 0.0, 0.0]]
    rows += [[-np.inf, 0.0, -200.0, -np.inf], [3e38, -3e38, 0.0, -np.inf]]
    logits = jnp.array(rows)
    how: dict[str, Any] = dict(bos=0, eos=EOS, beam_size=3, max_len=30, key=KEY)
    beams = jax.jit(lambda x: stochastic_beam_search(lambda c, _: (c, c), x, **how))(logits)
    real = np.asarray(beams.lengths) > 0
    assert real[:, 0].all()
    for floats in (beams.log_probs, beams.perturbed, beams.log_weights):
        assert np.all(np.isfinite(floats) == real) and np.all(np.isneginf(floats) == ~real)
    for row, found in zip(np.asarray(beams.tokens), real, strict=True):
        assert len({tuple(tokens) for tokens in row[found]}) == found.sum()


def test_logarithms_of_small_probabilities_are_accurate():
    """In float32, also where 1 - exp(x) would round to 0 or to 1."""
    near, far = (lambda x: np.log(-np.expm1(x))), (lambda x: np.log1p(-np.exp(x)))
    exact = lambda x: np.where(x > -1, near(np.maximum(x, -1)), far(np.minimum(x, -1)))
    x = -np.logspace(-30, 1.9, 300).astype(np.float32)
    np.testing.assert_allclose(log1mexp(jnp.array(x)), exact(x.astype(np.float64)), rtol=1e-5)
    above = np.linspace(-200, 20, 300).astype(np.float32)
    expected = exact(-np.exp(above.astype(np.float64)))
    np.testing.assert_allclose(log_inclusion(jnp.array(above)), expected, rtol=1e-5, atol=1e-7)


def test_dead_ends_and_ended_rows():
    """Logits that are all -inf allow eos alone; what an ended row computes is not seen."""
    dead = lambda carry, tokens: (carry, jnp.where(tokens[:, None] == 0, -jnp.inf, jnp.zeros(3)))
    how: dict[str, Any] = dict(eos=EOS, beam_size=2, key=KEY)
    run = lambda step, carry, **more: jax.jit(
        lambda c: stochastic_beam_search(step, c, **how, **more)
    )(carry)
    beams = run(dead, (), bos=jnp.array([2, 0]), max_len=3)
    assert beams.tokens[1].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert beams.log_probs[1].tolist() == [0.0, -np.inf]

    def step(n, tokens):
        ends = jnp.where(n[:, None] < 2, jnp.array([0.0, 0.0]), jnp.array([-jnp.inf, 0.0]))
        return n + 1, jnp.where(n[:, None] > 3, jnp.nan, ends)

    beams = run(step, jnp.array([0, -7]), bos=0, max_len=9)
    assert np.isfinite(beams.log_probs[0]).all() and np.isfinite(beams.log_weights[0]).all()


def test_precision_follows_the_logits(x64):
    dtype = jnp.float64
    step = lambda h, tokens: (h, h[:, None] * jnp.array([1.0, -1.0, 2.0], dtype))
    how: dict[str, Any] = dict(bos=0, eos=EOS, beam_size=3, max_len=3, key=KEY)
    beams = jax.jit(lambda h: stochastic_beam_search(step, h, **how))(jnp.ones(2, dtype))
    assert all(x.dtype == dtype for x in beams[1:5])
    assert beams.tokens.dtype == beams.lengths.dtype == jnp.int32
