"""The best of a wide vocabulary: exact, ties to the lowest id, and nothing of its size copied."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from seqjax.decoding import beam_search
from seqjax.decoding.candidates import BLOCK, top_k


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


def compiled(batch, size, vocab):
    """A search over a vocabulary so wide that all else is small, and what it was compiled from."""
    rng = np.random.default_rng(0)
    params = (
        jnp.asarray(rng.normal(size=(vocab, 8)), jnp.float32),
        jnp.asarray(2 * rng.normal(size=(8, vocab)), jnp.float32),
    )

    def run(params, carry):
        step = functools.partial(wide_step, params)
        return beam_search(step, carry, bos=0, eos=1, beam_size=size, max_len=4)

    carry = jnp.asarray(rng.normal(size=(batch, 8)), jnp.float32)
    return jax.jit(run).lower(params, carry).compile(), params, carry


def test_one_array_of_the_vocabularys_size_is_alive():
    batch, size, vocab = 4, 4, 30_000
    search = compiled(batch, size, vocab)[0]
    memory = search.memory_analysis()
    if memory is None:
        pytest.skip("this back end does not say what memory it takes")
    assert memory.temp_size_in_bytes < 1.25 * 4 * batch * size * vocab
    text = search.as_text() or ""
    # A top-k over the vocabulary becomes a full sort where its result is sliced.
    assert not [line for line in text.splitlines() if f",{vocab}]" in line and "sort(" in line]


def test_wide_search_equals_a_plain_one():
    search, params, carry = compiled(2, 3, 5_000)
    beams = search(params, carry)
    step = jax.jit(functools.partial(wide_step, params))
    for b in range(2):
        live = [(0.0, (), carry[b : b + 1])]
        finished = []
        for _ in range(4):
            grown = []
            for total, tokens, h in live:
                h, logits = step(h, jnp.array([tokens[-1] if tokens else 0]))
                best, ids = lax.top_k(jax.nn.log_softmax(logits)[0], 6)
                grown += [
                    (total + float(p), (*tokens, int(i)), h) for p, i in zip(best, ids, strict=True)
                ]
            grown.sort(key=lambda c: -c[0])
            finished += [c[:2] for c in grown[:3] if c[1][-1] == 1]
            live = [c for c in grown[:6] if c[1][-1] != 1][:3]
        want = sorted(finished + [c[:2] for c in live], key=lambda c: -c[0])[:3]
        for k, (score, tokens) in enumerate(want):
            assert beams.tokens[b, k, : len(tokens)].tolist() == list(tokens)
            np.testing.assert_allclose(beams.scores[b, k], score, atol=1e-4)
