"""Classifier-free guidance against NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from support import decoding_models as models

from seqjax.decoding import GuidedStep, beam_search

TOLD, UNTOLD = models.random_rows(0, 4, 5), models.random_rows(1, 4, 5)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_logits_go_beyond_those_of_the_condition(scale):
    tokens = jnp.array([0, 3, 2, 4])
    carry, logits = GuidedStep(models.step, models.step, scale)((TOLD, UNTOLD), tokens)
    (own, with_), (other, without) = (models.step(c, tokens) for c in (TOLD, UNTOLD))
    jax.tree.map(np.testing.assert_array_equal, carry, (own, other))
    with_, without = (special.log_softmax(np.float64(x), axis=1) for x in (with_, without))
    want = special.log_softmax(without + scale * (with_ - without), axis=1)
    np.testing.assert_allclose(jax.nn.log_softmax(logits), want, atol=1e-5)


def test_a_search_follows_both_carries():
    how: dict[str, Any] = dict(bos=0, eos=1, beam_size=3, max_len=5)
    run = lambda step, carry: jax.jit(lambda c: beam_search(step, c, **how))(carry)
    guided = run(GuidedStep(models.step, models.step, 1.0), (TOLD, UNTOLD))
    plain = run(models.step, TOLD)
    np.testing.assert_array_equal(guided.tokens, plain.tokens)
    np.testing.assert_allclose(guided.log_probs, plain.log_probs, atol=1e-5)
    far = run(GuidedStep(models.step, models.step, jnp.float32(4.0)), (TOLD, UNTOLD))
    assert not np.array_equal(far.tokens, plain.tokens)


def test_what_is_refused_stays_refused_and_nothing_is_nan():
    gives = lambda *p: lambda carry, tokens: (carry, jnp.log(jnp.array([p])))
    step = GuidedStep(gives(0.5, 0.5, 0.0, 0.0), gives(0.5, 0.0, 0.5, 0.0), 2.0)
    _, logits = step(((), ()), jnp.array([0]))
    assert np.isneginf(logits[0, 2:]).all() and np.isfinite(logits[0, :2]).all()
    assert logits[0, 1] > logits[0, 0]  # the condition alone would have it


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="scale is -1.0; expected a finite number of at least 0."):
        GuidedStep(models.step, models.step, -1.0)
    three, two = (lambda c, t, n=n: (c, jnp.zeros((1, n))) for n in (3, 2))
    with pytest.raises(ValueError, match=r"shape \(1, 3\) but unconditional \(1, 2\); expec"):
        GuidedStep(three, two, 1.0)(((), ()), jnp.array([0]))
