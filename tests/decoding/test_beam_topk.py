"""The best extensions over any vocabulary: exact, ties in order, nothing of its size copied."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models
from support.decoding_searches import ruled

from seqjax.decoding import beam_search
from seqjax.decoding.engine.candidates import NARROW, extend, extend_groups


def rows_to_extend(size, vocab):
    """Rows of hypotheses with ties, both zeros, little or nothing finite, equal, best last."""
    rng = np.random.default_rng(vocab)
    shape = (size, vocab)
    plain = rng.normal(size=shape)
    ties = rng.integers(0, 4, shape).astype(float)
    zeros = np.where(rng.random(shape) < 0.5, -0.0, 0.0)
    few = np.where(rng.random(shape) < 3 / vocab, plain, -np.inf)
    last = np.where(np.arange(vocab) >= vocab - 3, 1.0, 0.0) + np.zeros(shape)
    blank = np.where(np.arange(size)[:, None] == size - 1, -np.inf, ties)
    logits = np.stack([plain, ties, zeros, few, np.ones(shape), last, blank])
    log_probs = -rng.integers(0, 3, (len(logits), size)).astype(float)
    log_probs[0, size - 1] = -np.inf if size > 1 else 0
    return log_probs.astype(np.float32), logits.astype(np.float32)


def brute_force(log_probs, logits, ends, forced):
    """Log-probabilities of all extensions of a row [K, V]."""
    empty = (logits == -np.inf).all(axis=1, keepdims=True)
    ids = np.arange(logits.shape[1])
    logits = np.where(empty, np.where(ids == ends[0], np.float32(0), -np.inf), logits)
    law = np.asarray(jax.nn.log_softmax(logits, axis=1))
    if forced >= 0:
        law = np.where(ids == forced, law, -np.inf)
    return log_probs[:, None] + law


@pytest.mark.parametrize(
    ("size", "vocab", "ends"),
    [(1, 50, (1,)), (3, 50, (1, 4)), (1, 1193, (3,)), (4, 2 * NARROW, (1,)), (3, 1193, (700, 2))],
)
@pytest.mark.parametrize("forcing", [False, True])
def test_extensions_are_the_best_of_all(size, vocab, ends, forcing):
    log_probs, logits = rows_to_extend(size, vocab)
    forced = np.where(np.arange(len(logits)) % 2, vocab - 2, -1).astype(np.int32)
    options = {"forced": forced} if forcing else {}
    found = jax.jit(functools.partial(extend, ends=ends))(log_probs, logits, **options)
    count = (1 + len(ends)) * size
    assert found.tokens.shape == (len(logits), count)
    for r in range(len(logits)):
        total = brute_force(log_probs[r], logits[r], ends, forced[r] if forcing else -1)
        want = -np.sort(-total.reshape(-1))[:count]
        log_p = np.asarray(found.log_probs[r])
        there = want > -np.inf
        np.testing.assert_array_equal(log_p > -np.inf, there)
        parents, tokens = found.parents[r][there], found.tokens[r][there]
        assert len(set(zip(parents.tolist(), tokens.tolist(), strict=True))) == there.sum()
        np.testing.assert_allclose(log_p[there], want[there], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(total[parents, tokens], want[there], rtol=1e-5, atol=1e-6)
        alive = np.flatnonzero(there)[~np.isin(tokens, ends)][:size]  # ends take no place
        assert found.live[r][: len(alive)].tolist() == alive.tolist()
        live = np.pad(log_p[alive], (0, size - len(alive)), constant_values=-np.inf)
        np.testing.assert_array_equal(found.live_log_probs[r], live)


@pytest.mark.parametrize("vocab", [60, 1193])
def test_equal_extensions_go_to_the_better_parent_and_the_lowest_id(vocab):
    log_probs = np.array([[0.0, 0.0, -1.0], [0.0, -np.inf, 0.0]], np.float32)
    logits = np.zeros((2, 3, vocab), np.float32)
    logits[..., 5:] = -0.0
    found = jax.jit(functools.partial(extend, ends=(1,)))(log_probs, logits)
    assert found.parents.tolist() == [[0] * 6, [0] * 6]
    assert found.tokens.tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert found.live.tolist() == [[0, 2, 3]] * 2


def test_equal_extensions_of_a_group_go_to_the_lowest_id():
    """The first group takes token 2; less one, it ranks in the second as token 0 does."""
    log_probs, logits = jnp.zeros((2, 1)), jnp.array([[[-1.0, -9.0, 0.0, -9.0]]] * 2)
    found = extend_groups(log_probs, logits, 2, 1.0, (3,), normalise=False, forced=None)
    assert found.tokens.tolist() == [[2, 0], [0, 2]]
    assert found.log_probs.tolist() == [[0.0, -1.0], [-1.0, 0.0]]


def test_a_single_hypothesis_keeps_the_order_that_a_sum_would_lose():
    logits = np.zeros((1, 1, 600), np.float32)
    logits[0, 0, [400, 20]] = 1.0, np.nextafter(np.float32(1), np.float32(2))
    log_probs = np.full((1, 1), -1e6, np.float32)
    found = jax.jit(functools.partial(extend, ends=(1,)))(log_probs, logits)
    assert found.tokens.tolist() == [[20, 400]]
    assert len(set(found.log_probs[0].tolist())) == 1


def wide_step(params, carry, tokens):
    embed, out, bias = params
    h = jnp.tanh(carry + embed[tokens])
    return h, h @ out + bias


def compiled(batch, size, vocab, **how):
    """A search over a vocabulary so wide that all else is small, and what it was compiled from."""
    rng = np.random.default_rng(0)
    params = (
        jnp.asarray(rng.normal(size=(vocab, 8)), jnp.float32),
        jnp.asarray(2 * rng.normal(size=(8, vocab)), jnp.float32),
        jnp.asarray(rng.normal(size=vocab), jnp.float32),
    )

    def run(params, carry):
        step = functools.partial(wide_step, params)
        return beam_search(step, carry, bos=0, beam_size=size, max_len=4, **ruled(how))

    carry = jnp.asarray(rng.normal(size=(batch, 8)), jnp.float32)
    return jax.jit(run).lower(params, carry).compile(), params, carry


PREFIX = np.array([[2], [3], [4], [5]], np.int32)
RULES: dict[str, dict[str, Any]] = {
    "plain": dict(eos=1),
    "groups": dict(eos=1, groups=2, diversity=0.5),
    "all": dict(eos=(1, 7), groups=4, diversity=3.0, min_len=2, prefix=PREFIX),
}


@pytest.mark.parametrize("rules", RULES)
def test_one_array_of_the_vocabularys_size_is_alive(rules):
    batch, size, vocab = 4, 4, 30_000
    search = compiled(batch, size, vocab, **RULES[rules])[0]
    memory = search.memory_analysis()
    if memory is None:
        pytest.skip("this back end does not say what memory it takes")
    assert memory.temp_size_in_bytes < 1.25 * 4 * batch * size * vocab
    text = search.as_text() or ""
    # A top-k over the vocabulary becomes a full sort where its result is sliced.
    assert not [line for line in text.splitlines() if f",{vocab}]" in line and "sort(" in line]


@pytest.mark.parametrize(("groups", "diversity"), [(1, 0.0), (2, 2.0), (4, 20.0)])
def test_wide_search_equals_lists(groups, diversity):
    how: dict[str, Any] = dict(groups=groups, diversity=diversity)
    search, params, carry = compiled(2, 4, 5_000, eos=1, **how)
    beams = search(params, carry)
    step = jax.jit(functools.partial(wide_step, params))

    def law(b, prefix):
        h, logits = step(carry[b : b + 1], jnp.array([0]))
        for token in prefix:
            h, logits = step(h, jnp.array([token]))
        return np.asarray(jax.nn.log_softmax(logits)[0], np.float64).tolist()

    for b in range(2):
        next_log_probs = functools.partial(law, b)
        rows = models.python_beam(next_log_probs, lambda p, n: p, 5_000, 4, 1, 4, **how)
        for k, (score, tokens, _) in enumerate(rows):
            assert beams.tokens[b, k, : len(tokens)].tolist() == list(tokens)
            np.testing.assert_allclose(beams.scores[b, k], score, atol=1e-4)


@pytest.mark.parametrize("ends", [(1,), (1, 4)])
def test_extensions_do_not_depend_on_the_order_of_the_hypotheses(ends):
    rng = np.random.default_rng(1)
    log_probs = jnp.asarray(-rng.random((6, 4)), jnp.float32).at[2, 1:].set(-jnp.inf)
    logits = jnp.asarray(rng.normal(size=(6, 4, 9)), jnp.float32).at[2, :, 5:].set(-jnp.inf)
    order = np.array([2, 0, 3, 1])
    found = jax.tree.map(np.asarray, extend(log_probs, logits, ends))
    mixed = jax.tree.map(np.asarray, extend(log_probs[:, order], logits[:, order], ends))
    np.testing.assert_array_equal(mixed.log_probs, found.log_probs)
    np.testing.assert_array_equal(mixed.live_log_probs, found.live_log_probs)
    real, alive = np.isfinite(found.log_probs), np.isfinite(found.live_log_probs)
    assert not real.all()
    np.testing.assert_array_equal(order[mixed.parents][real], found.parents[real])
    np.testing.assert_array_equal(mixed.tokens[real], found.tokens[real])
    np.testing.assert_array_equal(mixed.live[alive], found.live[alive])
