"""Automata over tokens, against Python's `re` and against lists of words."""

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.examples import examples

from seqjax.decoding import Automaton, explored_automaton, regex_automaton, words_automaton

LETTERS = ["", "a", "b", "-"]
PIECES = ["", "a", "b", "ab", "ba-", "aa", "-"]  # several ways to cut one text


def texts(vocabulary, length):
    """Every sequence of at most `length` tokens, and the text it spells."""
    tokens = [token for token, text in enumerate(vocabulary) if text]
    for n in range(length + 1):
        for sequence in itertools.product(tokens, repeat=n):
            yield sequence, "".join(vocabulary[token] for token in sequence)


def nested(parts):
    """Regular expressions out of smaller ones."""
    several = lambda joint: lambda found: joint.join(found)
    pairs = st.lists(parts, min_size=1, max_size=3)
    groups = st.one_of(pairs.map(several("|")), pairs.map(several(""))).map("({})".format)
    counts = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "*?", "{0}"])
    return st.one_of(
        pairs.map(several("")),
        st.builds(lambda group, count: group + count, groups, counts),
        groups.map(lambda group: group.replace("(", "(?:", 1)),
    )


ATOMS = st.sampled_from(["a", "b", "-", ".", "[ab]", "[^a]", r"\w", "[-b]", r"\-", "[a-b]", r"\W"])
PATTERNS = st.recursive(ATOMS, nested, max_leaves=6)


@examples(50)
@given(PATTERNS)
@example("a*b*")  # what a loop leads back to must not be what came before it
@example("(a?b*)*-*a{1,2}")
def test_every_text_up_to_five_letters_is_judged_as_by_re(pattern):
    matches = re.compile(pattern).fullmatch
    automaton = regex_automaton(pattern, LETTERS)
    for sequence, text in texts(LETTERS, 5):
        assert automaton.accepts(sequence) == bool(matches(text)), (pattern, text)


@examples(20)
@given(PATTERNS)
def test_tokens_of_several_characters_are_judged_by_the_text_they_spell(pattern):
    matches = re.compile(pattern).fullmatch
    accepted = {sequence for sequence, text in texts(PIECES, 3) if matches(text)}
    try:
        automaton = regex_automaton(pattern, PIECES)
    except ValueError:
        return  # `test_what_no_token_can_spell_is_an_error` looks at these
    assert {s for s, _ in texts(PIECES, 3) if automaton.accepts(s)} == accepted


@pytest.mark.parametrize(
    "pattern", ["(a|b)*abb", "a{3,5}", "(ab|ba-)*(aa)?", "", "a|", r"\x61\u0062?|[]a-]"]
)
def test_no_state_is_a_dead_end_or_double(pattern):
    automaton = regex_automaton(pattern, PIECES)
    languages = set()
    for state, distance in enumerate(automaton.distances):
        onward = automaton.transitions[state][automaton.transitions[state] >= 0]
        best = min(automaton.distances[onward], default=np.inf) + 1
        assert distance == (0 if automaton.accepting[state] else best)
        languages.add(reachable_texts(automaton, state))
    # Minimal: what is accepted from here on differs from state to state.
    assert len(languages) == len(automaton.accepting)


def reachable_texts(automaton, state, length=7):
    """The texts of at most `length` characters that are accepted from a state on."""
    found, level = set(), {(state, "")}
    for _ in range(length + 1):
        found |= {text for at, text in level if automaton.accepting[at]}
        level = {
            (int(after), text + PIECES[token])
            for at, text in level
            for token, after in enumerate(automaton.transitions[at])
            if after >= 0 and len(text + PIECES[token]) <= length
        }
    return frozenset(found)


def test_the_smallest_automaton_has_the_size_that_textbooks_give():
    assert len(regex_automaton("(a|b)*abb", LETTERS).accepting) == 4
    assert len(regex_automaton("(a|b)*a(a|b){3}", LETTERS).accepting) == 16
    assert len(regex_automaton("((a*)*b?)*|[ab]*", LETTERS).accepting) == 1


@pytest.mark.parametrize("separator", [None, "-", "a"])
def test_words(separator):
    words = ["ab", "aba", "b", "ab"]
    one = "|".join(words)
    pattern = one if separator is None else f"({one})({separator}({one}))*"
    automaton = words_automaton(words, PIECES, separator=separator)
    for sequence, text in texts(PIECES, 4):
        assert automaton.accepts(sequence) == bool(re.fullmatch(pattern, text)), text


def test_many_words_share_their_beginnings():
    words = ["".join(word) for word in itertools.product("ab", repeat=9)]
    assert len(words_automaton(words, LETTERS).accepting) == 10


def test_an_explored_automaton_is_the_function():
    advance = lambda depth, token: (
        depth + (1, -1)[token] if 0 <= depth + (1, -1)[token] < 4 else None
    )
    brackets = explored_automaton(0, advance, lambda depth: depth == 0, 2)
    for sequence in itertools.product((0, 1), repeat=6):
        depths = np.cumsum([(1, -1)[token] for token in sequence])
        wanted = depths.min() >= 0 and depths.max() < 4 and depths[-1] == 0
        assert brackets.accepts(sequence) == wanted


