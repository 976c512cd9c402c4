"""When beam_search stops: rows by themselves, early but losing nothing, or as they are told."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.decoding_searches import GNMT, assert_same, model, narrow, ruled, search

from seqjax.decoding import BeamRules, GNMTLengthPenalty, PowerLengthPenalty, beam_search

EOS = 1


@pytest.mark.parametrize(
    "settings",
    [
        dict(covered=True, min_len=4, length_penalty=GNMTLengthPenalty(-2.0)),
        dict(groups=2, diversity=0.5, length_penalty=PowerLengthPenalty(1.0)),
    ],
)
def test_the_exact_exit_loses_nothing(settings):
    how: dict[str, Any] = dict(eos=1, beam_size=4, max_len=10) | settings
    exact, never = (search(*model(48, 5), early_exit=e, **how) for e in ("exact", "never"))
    chex.assert_trees_all_equal(exact, never)


@pytest.mark.parametrize("patience", [0.5, 2.0])
def test_first_come_first_served_with_patience(patience):
    how: dict[str, Any] = dict(eos=1, beam_size=3, max_len=5, early_exit="first")
    penalty, score = GNMT
    beams = search(*model(32, 4), length_penalty=penalty, patience=patience, **how)
    wanted = {0.5: 2, 2.0: 6}[patience]  # 1.5 rounds up
    assert_same(beams, narrow((1,), 3, score, wanted=wanted))


def counted(step):
    """The step, and a list that grows as it runs."""
    runs = []

    def counting(carry, tokens):
        jax.debug.callback(lambda: runs.append(0))
        return step(carry, tokens)

    return counting, runs


# With K = 2 each step finishes one hypothesis, of p = 0.3, 0.15, 0.075 ..., and the best that is
# alive has p = 0.5, 0.25, 0.125 ...: from the second step on the question is whether it can rise
# above the second finished one, log 0.15 / ((5 + 2) / 6)^alpha.
HALVES = jnp.log(jnp.array([[0.5, 0.3, 0.2]] * 3))
STEPS = [
    (dict(alpha=0.0), 3),  # 0.125 < 0.15
    (dict(alpha=-2.0), 3),  # log 0.25 (8 / 6)^2 > log 0.15 (7 / 6)^2: the next length decides
    (dict(alpha=-3.0), 2),  # log 0.25 (8 / 6)^3 < log 0.15 (7 / 6)^3
    (dict(alpha=1.0), 10),  # log 0.5^10 / (25 / 6) < log 0.15 / (7 / 6): the last length decides
    (dict(alpha=1.0, max_len=10), 6),  # log 0.5^6 / (15 / 6) likewise
    (dict(early_exit="never"), 20),
    (dict(early_exit="first"), 2),
    (dict(early_exit="first", patience=2.0), 4),
    (dict(early_exit="first", patience=0.5), 1),
    (dict(early_exit="first", patience=0.1), 1),  # never at none
]


@pytest.mark.parametrize(("rules", "steps"), STEPS)
def test_a_search_takes_the_steps_it_needs(rules, steps):
    how: dict[str, Any] = dict(bos=jnp.array([0]), eos=1, beam_size=2, max_len=20) | rules
    penalty = GNMTLengthPenalty(how.pop("alpha", 0.0))
    step, runs = counted(lambda carry, tokens: (carry, HALVES[tokens]))
    beam_search(step, (), length_penalty=penalty, **ruled(how))
    jax.effects_barrier()
    assert len(runs) == steps


def test_a_long_search_that_exits_early_equals_a_short_one():
    # eos is likely, so two finished hypotheses soon beat all that is alive.
    table = jnp.log(jnp.array([[0.1, 0.8, 0.1], [0.2, 0.6, 0.2], [0.05, 0.9, 0.05]]))
    step, runs = counted(lambda carry, tokens: (carry, table[tokens]))
    how: dict[str, Any] = dict(bos=jnp.array([0, 2]), eos=EOS, beam_size=2)

    def run(max_len, alpha):
        return beam_search(
            step, (), max_len=max_len, length_penalty=GNMTLengthPenalty(alpha), **how
        )

    run = jax.jit(run, static_argnums=0)
    for alpha in (0.0, -1.0):
        runs.clear()
        short, long = run(6, alpha), run(60, alpha)
        jax.effects_barrier()
        assert len(runs) <= 6  # two searches: 66 steps without an early exit
        np.testing.assert_array_equal(long.tokens[..., :6], short.tokens)
        assert np.all(long.tokens[..., 6:] == EOS)
        chex.assert_trees_all_close(short[1:], long[1:], rtol=1e-6)


@pytest.mark.parametrize("exit", ["exact", "first", "never"])
def test_stops_when_no_hypothesis_is_left(exit):
    """A model that must end at its third token: the search ends although places stay empty."""
    count = lambda n: jnp.where(n[:, None] == 2, jnp.array([-jnp.inf, 0.0]), jnp.zeros(2))
    step, runs = counted(lambda n, tokens: (n + 1, count(n)))
    how: dict[str, Any] = dict(bos=0, eos=EOS, beam_size=8, length_penalty=GNMTLengthPenalty(2.0))
    n = jnp.zeros(1, jnp.int32)
    beams = jax.jit(
        lambda: beam_search(step, n, max_len=50, rules=BeamRules(early_exit=exit), **how)
    )()
    jax.effects_barrier()
    assert len(runs) == 3
    assert beams.lengths[0].tolist() == [1, 3, 2, 0, 0, 0, 0, 0]
    assert np.isneginf(beams.scores[0, 3:]).all()


def test_of_equal_scores_the_first_to_finish_stays():
    step = lambda carry, tokens: (carry, HALVES[tokens])
    how: dict[str, Any] = dict(bos=jnp.array([0]), eos=1, beam_size=3, max_len=5)
    equal = lambda log_probs, lengths: jnp.zeros_like(log_probs)
    for exit in ("exact", "never"):
        beams = beam_search(step, (), length_penalty=equal, rules=BeamRules(early_exit=exit), **how)
        assert beams.lengths.tolist() == [[1, 2, 3]]


def test_max_len_does_not_matter_once_finished():
    table = jnp.log(jnp.array([[0.1, 0.8, 0.1], [0.2, 0.6, 0.2], [0.05, 0.9, 0.05]]))
    step = lambda carry, tokens: (carry, table[tokens], tokens)
    how: dict[str, Any] = dict(bos=jnp.array([0, 2]), eos=(1, 2), beam_size=4, groups=2)
    run = lambda n: beam_search(step, (), max_len=n, **ruled(how | dict(diversity=0.3)))
    short, long = run(6), run(9)
    np.testing.assert_array_equal(long.tokens[..., :6], short.tokens)
    np.testing.assert_array_equal(long.outputs[..., :6], short.outputs)
    assert np.all(long.tokens[..., 6:] == long.tokens[..., 5:6])
    chex.assert_trees_all_close(short[1:4], long[1:4], rtol=1e-6)
