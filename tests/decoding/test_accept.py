"""`Accept` and `keep_accepted` on a few rows by hand, and what constraints refuse."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding import (
    Accept,
    Allow,
    Automaton,
    Beams,
    beam_search,
    join_automata,
    keep_accepted,
    regex_automaton,
)

PIECES = ["", "a", "b", "ab"]
EOS, V, L = 0, 4, 4


def test_too_few_tokens_left_ends_a_row():
    automaton = regex_automaton("a{5}|b", ["", "a", "b", "-"])
    constraint = Accept(automaton, eos=EOS, max_len=L)
    far = automaton.read(jnp.array([1]), jnp.array(1))  # four more are needed: just enough
    state = constraint.initial_state(2)._replace(state=jnp.array([0, far]))
    logits = constraint(state, jnp.zeros((2, V)))
    assert (logits > -jnp.inf).tolist() == [
        [False, False, True, False],
        [False, True, False, False],
    ]
    state = state._replace(left=jnp.array([0, 3]))
    assert (constraint(state, jnp.zeros((2, V))) == -jnp.inf).all()
    state = state._replace(state=jnp.array([0, -1]), left=jnp.array([1, 3]))
    assert (constraint(state, jnp.zeros((2, V))) > -jnp.inf).tolist() == [
        [False, False, True, False],
        [False] * V,  # no state: nothing may follow, not even eos
    ]


def test_tokens_that_the_model_rules_out_leave_eos_which_is_not_kept():
    """The constraint wants what the model gives probability 0: the row ends, and is blanked."""
    automaton = regex_automaton("ab", ["", "a", "b", "-"])
    logits = jnp.array([[0.0, 1.0, -jnp.inf, 2.0]])
    never_b = lambda carry, tokens: (carry, jnp.repeat(logits, tokens.size, axis=0))
    constraint = Accept(automaton, eos=EOS, max_len=L)
    how: dict[str, Any] = dict(bos=jnp.array([0]), eos=EOS, max_len=L, processors=[constraint])
    beams = beam_search(never_b, (), beam_size=2, **how)
    assert beams.tokens[0, 0].tolist() == [1, 0, 0, 0] and beams.log_probs[0, 0] == 0
    kept = keep_accepted(beams, automaton, eos=EOS)
    assert (kept.log_probs == -jnp.inf).all() and (kept.lengths == 0).all()


def test_kept_hypotheses_come_first_and_keep_their_order():
    automaton = Automaton([[-1, 1], [-1, -1]], [True, True])  # nothing, or one 1
    # The last two: a text that is refused, and one that is accepted but of probability 0.
    tokens = jnp.array([[[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [1, 0, 0]]])
    log_probs = jnp.array([[-1.0, -2.0, -3.0, -4.0, -jnp.inf]])
    outputs = {"place": jnp.arange(1.0, 6.0)[None, :, None]}
    beams = Beams(tokens, log_probs * 2, log_probs, jnp.array([[3, 2, 1, 3, 2]]), outputs)
    kept = keep_accepted(beams, automaton, eos=0)
    assert kept.tokens.tolist() == [[[1, 0, 0], *[[0, 0, 0]] * 4]]
    assert kept.log_probs.tolist() == [[-2.0, -3.0, *[-np.inf] * 3]]
    assert kept.scores.tolist() == [[-4.0, -6.0, *[-np.inf] * 3]]
    assert kept.lengths.tolist() == [[2, 1, 0, 0, 0]]
    assert kept.outputs["place"].tolist() == [[[2.0], [3.0], [0.0], [0.0], [0.0]]]


def test_several_ending_tokens():
    automaton = regex_automaton("a+", ["", "a", "", "b"])
    logits = jnp.zeros((1, V))
    constraint = Accept(automaton, eos=(0, 2))
    state = constraint.initial_state(1)
    assert (constraint(state, logits) == 0).tolist() == [[False, True, False, False]]
    state = constraint.update(state, jnp.array([1]))
    assert (constraint(state, logits) == 0).tolist() == [[True, True, True, False]]


def test_equal_constraints_are_equal():
    one, other = (Accept(regex_automaton(p, PIECES), eos=0, max_len=9) for p in ("aa*", "a+"))
    assert one == other and hash(one) == hash(other)
    assert one != Accept(one.automaton, eos=0, max_len=8)


AUTOMATON = regex_automaton("a{3}", ["", "a", "b"])
ROW = jnp.zeros((1, 3))
NOTHING: Any = None
ERRORS = [
    (lambda: Accept(AUTOMATON, eos=1), r"automaton has transitions by eos = \[1\]; expected none."),
    (
        lambda: Accept(AUTOMATON, eos=3),
        "eos is 3; expected an integer with 0 <= eos < 3, the number",
    ),
    (lambda: Accept(AUTOMATON, eos=()), r"eos is \(\); expected an integer"),
    (lambda: Accept(AUTOMATON, 0, max_len=0), "max_len is 0; expected an integer of at least 1."),
    (
        lambda: Accept(AUTOMATON, 0, max_len=2),
        "max_len is 2 but the automaton accepts nothing of fewer than 3 tokens; expected",
    ),
    (
        lambda: Accept(AUTOMATON, 0, max_len=2, start=np.array([2, 0])),
        "max_len is 2 but the automaton accepts nothing of fewer than 3",
    ),
    (
        lambda: Accept(AUTOMATON, 0, start=-1),
        r"start is -1; expected states of the automaton, 0..3",
    ),
    (lambda: Accept(AUTOMATON, 0, start=0.5), "start is 0.5; expected states of the automaton"),
    (
        lambda: Accept(AUTOMATON, 0)(Accept(AUTOMATON, 0).initial_state(1), jnp.zeros((1, 4))),
        r"automaton has 3 tokens but the logits are \(1, 4\) = \[N, V\]; expected one column",
    ),
    (
        lambda: Allow(lambda t, n: jnp.ones(2, bool))(ROW, jnp.zeros((1, 1)), jnp.int32(0)),
        r"allowed returned bool\[2\]; expected bools \[N, V\] = \[1, 3\], or \[V\] = \[3\]",
    ),
    (
        lambda: Allow(lambda t, n: jnp.ones((1, 3)))(ROW, jnp.zeros((1, 1)), jnp.int32(0)),
        r"allowed returned float32\[1, 3\]; expected bools",
    ),
    (lambda: keep_accepted(NOTHING, AUTOMATON, eos=1), r"automaton has transitions by eos = \[1\]"),
    (lambda: join_automata(NOTHING), "automata is None; expected a list of Automaton. Put a sing"),
    (lambda: join_automata([]), r"automata have \[\] tokens; expected at least one automaton"),
    (
        lambda: join_automata([AUTOMATON, regex_automaton("a", ["a"])]),
        r"automata have \[1, 3\] tokens; expected at least one automaton, and the same V",
    ),
]


@pytest.mark.parametrize(("call", "message"), ERRORS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
