"""NaN and infinities under beam_search: kept in their row, and never taken for a hypothesis."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models

from seqjax.decoding import GNMTLengthPenalty, beam_search

EOS = 1


def test_nan_and_inf_stay_in_their_row():
    carry, penalty = models.random_rows(5, 8, 6), GNMTLengthPenalty(0.8)
    search = jax.jit(
        lambda carry: beam_search(
            models.step, carry, bos=0, eos=EOS, beam_size=3, max_len=8, length_penalty=penalty
        )
    )
    clean = search(carry)
    params = carry["params"][:2]
    out = carry["params"][2].at[1].set(jnp.nan).at[2].set(jnp.inf)
    spoiled = search({**carry, "params": (*params, out)})
    others = np.array([0, 3, 4, 5, 6, 7])
    chex.assert_trees_all_equal(*jax.tree.map(lambda x: x[others], (clean, spoiled)))
    assert np.isnan(spoiled.scores[1]).all()  # and it is not hidden either


def test_what_a_row_computes_after_its_end_is_not_seen():
    """Row 0 ends at its second step and turns NaN at its third, which row 1 still waits for."""

    def step(carry, tokens):
        slow, n = carry
        logits = jnp.where(slow[:, None], jnp.array([2.0, 0.0, 1.0]), jnp.array([-9.0, 9.0, -8.0]))
        return (slow, n + 1), jnp.where(~slow & (n >= 2), jnp.nan, 0.0)[:, None] + logits

    carry = (jnp.array([False, True]), jnp.zeros(2, jnp.int32))
    beams = beam_search(step, carry, bos=0, eos=EOS, beam_size=2, max_len=6)
    assert beams.tokens[0].tolist() == [[1, 1, 1, 1, 1, 1], [2, 1, 1, 1, 1, 1]]
    assert beams.tokens[1, 0].tolist() == [0] * 6
    assert np.isfinite(beams.scores).all()


def test_what_a_place_without_a_hypothesis_computes_is_not_seen():
    """At first 0 alone lives on; the second place is left with eos, after which all is NaN."""

    def after_eos(value):
        row = jnp.array([0.0, 3.0, -jnp.inf])
        step = lambda n, tokens: (n + 1, jnp.where(tokens[:, None] == EOS, value, row))
        return beam_search(step, jnp.zeros(1, jnp.int32), bos=0, eos=EOS, beam_size=2, max_len=4)

    beams = after_eos(jnp.nan)
    chex.assert_trees_all_equal(beams, after_eos(0.0))
    assert beams.lengths.tolist() == [[1, 2]] and np.isfinite(beams.scores).all()


@pytest.mark.parametrize("eos", [1, (2, 1)])
def test_row_that_allows_nothing_ends(eos):
    dead = lambda carry, tokens: (carry, jnp.where(tokens[:, None] == 0, -jnp.inf, jnp.zeros(3)))
    beams = beam_search(dead, (), bos=jnp.array([2, 0]), eos=eos, beam_size=2, max_len=3)
    assert np.all(beams.tokens[1] == np.atleast_1d(eos)[0])  # of several the first
    assert beams.log_probs[1].tolist() == [0.0, -np.inf]
    assert np.isfinite(beams.log_probs[0]).all()
