"""Words whose letters move a state, and where every prefix of a word leads."""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Automaton:
    """States moved by letters.

    Attributes:
      name: of the problem.
      moves: [letters][states], where each letter takes each state; words begin in state 0.
    """

    name: str
    moves: tuple[tuple[int, ...], ...]

    @property
    def letters(self) -> int:
        """How many letters there are."""
        return len(self.moves)

    @property
    def states(self) -> int:
        """How many states there are; a guess is right once in so many."""
        return len(self.moves[0])

    def draw(self, key: jax.Array, batch_size: int, length: int) -> tuple[jax.Array, jax.Array]:
        """Uniform words [B, T] and the state after every letter [B, T]."""
        words = jax.random.randint(key, (batch_size, length), 0, self.letters)
        return words, self.run(words)

    def run(self, words: jax.Array) -> jax.Array:
        """The state after every letter of words [B, T]."""
        moves = jnp.array(self.moves)

        def step(state, letter):
            state = moves[letter, state]
            return state, state

        start = jnp.zeros(words.shape[0], moves.dtype)
        return jax.lax.scan(step, start, words.T)[1].T

    def group(self) -> set[tuple[int, ...]]:
        """Every permutation of the states that some word makes."""
        found = {tuple(range(self.states))}
        while True:
            more = {tuple(m[s] for s in p) for p, m in itertools.product(found, self.moves)}
            if more <= found:
                return found
            found |= more


def swap(states: int, one: int) -> tuple[int, ...]:
    """The permutation that exchanges two neighbours."""
    order = list(range(states))
    order[one], order[one + 1] = order[one + 1], order[one]
    return tuple(order)


PARITY = Automaton("parity", ((0, 1), (1, 0)))
COUNTING = Automaton("sum mod 3", tuple(tuple((s + x) % 3 for s in range(3)) for x in range(3)))
# Where swaps of neighbours take the first of five things: the word problem of S5, which is not
# solvable, seen through one point. Barrington 1989.
PERMUTATION = Automaton("swaps of five", tuple(swap(5, one) for one in range(4)))
PROBLEMS = (PARITY, COUNTING, PERMUTATION)
