"""Automata over tokens from texts: a regular expression, or a list of words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax._internal.checks import require
from seqjax.decoding.automata.automaton import Automaton, targets
from seqjax.decoding.automata.regular import (
    Characters,
    Part,
    any_word,
    compile_part,
    in_turn,
    parse,
    repeated,
)


def regex_automaton(
    pattern: str, vocabulary: Sequence[str], *, max_states: int = 10_000
) -> Automaton:
    """The automaton of all token sequences whose texts, joined, match a regular expression whole.

    Literals, classes, ., |, *, +, ?, {m,n}, groups and escapes mean what they mean in Python's
    `re`; anchors, look-around, back-references and flags are refused. Every way of cutting a text
    into tokens is accepted. On the host; once a pattern.

    Args:
      pattern: the regular expression.
      vocabulary: [V] the text of each token. "" stands for one that is never allowed, such as
        bos, padding and eos (which a constraint allows where a sequence may end).
      max_states: gives up beyond that many states of the automaton of characters.

    Returns:
      An `Automaton` over V tokens.

    Raises:
      ValueError: if the pattern is not understood or not regular, needs too many states, or is
        matched by no sequence of these tokens.

    Example:
      >>> time = regex_automaton(r"[0-9]{2}:\\d\\d", ["", "0", "1", "2", "12", ":", ":0"])
      >>> time.accepts([4, 6, 1]), time.accepts([2, 3, 5, 3]), time.accepts([4, 5, 4])
      (True, False, True)

    References:
      Willard and Louf, Efficient Guided Generation for Large Language Models, 2023, section 3.
    """
    texts = _check_vocabulary(vocabulary)
    alphabet = _alphabet(texts)
    part = parse(pattern, alphabet)
    return _lift(part, texts, alphabet, max_states, f"pattern {pattern!r}")


def words_automaton(
    words: Sequence[str],
    vocabulary: Sequence[str],
    *,
    separator: str | None = None,
    max_states: int = 1_000_000,
) -> Automaton:
    """The automaton of all token sequences that spell one of some words, or several of them.

    Args:
      words: texts, none of them empty.
      vocabulary: [V] the text of each token, "" for one that is never allowed.
      separator: None accepts one word; a text accepts one word or more with that text between.
      max_states: gives up beyond that many states of the automaton of characters.

    Returns:
      An `Automaton` over V tokens.

    Raises:
      ValueError: if words is empty or one of them or the separator is, if more states are needed,
        or if the tokens can spell none of the words.

    Example:
      >>> vocabulary = ["", "f", "i", "g", "ig", "s", ","]
      >>> fruit = words_automaton(["fig", "figs"], vocabulary, separator=",")
      >>> fruit.accepts([1, 4, 6, 1, 2, 3, 5]), fruit.accepts([1, 4, 6])
      (True, False)
    """
    texts = _check_vocabulary(vocabulary)
    require(
        not isinstance(words, str) and len(words) > 0 and all(map(_is_text, words)),
        f"words is {words!r}; expected a sequence of at least one text, none of them empty.",
    )
    require(
        separator is None or _is_text(separator),
        f"separator is {separator!r}; expected None for one word, or a text that is not empty.",
    )
    part = any_word(words)
    if separator is not None:
        part = in_turn([part, repeated(in_turn([any_word([separator]), part]), 0, None)])
    return _lift(part, texts, _alphabet(texts), max_states, f"words ({len(words)} of them)")


def _lift(part: Part, texts: list[str], alphabet: str, max_states: int, name: str) -> Automaton:
    """From characters to tokens, which read several characters at once."""
    characters = compile_part(part, alphabet, max_states, name)
    table, accepting = _reached(_token_table(characters, texts), characters.accepting)
    require(
        bool(accepting.any()),
        f"{name}: no sequence of these tokens is accepted; expected at least one. Their "
        f"characters are {alphabet[:80]!r}: is there a token for each that is needed?",
    )
    return Automaton(table, accepting)


def _token_table(characters: Characters, texts: list[str]) -> np.ndarray:
    """The state [S, V] after all characters of a token; -1 for an empty one."""
    dead = len(characters.accepting)
    table = np.vstack([characters.transitions, np.full_like(characters.transitions[:1], -1)])
    table = np.where(table < 0, dead, table)  # [S + 1, A]
    states = np.repeat(np.arange(dead + 1, dtype=np.int32)[:, None], len(texts), axis=1)
    lengths = np.array([len(text) for text in texts])
    for at in range(lengths.max(initial=0)):
        longer = np.flatnonzero(lengths > at)
        columns = np.array([characters.column[texts[token][at]] for token in longer])
        states[:, longer] = table[states[:, longer], columns]
    states[:, lengths == 0] = dead
    return np.where(states[:-1] == dead, -1, states[:-1])


def _reached(table: np.ndarray, accepting: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leaves out the states that no sequence of tokens reaches; the others keep their order."""
    reached = {0}
    queue = [0]
    for state in queue:  # grows as it is read
        new = targets(table[state]) - reached
        reached |= new
        queue += sorted(new)
    kept = np.array(sorted(reached))
    numbers = np.full(len(table) + 1, -1, np.int32)  # the last entry serves -1
    numbers[kept] = np.arange(len(kept))
    return numbers[table[kept]], accepting[kept]


def _check_vocabulary(vocabulary: Sequence[str]) -> list[str]:
    texts = list(vocabulary)
    wrong = [text for text in texts if not isinstance(text, str)]
    require(
        not isinstance(vocabulary, str) and len(texts) > 0 and not wrong,
        f"vocabulary has {wrong[0]!r} among its tokens; expected a text for each of V tokens."
        if wrong
        else f"vocabulary is {vocabulary!r}; expected a sequence of V texts, one a token.",
    )
    return texts


def _alphabet(texts: list[str]) -> str:
    return "".join(sorted(set().union(*texts)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""
