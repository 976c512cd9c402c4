"""Finite automata over tokens: which sequences a decoder may write.

    Automaton: a table of the next state for each state and token, and which states may end

One is made from a regular expression, from a list of words or from any function of one's own; it
is data on the host, and a gather on the device.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import require

FAR = np.iinfo(np.int32).max  # the distance to acceptance where there is no way


@final
@dataclass(frozen=True, eq=False)
class Automaton:
    """A deterministic finite automaton whose letters are tokens; it starts in state 0.

        sₜ = transitions[sₜ₋₁, yₜ],  s₀ = 0;    y is accepted if no sₜ is -1 and accepting[s_n]

    Transitions that no accepted sequence takes are refused (-1) here, so whoever follows what is
    left never comes to a dead end. Two automata with equal tables are equal and hash alike.

    Attributes:
      transitions: [S, V] integers, the next state, -1 where a token is refused.
      accepting: [S] bools, whether a sequence may end there.
      distances: [S] int32, the fewest tokens from each state to an accepting one.

    Raises:
      ValueError: if the tables disagree in shape or have other values, or if nothing is accepted.

    Example:
      >>> ends_in_one = Automaton([[0, 1], [0, 1]], [False, True])
      >>> ends_in_one.accepts([0, 0, 1]), ends_in_one.accepts([1, 0])
      (True, False)

    References:
      Rabin and Scott, Finite Automata and Their Decision Problems, 1959, definition 1.
    """

    transitions: Any
    accepting: Any
    distances: Any = field(init=False, repr=False)

    def __post_init__(self):
        table, accepting = _check_tables(self.transitions, self.accepting)
        distances = distances_to_end(table, accepting)
        require(
            distances[0] != FAR,
            "transitions lead from state 0 to no accepting state, so no sequence is accepted; "
            "expected at least one. Check accepting, and that the tokens can spell what is asked.",
        )
        table[np.append(distances, FAR)[table] == FAR] = -1
        for name in ("transitions", "accepting", "distances"):
            array = {"transitions": table, "accepting": accepting}.get(name, distances)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "_hash", hash((table.tobytes(), accepting.tobytes())))

    def __eq__(self, other) -> bool:
        return isinstance(other, Automaton) and (
            np.array_equal(self.transitions, other.transitions)
            and np.array_equal(self.accepting, other.accepting)
        )

    def __hash__(self) -> int:
        return self._hash  # pyright: ignore[reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return f"Automaton({len(self.accepting)} states, {self.vocab_size} tokens)"

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.transitions.shape[1]

    def accepts(self, tokens: Sequence[int]) -> bool:
        """Whether a sequence of tokens, without its eos, is accepted; on the host."""
        state = 0
        for token in tokens:
            state = self.transitions[state, token] if 0 <= token < self.vocab_size else -1
            if state < 0:
                return False
        return bool(self.accepting[state])

    def advance(self, states: jax.Array, tokens: jax.Array) -> jax.Array:
        """The states [...] after tokens [...]; -1, which is where a refused one leads, stays."""
        tokens = jnp.asarray(tokens).astype(jnp.int32)  # narrow ones could not hold V
        known = (states >= 0) & (tokens >= 0) & (tokens < self.vocab_size)
        row, column = jnp.where(known, states, 0), jnp.where(known, tokens, 0)
        return jnp.where(known, jnp.asarray(self.transitions)[row, column], -1)

    def read(self, tokens: jax.Array, lengths: jax.Array, states: Any = 0) -> jax.Array:
        """The states [...] after the first lengths [...] of tokens [..., L].

        Args:
          tokens: [..., L] integers, such as prompts.
          lengths: [...] integers, 0..L.
          states: where to start, an integer or [...].
        """
        tokens = jnp.asarray(tokens)
        states = jnp.broadcast_to(jnp.asarray(states, jnp.int32), tokens.shape[:-1])

        def body(states, xs):
            at, token = xs
            return jnp.where(at < lengths, self.advance(states, token), states), None

        at = jnp.arange(tokens.shape[-1], dtype=jnp.int32)
        return jax.lax.scan(body, states, (at, jnp.moveaxis(tokens, -1, 0)))[0]


def explored_automaton(
    start: Hashable,
    advance: Callable[[Any, int], Hashable | None],
    accepts: Callable[[Any], bool],
    vocab_size: int,
    *,
    max_states: int = 100_000,
) -> Automaton:
    """The automaton that a Python function describes, by visiting every state there is.

    Args:
      start: the state to start from; states are any hashable values.
      advance: advance(state, token) -> the next state, None where the token is refused.
      accepts: accepts(state) -> whether a sequence may end there.
      vocab_size: V.
      max_states: gives up beyond that many states.

    Returns:
      An `Automaton` over V tokens [S, V], its states numbered in the order of their discovery.

    Raises:
      ValueError: if there are more states, or if nothing is accepted.

    Example:
      >>> nested = lambda depth, token: depth + (1, -1)[token] if 0 <= depth < 3 else None
      >>> brackets = explored_automaton(0, nested, lambda depth: depth == 0, 2)
      >>> brackets.accepts([0, 0, 1, 1]), brackets.accepts([0, 1, 1])
      (True, False)
    """
    numbers: dict[Hashable, int] = {start: 0}
    queue, rows = [start], []
    for state in queue:  # grows as it is read
        row = np.full(vocab_size, -1, np.int32)
        for token in range(vocab_size):
            after = advance(state, token)
            if after is None:
                continue
            if after not in numbers:
                numbers[after] = len(numbers)
                queue.append(after)
            row[token] = numbers[after]
        rows.append(row)
        require(
            len(numbers) <= max_states,
            f"advance leads to more than {max_states} states; expected at most max_states. "
            "Keep less in a state, or raise max_states.",
        )
    return Automaton(np.stack(rows), np.array([bool(accepts(state)) for state in queue]))


def join_automata(automata: Sequence[Automaton]) -> tuple[Automaton, np.ndarray]:
    """One automaton made of several, so that each row of a batch can follow its own.

    Args:
      automata: N of them over the same V tokens.

    Returns:
      The joint `Automaton`, and the states [N] int32 where each begins.

    Raises:
      ValueError: if automata is no list of them, if there is none, or if they differ in V.

    Example:
      >>> odd, even = Automaton([[1], [0]], [False, True]), Automaton([[1], [0]], [True, False])
      >>> both, starts = join_automata([odd, even])
      >>> starts.tolist(), both.read(jnp.zeros((2, 3), int), jnp.array([3, 3]), starts).tolist()
      ([0, 2], [1, 3])
    """
    require(
        isinstance(automata, Iterable) and all(isinstance(one, Automaton) for one in automata),
        f"automata is {automata!r}; expected a list of Automaton. Put a single one into a list.",
    )
    sizes = sorted({automaton.vocab_size for automaton in automata})
    require(
        len(sizes) == 1,
        f"automata have {sizes} tokens; expected at least one automaton, and the same V for all.",
    )
    starts = np.cumsum([0, *(len(automaton.accepting) for automaton in automata)])[:-1]
    moved = [
        np.where(automaton.transitions < 0, -1, automaton.transitions + start)
        for automaton, start in zip(automata, starts, strict=True)
    ]
    accepting = np.concatenate([automaton.accepting for automaton in automata])
    return Automaton(np.concatenate(moved), accepting), starts.astype(np.int32)


def targets(row: np.ndarray) -> set[int]:
    """The states that a row of a table leads to."""
    return set(row[row >= 0].tolist())


def distances_to_end(table: np.ndarray, accepting: np.ndarray) -> np.ndarray:
    """The fewest tokens from each state [S] to an accepting one, FAR where there is no way."""
    before: dict[int, list[int]] = {}
    for state, row in enumerate(table):
        for target in targets(row):
            before.setdefault(target, []).append(state)
    distances = np.where(accepting, 0, FAR).astype(np.int32)
    queue = np.flatnonzero(accepting).tolist()
    for state in queue:  # grows as it is read
        for source in before.get(state, []):
            if distances[source] == FAR:
                distances[source] = distances[state] + 1
                queue.append(source)
    return distances


def _check_tables(transitions: Any, accepting: Any) -> tuple[np.ndarray, np.ndarray]:
    """Copies of both tables, in their own dtypes."""
    table, ends = np.array(transitions), np.array(accepting)
    require(
        table.ndim == 2 and table.size > 0 and np.issubdtype(table.dtype, np.integer),
        f"transitions is {table.dtype}{list(table.shape)}; expected integers [S, V], the next "
        "state for each state and token, -1 where it is refused.",
    )
    require(
        ends.dtype == bool and ends.shape == table.shape[:1],
        f"accepting is {ends.dtype}{list(ends.shape)}; expected bools [S] = [{len(table)}], one "
        "for each row of transitions.",
    )
    require(
        bool(table.min() >= -1 and table.max() < len(table)),
        f"transitions lead to states {table.min()}..{table.max()}; expected -1..{len(table) - 1} "
        f"for {len(table)} states.",
    )
    return table.astype(np.int32), ends
