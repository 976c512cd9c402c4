"""speculative_sample: the law of `sample` whatever the draft, and carries set back row by row."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support import decoding_models as models

from seqjax.decoding import Sampling, sample, speculative_sample
from seqjax.decoding.processors.truncation import keep_top_k

EOS, VOCAB, LENGTH, DRAWS = 1, 3, 4, 20_000
KEY = jax.random.key(9)


def assert_follows(tokens, step, carry):
    """Sequences [R, L] follow the law of step: a chi-square test over all there are."""
    every, _, log_probs = models.hypotheses(step, carry, np.zeros(1, np.int32), VOCAB, LENGTH, EOS)
    digits = VOCAB ** np.arange(LENGTH)[::-1]
    index = np.searchsorted(every @ digits, np.asarray(tokens) @ digits)
    np.testing.assert_array_equal(every[index], tokens)
    expected = len(tokens) * np.exp(log_probs[0])
    counts = np.bincount(index, minlength=len(every))
    assert counts[expected == 0].sum() == 0
    pool = lambda x: np.append(x[expected >= 5], x[expected < 5].sum())
    counts, expected = pool(counts), pool(expected * len(tokens) / expected.sum())
    keep = expected > 0
    assert stats.chisquare(counts[keep], expected[keep]).pvalue > 1e-4


@functools.lru_cache
def pair():
    """A model and a rather different draft, each as one row."""
    return models.random_rows(1, 1, VOCAB, scale=1.2), models.random_rows(2, 1, VOCAB, scale=1.2)


def many(tree):
    return jax.tree.map(lambda x: jnp.repeat(x, DRAWS, axis=0), tree)


def test_law_is_the_target_whatever_the_draft():
    target, draft = pair()
    how: dict[str, Any] = dict(bos=0, eos=EOS, num_draft=2, max_len=LENGTH, key=KEY)
    samples = jax.jit(lambda c, d: speculative_sample(models.step, c, models.step, d, **how))(
        many(target), many(draft)
    )
    assert_follows(samples.tokens, models.step, target)
    samples = jax.tree.map(np.asarray, samples)
    _, lengths = models.end_at(samples.tokens, EOS)
    np.testing.assert_array_equal(lengths, samples.lengths)
    assert np.all(samples.accepted <= 2 * samples.rounds)
    assert np.all(samples.accepted + samples.rounds >= samples.lengths)
    share = samples.accepted.sum() / samples.rounds.sum()
    assert 0.2 < share < 1.2  # some guesses hold and some do not
    each = models.token_log_probs(
        models.step, target, np.zeros(1, np.int32), samples.tokens[None, :500]
    )[0]
    np.testing.assert_allclose(
        samples.log_probs[:500], models.sum_to(each, lengths[:500]), atol=1e-4
    )


def law_step(carry, tokens):
    """A model without repeats, at temperature 0.7 and top-k 2, as a step of its own."""
    carry, n = carry
    carry, logits = models.step(carry, tokens)
    seen = jnp.where(n > 0, tokens, -1)
    logits = jnp.where(jnp.arange(VOCAB) == seen[:, None], -jnp.inf, logits)
    return (carry, n + 1), keep_top_k(logits / 0.7, 2)


def test_law_under_settings_and_processors():
    target, draft = pair()
    how: dict[str, Any] = dict(bos=0, eos=EOS, num_draft=3, max_len=LENGTH, key=KEY)
    how |= dict(how=Sampling(temperature=0.7, top_k=2))
    run = lambda processor, *rows: jax.jit(
        lambda c, d: speculative_sample(
            models.step, c, models.step, d, processors=[processor], **how
        )
    )(*rows)
    samples = run(models.NoRepeat(), many(target), many(draft))
    assert_follows(samples.tokens, law_step, (target, jnp.zeros(1, jnp.int32)))
    few = lambda tree: jax.tree.map(lambda x: x[:50], tree)
    plain = run(models.no_repeat, few(many(target)), few(many(draft)))
    chex.assert_trees_all_close(plain, few(samples), rtol=1e-5)


@functools.partial(jax.jit, static_argnames=("length", "how_many"))
def draw(carry, draft, keys, temperature, prompt, lengths, length=9, how_many=3):
    how: dict[str, Any] = dict(prompt=prompt, prompt_lengths=lengths, max_len=length)
    how |= dict(bos=0, eos=EOS, num_draft=how_many, key=keys, how=Sampling(temperature))
    return speculative_sample(models.step, carry, models.step, draft, **how)


def batch():
    """Six rows: models, drafts, keys, prompts of unequal length."""
    prompts = [[2], [], [EOS, 0, 3], [3, 3, 3], [0], [2, EOS]]
    lengths = np.array([len(p) for p in prompts], np.int32)
    padded = np.array([p + [77] * (3 - len(p)) for p in prompts], np.int32)
    carry, draft = models.random_rows(4, 6, 5), models.random_rows(5, 6, 5)
    out = carry["params"][2].at[:, :, EOS].multiply(0.3)  # not to end at once
    carry = {**carry, "params": (*carry["params"][:2], out)}
    mixed = jax.tree.map(lambda a, b: a + 0.3 * b, carry["params"], draft["params"])
    near = {**carry, "params": mixed}
    return carry, near, jax.random.split(KEY, 6), padded, lengths


def test_greedy_is_greedy_decoding():
    carry, draft, keys, padded, lengths = batch()
    cold = jnp.zeros(6)
    how: dict[str, Any] = dict(prompt=padded, prompt_lengths=lengths)
    how |= dict(bos=0, eos=EOS, max_len=9, key=KEY, temperature=0.0)
    greedy = jax.jit(lambda c: sample(models.step, c, **how))(carry)
    samples = draw(carry, draft, keys, cold, padded, lengths)
    np.testing.assert_array_equal(samples.tokens, greedy.tokens)
    np.testing.assert_array_equal(samples.lengths, greedy.lengths)
    np.testing.assert_allclose(samples.log_probs, greedy.log_probs, rtol=1e-5)
    own = draw(carry, carry, keys, cold, padded, lengths)
    np.testing.assert_array_equal(own.tokens, greedy.tokens)
    n = np.asarray(own.lengths)
    np.testing.assert_array_equal(own.rounds, -(-n // 4))  # nothing is ever refused
    assert np.all(np.asarray(own.rounds) <= samples.rounds)
    warm = draw(carry, carry, keys, jnp.ones(6), padded, lengths)
    np.testing.assert_array_equal(warm.rounds, -(-np.asarray(warm.lengths) // 4))


def test_a_row_depends_on_its_own_key_and_inputs_alone():
    carry, draft, keys, padded, lengths = batch()
    warm = jnp.ones(6)
    samples = draw(carry, draft, keys, warm, padded, lengths)
    take = lambda tree, index: jax.tree.map(lambda x: x[index], tree)
    order = np.array([3, 0, 5, 2, 2, 1])
    moved = draw(*take((carry, draft, keys), order), warm, padded[order], lengths[order])
    chex.assert_trees_all_close(moved, take(samples, order), rtol=1e-6)
    longer = draw(carry, draft, keys, warm, padded, lengths, length=14)
    np.testing.assert_array_equal(longer.tokens[:, :9], samples.tokens)
    ended = np.asarray(samples.tokens)[:, -1] == EOS
    assert 0 < ended.sum() < 6
    chex.assert_trees_all_close(take(longer[1:], ended), take(samples[1:], ended), rtol=1e-6)
    same = draw(take(carry, np.zeros(6, int)), draft, KEY, warm, padded, lengths)
    assert len({tuple(row) for row in np.asarray(same.tokens).tolist()}) > 1


def test_every_leaf_of_both_carries_is_set_back():
    """The draft agrees but at every third place, so what it has read decides how far it gets."""

    def wrong_at_thirds(carry, tokens):
        carry, n = carry
        carry, logits = models.history_step(carry, tokens)
        return (carry, n + 1), jnp.where(n[:, None] % 3 == 2, -logits, logits)

    rows, length, guesses = 2, 12, 4
    carry = models.every_kind(rows)
    never = lambda logits, *_: logits.at[:, EOS].set(-jnp.inf)
    how: dict[str, Any] = dict(bos=jnp.array([0, 2]), eos=EOS, num_draft=guesses, max_len=length)
    how |= dict(key=KEY, how=Sampling(temperature=0.0), processors=[never])
    samples = jax.jit(
        lambda c, n: speculative_sample(models.history_step, c, wrong_at_thirds, (c, n), **how)
    )(carry, jnp.zeros(rows, jnp.int32))
    n = rounds = accepted = 0
    while n < length:
        kept = next((i for i in range(guesses) if (n + i) % 3 == 2), guesses)
        added = min(kept + 1, length - n)
        n, rounds, accepted = n + added, rounds + 1, accepted + min(added, kept)
    assert samples.rounds.tolist() == [rounds] * 2 and samples.accepted.tolist() == [accepted] * 2
    tokens = np.asarray(samples.tokens)
    each = models.token_log_probs(
        models.history_step, carry, np.array([0, 2], np.int32), tokens[:, None]
    )
    np.testing.assert_allclose(samples.log_probs, each.sum((1, 2)), atol=1e-4)


def test_verify_checks_several_tokens_at_once():
    chain = jnp.log(jax.random.dirichlet(jax.random.key(1), jnp.ones(4), (4,)))
    step = lambda n, tokens: (n + tokens, chain[tokens])

    def verify(n, tokens):
        return n[:, None] + jnp.cumsum(tokens, axis=1), chain[tokens]

    draft = lambda carry, tokens: (carry, jnp.sqrt(2.0) * chain[tokens])
    how: dict[str, Any] = dict(bos=0, eos=EOS, num_draft=3, max_len=11, key=KEY)
    run = lambda verify: jax.jit(
        lambda n: speculative_sample(step, n, draft, (), verify=verify, **how)
    )(jnp.zeros(8, jnp.int32))
    chex.assert_trees_all_close(run(verify), run(None), rtol=1e-6)


def test_several_ends_and_more_guesses_than_places():
    chain = jnp.log(jnp.array([[0.2, 0.3, 0.3, 0.2]] * 4))
    step = lambda carry, tokens: (carry, chain[tokens])
    how: dict[str, Any] = dict(bos=jnp.zeros(64, int), eos=(1, 3), num_draft=9, key=KEY)
    samples = jax.jit(lambda: speculative_sample(step, (), step, (), max_len=3, **how))()
    tokens, lengths = np.asarray(samples.tokens), np.asarray(samples.lengths)
    ended = np.isin(tokens, (1, 3))
    for row, end, length in zip(tokens, ended, lengths, strict=True):
        assert length == (np.argmax(end) + 1 if end.any() else 3)
        assert np.all(row[length:] == row[length - 1])
    assert {1, 3} <= set(tokens[:, -1]) and np.all(samples.rounds == 1)
    assert np.all(samples.accepted == samples.lengths)


@pytest.mark.parametrize("spoil", ["step", "draft"])
def test_nan_stays_in_its_row_and_dead_ends_end(spoil):
    carry, draft, keys, padded, lengths = batch()
    clean = draw(carry, draft, keys, jnp.ones(6), padded, lengths)
    bad = lambda tree: {
        **tree,
        "params": (*tree["params"][:2], tree["params"][2].at[1].set(jnp.nan)),
    }
    both = (bad(carry), draft) if spoil == "step" else (carry, bad(draft))
    spoiled = draw(*both, keys, jnp.ones(6), padded, lengths)
    others = np.array([0, 2, 3, 4, 5])
    chex.assert_trees_all_equal(*jax.tree.map(lambda x: x[others], (clean, spoiled)))
    assert np.isnan(spoiled.log_probs[1]) == (spoil == "step")
    dead = lambda carry, tokens: (carry, jnp.full((2, 3), -jnp.inf))
    fine = lambda carry, tokens: (carry, jnp.zeros((2, 3)))
    how: dict[str, Any] = dict(bos=jnp.zeros(2, int), eos=EOS, num_draft=2, max_len=3, key=KEY)
    samples = jax.jit(lambda: speculative_sample(dead, (), fine, (), **how))()
    assert samples.lengths.tolist() == [1, 1] and samples.log_probs.tolist() == [0, 0]
