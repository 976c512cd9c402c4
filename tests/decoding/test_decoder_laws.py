"""Every decoder draws from one law: processors, then each row's own temperature and truncations."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models

from seqjax.decoding import (
    Sampling,
    sample,
    sequential_monte_carlo,
    speculative_sample,
    stochastic_beam_search,
)

VOCAB, ROWS = 5, 6
KEY = jax.random.key(17)
TEMPERATURE = jnp.array([0.5, 1.0, 2.0, 0.0, 1.5, 0.7])
TRUNCATIONS: dict[str, Any] = dict(top_k=3, top_p=0.9, min_p=0.1)


def law_step(carry, tokens):
    """`models.step` as the settings make it: the token that came last is banned first of all."""
    carry, temperature, begun = carry
    carry, logits = models.step(carry, tokens)
    banned = begun[:, None] & (jnp.arange(VOCAB) == tokens[:, None])
    logits = Sampling(temperature, **TRUNCATIONS)(jnp.where(banned, -jnp.inf, logits))
    return (carry, temperature, jnp.ones_like(begun)), logits


def weigh(log_p, tokens, length):
    return log_p + jnp.array([0.5, 0.0, -2.0, 1.0, 0.3])


def several(step, carry, draft, **how):
    return sample(step, carry, num_samples=3, **how)


def without_replacement(step, carry, draft, **how):
    return stochastic_beam_search(step, carry, beam_size=4, **how)


def particles(step, carry, draft, **how):
    more: dict[str, Any] = dict(num_particles=8, threshold=1.0, potentials=[weigh], proposal=())
    return sequential_monte_carlo(step, carry, **more, **how)


def speculative(step, carry, draft, **how):
    return speculative_sample(step, carry, step, draft, num_draft=2, **how)


@pytest.mark.parametrize("decoder", [several, without_replacement, particles, speculative])
def test_settings_are_a_step_of_their_own_law(decoder):
    carry, draft = models.random_rows(0, ROWS, VOCAB), models.random_rows(1, ROWS, VOCAB)
    how: dict[str, Any] = dict(bos=0, eos=1, max_len=5, key=KEY)
    more: dict[str, Any] = dict(how=Sampling(TEMPERATURE, **TRUNCATIONS))
    more |= dict(processors=[models.no_repeat])
    set_up = jax.jit(lambda: decoder(models.step, carry, draft, **more, **how))()
    wrap = lambda tree: (tree, TEMPERATURE, jnp.zeros(ROWS, bool))
    own = jax.jit(lambda: decoder(law_step, wrap(carry), wrap(draft), **how))()
    if decoder is several:
        np.testing.assert_allclose(set_up.law_log_probs, own.log_probs, atol=1e-5)
    if decoder is not without_replacement:  # whose log_probs are of the law; theirs of the model
        assert not np.allclose(set_up.log_probs, own.log_probs)
        set_up, own = (x._replace(log_probs=()) for x in (set_up, own))
    chex.assert_trees_all_close(set_up, own, rtol=1e-4, atol=1e-5)
