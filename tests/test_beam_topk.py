"""The best of a wide vocabulary: exact, ties to the lowest id, and nothing of its size copied."""

import functools
from typing import Any

import decoding_models as models
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding import beam_search
from seqjax.decoding.candidates import BLOCK, extend, top_k


def rows_to_order(vocab):
    """Rows without ties, with many, of both zeros, few finite, equal, best last, one infinite."""
    rng = np.random.default_rng(vocab)
    plain = rng.normal(size=vocab)
    ties = rng.integers(0, 4, vocab).astype(float)
    zeros = np.where(rng.random(vocab) < 0.5, -0.0, 0.0)
    few = np.where(rng.random(vocab) < 4 / vocab, plain, -np.inf)
    last = np.where(np.arange(vocab) >= vocab - 3, 1.0, 0.0)
    best = np.where(np.arange(vocab) == vocab // 2, np.inf, plain)
    return np.stack([plain, ties, zeros, few, np.ones(vocab), last, best]).astype(np.float32)


@pytest.mark.parametrize(("vocab", "k"), [(50, 5), (8 * BLOCK, 3), (1193, 4), (1100, 5)])
def test_top_k_is_exact(vocab, k):
    x = rows_to_order(vocab)
    best, ids, top = jax.jit(functools.partial(top_k, k=k))(x)
    order = np.argsort(-x, axis=1, kind="stable")[:, :k]
    want = np.take_along_axis(x, order, 1)
    np.testing.assert_array_equal(best, want)
    np.testing.assert_array_equal(top, want[:, 0])
    finite = want > -np.inf
    np.testing.assert_array_equal(np.where(finite, ids, -1), np.where(finite, order, -1))
    assert np.all((ids >= 0) & (ids < vocab))


def wide_step(params, carry, tokens):
    embed, out = params
    h = jnp.tanh(carry + embed[tokens])
    return h, h @ out


def compiled(batch, size, vocab, **how):
    """A search over a vocabulary so wide that all else is small, and what it was compiled from."""
    rng = np.random.default_rng(0)
    params = (
        jnp.asarray(rng.normal(size=(vocab, 8)), jnp.float32),
        jnp.asarray(2 * rng.normal(size=(8, vocab)), jnp.float32),
    )

    def run(params, carry):
        step = functools.partial(wide_step, params)
        return beam_search(step, carry, bos=0, beam_size=size, max_len=4, **how)

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


@pytest.mark.parametrize("groups", [1, 2])
def test_wide_search_equals_lists(groups):
    how: dict[str, Any] = dict(groups=groups, diversity=2.0 * (groups > 1))
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
    logits = jnp.asarray(rng.normal(size=(6, 4, 9)), jnp.float32)
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