def test_a_table_of_ones_own_loses_its_dead_ends():
    automaton = Automaton([[1, 2], [1, -1], [2, 2]], [False, True, False])
    assert automaton.transitions.tolist() == [[1, -1], [1, -1], [-1, -1]]
    assert (
        automaton.accepts([0, 0]) and not automaton.accepts([1]) and not automaton.accepts([0, -1])
    )


def test_automata_are_values():
    one, other = (regex_automaton(pattern, LETTERS) for pattern in ("(a|b)+", "[ab][ba]*"))
    assert one == other and hash(one) == hash(other) and one != regex_automaton("a", LETTERS)
    assert one != "[ab]+" and repr(one) == "Automaton(2 states, 4 tokens)"
    with pytest.raises(ValueError, match="read-only"):
        one.transitions[0, 0] = 1
    traces = []
    advance = jax.jit(lambda a, s, t: traces.append(0) or a.advance(s, t), static_argnums=0)
    for automaton in (one, other):
        assert advance(automaton, jnp.array([0, 1, -1]), jnp.array([1, 0, 1])).tolist() == [
            1,
            -1,
            -1,
        ]
    assert len(traces) == 1


def test_reading_on_the_device_is_reading_on_the_host():
    automaton = regex_automaton("(ab|-)*a?", PIECES)
    tokens = np.random.default_rng(0).integers(-1, len(PIECES) + 1, (200, 3)).astype(np.int32)
    tokens[:150] = np.random.default_rng(1).choice([1, 2, 3, 6], (150, 3))
    lengths = np.arange(200, dtype=np.int32) % 4
    states = jax.jit(automaton.read)(jnp.asarray(tokens), jnp.asarray(lengths))
    accepted = np.append(automaton.accepting, False)[np.asarray(states)]
    wanted = [automaton.accepts(row[:n]) for row, n in zip(tokens, lengths, strict=True)]
    assert accepted.tolist() == wanted and 20 < sum(wanted) < 180
    first = automaton.read(jnp.asarray(tokens[:, :1]), jnp.minimum(lengths, 1))
    rest = automaton.read(jnp.asarray(tokens[:, 1:]), jnp.maximum(lengths - 1, 0), first)
    assert rest.tolist() == states.tolist()


def regex(pattern: Any = "a", vocabulary: Any = LETTERS, **how):
    return lambda: regex_automaton(pattern, vocabulary, **how)


def words(words: Any = ("a",), vocabulary: Any = LETTERS, **how):
    return lambda: words_automaton(words, vocabulary, **how)


def table(transitions: Any, accepting: Any):
    return lambda: Automaton(transitions, accepting)


ERRORS = [
    (
        regex("(a"),
        r"pattern is '\(a'; expected a regular expression as in Python's re, which says:",
    ),
    (regex(3), "pattern is 3; expected a regular expression"),
    (regex("a$"), r"pattern 'a\$' has an anchor at 1; expected .*The whole text is matched anyway"),
    (regex(r"\bab"), "has an anchor at 0.*leave it out"),
    (
        regex(r"(a)\1"),
        "has a back-reference or octal escape at 3.*Write out what is to be repeated",
    ),
    (regex("a(?=b)"), r"has a \(\?\.\.\.\) group at 1; expected.*Plain groups"),
    (regex("(?i)a"), r"has a \(\?\.\.\.\) group at 0"),
    (regex("a*+"), r"has a possessive quantifier at 2.*Leave the second \+ out"),
    (
        regex("c"),
        "pattern 'c': no sequence of these tokens is accepted.*Their characters are '-ab'",
    ),
    (regex("(a|b)*a(a|b){9}", max_states=99), "needs more than 99 states.*raise max_states"),
    (regex("(a{99}){99}", max_states=9), "needs more than 9 states"),
    (regex(vocabulary=[]), r"vocabulary is \[\]; expected a sequence of V texts, one a token."),
    (regex(vocabulary="ab"), "vocabulary is 'ab'; expected a sequence of V texts"),
    (
        regex(vocabulary=["a", None]),
        "vocabulary has None among its tokens; expected a text for each",
    ),
    (words("ab"), "words is 'ab'; expected a sequence of at least one text, none of them empty."),
    (words(["a", ""]), r"words is \['a', ''\]; expected"),
    (words(["a"], separator=""), "separator is ''; expected None for one word, or a text"),
    (words(["ac"]), r"words \(1 of them\): no sequence of these tokens is accepted; expected"),
    (table([0, 1], [True]), r"transitions is int64\[2\]; expected integers \[S, V\]"),
    (table([[0.5]], [True]), r"transitions is float64\[1, 1\]; expected integers \[S, V\]"),
    (table([[0]], [1]), r"accepting is int64\[1\]; expected bools \[S\] = \[1\]"),
    (table([[2], [-1]], [True, True]), r"transitions lead to states -1..2; expected -1..1 for 2"),
    (table([[-1], [0]], [False, True]), "transitions lead from state 0 to no accepting state"),
    (
        lambda: explored_automaton(0, lambda s, t: s + 1, bool, 2, max_states=9),
        "advance leads to more than 9 states; expected at most max_states.",
    ),
]


@pytest.mark.parametrize(("call", "message"), ERRORS)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_no_token_can_spell_is_an_error():
    with pytest.raises(ValueError, match="no sequence of these tokens"):
        regex_automaton("b-", ["", "a", "b", "a-"])
