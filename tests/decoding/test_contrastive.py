"""ContrastiveStep against the paper's formula in NumPy, under both decoders."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from support import decoding_models as models

from seqjax.decoding import ContrastiveStep, beam_search, sample

EOS, VOCAB, LENGTH = 1, 4, 4
KEY = jax.random.key(6)


def score(expert, amateur, alpha, temperature):
    """Equations 2 and 3 for one row of NumPy logits [V]."""
    p = special.softmax(expert.astype(np.float64))
    q = special.softmax(amateur.astype(np.float64) / temperature)
    plausible = p >= alpha * p.max()
    return np.where(plausible, np.log(p) - np.log(q), -np.inf)


@pytest.mark.parametrize(("alpha", "temperature"), [(0.1, 1.0), (0.4, 0.5), (1.0, 2.0)])
def test_scores_are_the_papers(alpha, temperature):
    expert, amateur = models.random_rows(1, 9, VOCAB), models.random_rows(2, 9, VOCAB)
    tokens = jnp.arange(9) % VOCAB
    step = ContrastiveStep(models.step, models.step, alpha, temperature)
    carry, scores = step((expert, amateur), tokens)
    carries, logits = zip(models.step(expert, tokens), models.step(amateur, tokens), strict=True)
    chex.assert_trees_all_close(carry, carries)
    for found, a, b in zip(scores, *map(np.asarray, logits), strict=True):
        np.testing.assert_allclose(found, score(a, b, alpha, temperature), atol=1e-5)
    kept = np.isfinite(scores).sum(1)
    assert kept.min() >= 1 and (kept.max() > 1) == (alpha < 1)


def test_decoders_take_it_as_any_step():
    """The beam is the best of all sequences under the contrastive law, and greedy is its mode."""
    expert, amateur = models.random_rows(3, 5, VOCAB), models.random_rows(4, 5, VOCAB)
    step, bos = ContrastiveStep(models.step, models.step), np.zeros(5, np.int32)
    both = (expert, amateur)
    how: dict[str, Any] = dict(bos=bos, eos=EOS, max_len=LENGTH)
    beams = jax.jit(lambda c: beam_search(step, c, beam_size=VOCAB ** (LENGTH - 1), **how))(both)
    tokens, _, log_probs = models.hypotheses(step, both, bos, VOCAB, LENGTH, EOS)
    log_probs = np.where(np.isnan(log_probs), -np.inf, log_probs)
    best = np.argmax(log_probs, axis=1)
    np.testing.assert_array_equal(beams.tokens[:, 0], tokens[best])
    np.testing.assert_allclose(beams.log_probs[:, 0], log_probs.max(1), atol=1e-4)

    def by_hand(carry, tokens):
        """The same, from NumPy-like pieces."""
        a, x = models.step(carry[0], tokens)
        b, y = models.step(carry[1], tokens)
        p, q = jax.nn.softmax(x), jax.nn.softmax(y)
        return (a, b), jnp.where(p >= 0.1 * p.max(1, keepdims=True), jnp.log(p / q), -jnp.inf)

    run = lambda step: jax.jit(lambda c: sample(step, c, key=KEY, **how))(both)
    chex.assert_trees_all_close(run(step), run(by_hand), rtol=1e-4)


def test_zeros_and_nothing_stay_defined():
    inf = np.inf
    expert = jnp.array([[0.0, -1.0, -inf], [-inf] * 3, [0.0, 0.0, 0.0], [np.nan, 0.0, 0.0]])
    amateur = jnp.array([[-inf, 0.0, 0.0], [0.0] * 3, [-1e4, 0.0, 0.0], [0.0] * 3])
    step = ContrastiveStep(lambda c, t: (c, expert), lambda c, t: (c, amateur))
    _, scores = step(((), ()), jnp.zeros(4, int))
    assert np.all(np.isfinite(scores[0, :2])) and np.isneginf(scores[0, 2])
    assert np.all(np.isneginf(scores[1])) and np.all(np.isfinite(scores[2]))
    assert int(np.argmax(scores[2])) == int(np.argmax(scores[0])) == 0
    samples = sample(step, ((), ()), bos=jnp.zeros(4, int), eos=EOS, max_len=2, key=KEY)
    assert samples.lengths[1] == 1 and np.isfinite(samples.log_probs[:3]).all()


def test_specs_are_values_and_traced_settings_work():
    step = ContrastiveStep(models.step, models.step, 0.2)
    assert step == ContrastiveStep(models.step, models.step, 0.2)
    assert hash(step) == hash(ContrastiveStep(models.step, models.step, 0.2))
    both = models.random_rows(1, 3, VOCAB), models.random_rows(2, 3, VOCAB)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def scores(alpha, temperature):
        spec = ContrastiveStep(models.step, models.step, alpha, temperature)
        return spec(both, jnp.zeros(3, jnp.int32))[1]

    for alpha, temperature in ((0.2, 1.0), (0.7, 0.5)):
        _, expected = ContrastiveStep(models.step, models.step, alpha, temperature)(
            both, jnp.zeros(3, jnp.int32)
        )
        np.testing.assert_allclose(scores(alpha, temperature), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(alpha=0.0), r"alpha is 0.0; expected a number in \(0, 1\]."),
        (dict(alpha=1.5), r"alpha is 1.5; expected a number in \(0, 1\]."),
        (dict(alpha="a"), r"alpha is 'a'; expected a number in \(0, 1\]."),
        (dict(temperature=0), "temperature is 0; expected a finite number above 0."),
        (dict(temperature=np.inf), "temperature is inf; expected a finite number above 0."),
        (
            dict(amateur=lambda c, t: (c, jnp.zeros((t.shape[0], 3)))),
            r"expert returned logits of shape \(2, 4\) but amateur \(2, 3\); expected the same",
        ),
    ],
)
def test_bad_input(change, message):
    step = lambda c, t: (c, jnp.zeros((t.shape[0], 4)))
    settings: dict[str, Any] = dict(expert=step, amateur=step) | change
    with pytest.raises(ValueError, match=message):
        ContrastiveStep(**settings)(((), ()), jnp.zeros(2, jnp.int32))
