"""`Infill` against lists, and lookahead against the bigram that it is exact for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models

from seqjax.decoding import Infill, lookahead_infill, sequential_monte_carlo

TEMPLATE = [[-1, 2, -1], [0, -1, 1], [-1, -1, -1], [1, -1, 4]]
VOCAB = 5
KEY = jax.random.key(4)


@pytest.mark.parametrize("eos", [1, (1, 3)])
def test_a_template_allows_what_fits_and_no_end_before_its_last_token(eos):
    rows, ends = len(TEMPLATE), np.atleast_1d(eos).tolist()
    fill = Infill(np.array(TEMPLATE), eos)
    state = fill.initial_state(rows)
    for place in range(5):  # beyond its three places a template is free
        allowed = np.isfinite(fill(state, jnp.ones((rows, VOCAB))))
        for row, here in zip(TEMPLATE, allowed, strict=True):
            early = any(token not in (-1, *ends) for token in row[place + 1 :])
            wanted = row[place] if place < 3 else -1
            fits = [wanted in (-1, v) and not (early and v in ends) for v in range(VOCAB)]
            np.testing.assert_array_equal(here, fits)
        state = fill.update(state, jnp.zeros(rows, jnp.int32))


def last_is(place, token, vocab):
    """A potential as a function of the tokens so far: the token at `place` is given."""
    only = jnp.where(jnp.arange(vocab) == token, 0.0, -jnp.inf)
    return lambda log_p, tokens, t: jnp.where(t == place, log_p + only, log_p)


def test_lookahead_finds_what_rejection_hardly_accepts():
    """The last symbol is given, and one sample in a hundred has it."""
    vocab, length, eos, size, rows = 6, 8, 0, 256, 40
    one = models.random_rows(3, 1, vocab, scale=1.3)

    def step(carry, tokens):
        carry, logits = models.step(carry, tokens)
        return carry, logits.at[:, eos].add(-30).at[:, 4].add(-1.8)

    carry = jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0), one)
    how: dict[str, Any] = dict(bos=2, eos=eos, max_len=length)
    run = lambda **more: jax.jit(
        lambda key: sequential_monte_carlo(step, carry, num_particles=size, key=key, **how | more)
    )(KEY)
    given = [last_is(length - 1, 4, vocab)]
    blind = run(potentials=given, proposal=())
    drawn = np.asarray(blind.tokens)  # samples of the model, as all weights are equal until then
    accepted = np.mean(drawn[..., -1] == 4)
    assert 0.005 < accepted < 0.015
    pairs = np.stack([drawn[..., :-1].ravel(), drawn[..., 1:].ravel()])
    counts = np.ones((vocab, vocab))
    np.add.at(counts, tuple(pairs), 1)  # bigrams, smoothed
    bigram = jnp.log(jnp.asarray(counts / counts.sum(1, keepdims=True), jnp.float32))

    template = jnp.full(length, -1).at[length - 1].set(4)
    seeing = run(potentials=given, twists=[lookahead_infill(template, bigram)])
    assert np.all(np.asarray(seeing.tokens)[..., -1] == 4)
    assert np.mean(blind.ess[:, -1]) / size < 0.02
    assert np.mean(seeing.ess[:, -1]) / size > 0.3
    np.testing.assert_allclose(np.exp(seeing.log_z).mean(), accepted, rtol=0.1)


def test_lookahead_is_exact_for_its_own_bigram():
    vocab, eos = 3, 1
    bigram = jax.random.dirichlet(jax.random.key(1), jnp.ones(vocab), (vocab,))
    bigram = jnp.log(bigram).at[eos].set(jnp.array([-jnp.inf, 0.0, -jnp.inf]))
    template = np.array([[-1, 2, -1, 0, -1], [-1, -1, eos, -1, -1]])
    twist, fill = lookahead_infill(template, bigram), Infill(template, eos)
    every = models.every_sequence(vocab, 5)
    chain = np.exp(np.asarray(bigram, np.float64))
    for b, row in enumerate(template):
        p = np.prod(chain[every[:, :-1], every[:, 1:]], axis=1)  # given the first
        p = p * np.all((row == -1) | (row == every), axis=1, where=np.arange(5) > 0)
        ahead = [p[every[:, 0] == v].sum() for v in range(vocab)]
        np.testing.assert_allclose(np.exp(twist.table[b, 0]), ahead, rtol=1e-5, atol=1e-7)
    step = lambda carry, tokens: (carry, bigram[tokens])
    how: dict[str, Any] = dict(bos=jnp.array([0, 2]), eos=eos, num_particles=32, max_len=5)
    how |= dict(potentials=[fill], twists=[twist])
    out = jax.jit(lambda key: sequential_monte_carlo(step, (), key=key, **how))(KEY)
    np.testing.assert_allclose(out.ess, 32, rtol=1e-4)  # every particle has the same weight
    np.testing.assert_allclose(np.ptp(np.asarray(out.log_weights), axis=1), 0, atol=1e-4)
