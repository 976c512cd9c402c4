"""Regular expressions over a finite alphabet, as deterministic automata of characters.

A pattern becomes a nondeterministic automaton (Thompson), that one a deterministic one over sets
of its states, and that one the smallest of its kind (Moore). What a single character may be is
asked of Python's `re`, so classes and escapes mean what they mean there.

References:
  Thompson, Programming Techniques: Regular expression search algorithm, 1968. Rabin and Scott,
  Finite Automata and Their Decision Problems, 1959, definition 11. Moore, Gedanken-experiments on
  Sequential Machines, 1956.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Characters(NamedTuple):
    """A deterministic automaton of characters that starts in state 0.

    Fields:
      transitions: [S, A] the next state, or -1 where no accepted text continues.
      accepting: [S] bool.
      column: the column of each character of the alphabet.
    """

    transitions: np.ndarray
    accepting: np.ndarray
    column: dict[str, int]


class _Graph:
    """A nondeterministic automaton: from each state jumps (which read nothing) and edges."""

    def __init__(self, limit: int):
        self.limit = limit
        self.jumps: list[list[int]] = []
        self.edges: list[list[tuple[frozenset[str], int]]] = []
        self.closures: dict[frozenset[int], frozenset[int]] = {}

    def state(self) -> int:
        """A new state."""
        if len(self.jumps) >= self.limit:
            raise _TooManyStates
        self.jumps.append([])
        self.edges.append([])
        return len(self.jumps) - 1

    def closure(self, states: frozenset[int]) -> frozenset[int]:
        """The states and all that jumps lead to."""
        if states in self.closures:  # many words end alike
            return self.closures[states]
        seen, stack = set(states), list(states)
        while stack:
            for target in self.jumps[stack.pop()]:
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        self.closures[states] = frozenset(seen)
        return self.closures[states]


class _TooManyStates(Exception):
    """More states than allowed."""


# A part of a pattern adds itself to a graph from a state on, and returns the state where it ends.
Part = Callable[[_Graph, int], int]


def one_of(characters: frozenset[str]) -> Part:
    """Any one of some characters."""

    def add(graph: _Graph, start: int) -> int:
        end = graph.state()
        graph.edges[start].append((characters, end))
        return end

    return add


def in_turn(parts: Sequence[Part]) -> Part:
    """One part after the other."""

    def add(graph: _Graph, start: int) -> int:
        for part in parts:
            start = part(graph, start)
        return start

    return add


def either(parts: Sequence[Part]) -> Part:
    """Any one of some parts."""

    def add(graph: _Graph, start: int) -> int:
        end = graph.state()
        for part in parts:
            begin = graph.state()
            graph.jumps[start].append(begin)
            graph.jumps[part(graph, begin)].append(end)
        return end

    return add


def repeated(part: Part, least: int, most: int | None) -> Part:
    """A part `least` to `most` times; None: any number of times."""

    def add(graph: _Graph, start: int) -> int:
        for _ in range(least):
            start = part(graph, start)
        end = graph.state()
        graph.jumps[start].append(end)
        if most is None:
            graph.jumps[part(graph, end)].append(end)
            return end
        for _ in range(most - least):
            start = part(graph, start)
            graph.jumps[start].append(end)
        return end

    return add


def any_word(words: Sequence[str]) -> Part:
    """Any one of some texts; a state for each set of rests, so that they share both their ends."""

    def add(graph: _Graph, start: int) -> int:
        end = graph.state()
        states = {frozenset(words): start}
        queue = list(states)
        for rests in queue:  # grows as it is read
            state = states[rests]
            after: dict[str, list[str]] = {}
            for rest in rests:
                if rest:
                    after.setdefault(rest[0], []).append(rest[1:])
                else:
                    graph.jumps[state].append(end)
            for character, shorter in after.items():
                then = frozenset(shorter)
                if then not in states:
                    states[then] = graph.state()
                    queue.append(then)
                graph.edges[state].append((frozenset(character), states[then]))
        return end

    return add


class _Parser:
    """Reads a pattern that `re` has found well-formed; refuses what is not regular."""

    def __init__(self, pattern: str, alphabet: str):
        self.pattern = pattern
        self.alphabet = alphabet
        self.at = 0

    def ahead(self, expression: str) -> bool:
        """Whether what an expression matches comes next."""
        return re.compile(expression).match(self.pattern, self.at) is not None

    def take(self, expression: str) -> str:
        """Reads what an expression matches here, possibly nothing."""
        match = re.compile(expression, re.DOTALL).match(self.pattern, self.at)
        self.at = match.end() if match else self.at
        return match[0] if match else ""

    def refuse(self, what: str, remedy: str):
        """Raises for something that is well-formed but not supported."""
        raise ValueError(
            f"pattern {self.pattern!r} has {what} at {self.at}; expected literals, classes, "
            f"groups, |, *, +, ?, {{m,n}} and escapes. {remedy}"
        )

    def choice(self) -> Part:
        """Sequences between bars, up to a closing parenthesis or the end."""
        parts = [self.sequence()]
        while self.take(r"\|"):
            parts.append(self.sequence())
        return parts[0] if len(parts) == 1 else either(parts)

    def sequence(self) -> Part:
        parts = []
        while self.at < len(self.pattern) and not self.ahead(r"[|)]"):
            parts.append(self.quantified(self.atom()))
        return in_turn(parts)

    def atom(self) -> Part:
        if self.ahead(r"\("):
            return self.group()
        if self.ahead(r"[\^$]|\\[AbBZz]"):
            self.refuse("an anchor", "The whole text is matched anyway: leave it out.")
        if self.ahead(r"\\[0-9]"):
            self.refuse("a back-reference or octal escape", "Write out what is to be repeated.")
        unit = self.take(r"\\(x..|u.{4}|U.{8}|N\{[^}]*\}|.)|\[\^?\]?(\\.|[^\]\\])*\]|.")
        matches = re.compile(unit).fullmatch
        return one_of(frozenset(filter(matches, self.alphabet)))

    def group(self) -> Part:
        if not self.take(r"\((\?:|\?P<\w+>|(?!\?))"):
            self.refuse("a (?...) group", "Plain groups, (?:...) and (?P<name>...) are regular.")
        inside = self.choice()
        self.take(r"\)")
        return inside

    def quantified(self, part: Part) -> Part:
        count = self.take(r"[*+?]|\{(\d+(,\d*)?|,\d*)\}")
        if not count:
            return part
        if self.ahead(r"\+"):
            self.refuse("a possessive quantifier", "Leave the second + out.")
        self.take(r"\?")  # lazy: the same texts match
        plain = {"*": "0,", "+": "1,", "?": "0,1"}.get(count, count.strip("{}"))
        least, comma, most = plain.partition(",")
        limit = (int(most) if most else None) if comma else int(least)
        return repeated(part, int(least or 0), limit)


def parse(pattern: str, alphabet: str) -> Part:
    """A pattern as a part, with characters out of an alphabet.

    Raises:
      ValueError: if `re` does not know it, or it has what no finite automaton (or not this
        parser) can follow.
    """
    try:
        re.compile(pattern)
    except (re.error, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"pattern is {pattern!r}; expected a regular expression as in Python's re, which says: "
            f"{error}."
        ) from None
    return _Parser(pattern, alphabet).choice()


def compile_part(part: Part, alphabet: str, max_states: int, name: str) -> Characters:
    """The smallest deterministic automaton of a part; raises if it has too many states."""
    graph = _Graph(100 * max_states)
    try:
        begin = graph.state()
        end = part(graph, begin)
        return _smallest(*_deterministic(graph, begin, end, alphabet, max_states))
    except _TooManyStates:
        raise ValueError(
            f"{name} needs more than {max_states} states; expected at most max_states. Simplify "
            "it, or raise max_states."
        ) from None


def _deterministic(graph: _Graph, begin: int, end: int, alphabet: str, max_states: int):
    """The subset construction: transitions [S, A], with -1 for the empty set, and accepting [S]."""
    kinds = {characters for edges in graph.edges for characters, _ in edges}
    column = _alike(kinds, alphabet)
    reads = {kind: sorted({column[c] for c in kind if c in column}) for kind in kinds}
    numbers = {graph.closure(frozenset([begin])): 0}
    queue, rows = list(numbers), []
    for states in queue:  # grows as it is read
        targets: dict[int, list[int]] = {}
        for kind, target in (edge for state in states for edge in graph.edges[state]):
            for number in reads[kind]:
                targets.setdefault(number, []).append(target)
        row = np.full(len(set(column.values())), -1, np.int64)
        for number, reached in sorted(targets.items()):
            subset = graph.closure(frozenset(reached))
            if subset not in numbers:
                if len(numbers) >= max_states:
                    raise _TooManyStates
                numbers[subset] = len(numbers)
                queue.append(subset)
            row[number] = numbers[subset]
        rows.append(row)
    return np.stack(rows), np.array([end in states for states in queue]), column


def _alike(kinds: set[frozenset[str]], alphabet: str) -> dict[str, int]:
    """Numbers the characters so that those which no edge tells apart have the same number."""
    signs: dict[str, list[int]] = {character: [] for character in alphabet}
    for number, characters in enumerate(kinds):
        for character in characters & signs.keys():
            signs[character].append(number)
    numbers: dict[tuple[int, ...], int] = {}
    return {c: numbers.setdefault(tuple(sign), len(numbers)) for c, sign in signs.items()}


def _smallest(transitions: np.ndarray, accepting: np.ndarray, column: dict[str, int]) -> Characters:
    """Merges states that accept the same texts; numbers them as they are first reached."""
    block = np.append(accepting, False).astype(np.int64)  # the last stands for -1
    while True:
        signs = np.column_stack([block[:-1], block[transitions]])
        signs = np.vstack([signs, np.full_like(signs[:1], block[-1])])
        numbers: dict[bytes, int] = {}
        finer = np.array([numbers.setdefault(sign.tobytes(), len(numbers)) for sign in signs])
        if finer.max() == block.max():
            break
        block = finer
    order = {int(block[0]): 0}
    queue, rows, ends = [0], [], []
    for state in queue:  # one state of each block
        ends.append(accepting[state])
        row = []
        for target in transitions[state]:
            kind = int(block[target])
            if kind == block[-1]:
                row.append(-1)
                continue
            if kind not in order:
                order[kind] = len(order)
                queue.append(int(target))
            row.append(order[kind])
        rows.append(row)
    table = np.array(rows, np.int64).reshape(len(rows), -1)
    return Characters(table, np.array(ends), column)
