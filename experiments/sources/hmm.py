"""A hidden Markov model, and exactly what its symbols say about its states."""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class HiddenMarkovModel:
    """States that follow each other, each of which shows a symbol (Rabiner 1989).

    Attributes:
      transition: S rows of S probabilities of the next state.
      emission: S rows of V probabilities of the symbol shown.
    """

    transition: tuple[tuple[float, ...], ...]
    emission: tuple[tuple[float, ...], ...]

    @classmethod
    def random(cls, states: int, symbols: int, stay: float, shown: float, seed: int):
        """States that stay with a probability; rows of symbols from a Dirichlet distribution."""
        rng = np.random.default_rng(seed)
        moves = rng.dirichlet(np.full(states, 0.5), states)
        transition = stay * np.eye(states) + (1 - stay) * moves
        emission = rng.dirichlet(np.full(symbols, shown), states)
        return cls(*(tuple(map(tuple, rows.tolist())) for rows in (transition, emission)))

    @classmethod
    def sticky(cls, states: int, stay: float, shown: float):
        """States all alike: each stays, and shows the symbol of its own number, so probably."""
        mixed = lambda p: np.where(np.eye(states) == 1, p, (1 - p) / (states - 1))
        return cls(*(tuple(map(tuple, mixed(p).tolist())) for p in (stay, shown)))

    @cached_property
    def stationary(self) -> np.ndarray:
        """π [S], the solution of π P = π, Σ π = 1."""
        p = np.array(self.transition)
        equations = np.vstack([p.T - np.eye(len(p)), np.ones(len(p))])
        return np.linalg.lstsq(equations, np.eye(len(p) + 1)[len(p)], rcond=None)[0]

    @property
    def logs(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Logarithms: of π [S], of P [S, S], of the emissions [S, V]; of 0, the least float's."""
        tiny = np.finfo(np.float32).tiny
        tables = self.stationary, self.transition, self.emission
        start, moves, shown = (
            jnp.asarray(np.log(np.maximum(a, tiny)), jnp.float32) for a in tables
        )
        return start, moves, shown

    def draw(self, key: jax.Array, rows: int, length: int) -> tuple[jax.Array, jax.Array]:
        """Symbols and the states that showed them, [B, T] both, of stationary chains."""
        start, moves, shown = self.logs
        key_0, key_s, key_x = jax.random.split(key, 3)
        first = jax.random.categorical(key_0, start, shape=(rows,))

        def move(state, key):
            return jax.random.categorical(key, moves[state]), state

        _, states = jax.lax.scan(move, first, jax.random.split(key_s, length))
        states = states.T
        return jax.random.categorical(key_x, shown[states]), states


def posteriors(model: HiddenMarkovModel, symbols: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What is known of each state: log p(sₜ | x₁..xₜ) and log p(sₜ | x₁..x_T), [B, T, S] both.

    By the forward-backward recursions, in logarithms throughout; no predictor of either kind of
    context knows more. Rabiner 1989.
    """
    start, moves, shown = model.logs
    seen = jnp.swapaxes(shown.T[symbols], 0, 1)  # [T, B, S]

    def forward(alpha, e):
        here = alpha + e
        here = here - jax.nn.logsumexp(here, axis=-1, keepdims=True)
        return jax.nn.logsumexp(here[:, :, None] + moves, axis=1), here

    def backward(beta, e):
        onward = (beta + e)[:, None, :] + moves
        before = jax.nn.logsumexp(onward, axis=-1)
        return before - before.max(axis=-1, keepdims=True), beta

    prior = jnp.broadcast_to(start, seen.shape[1:])
    _, filtered = jax.lax.scan(forward, prior, seen)
    _, betas = jax.lax.scan(backward, jnp.zeros(seen.shape[1:]), seen, reverse=True)
    smoothed = jax.nn.log_softmax(filtered + betas, axis=-1)
    return jnp.swapaxes(filtered, 0, 1), jnp.swapaxes(smoothed, 0, 1)


def told_error(model: HiddenMarkovModel, length: int) -> float:
    """The least share of wrong states over a number of steps, given symbols and the state before.

    A rule knows the present symbol and the true state before; at the first step, the symbol alone.
    """
    start, moves, shown = (
        np.array(a) for a in (model.stationary, model.transition, model.emission)
    )
    joint = start[:, None, None] * moves[:, :, None] * shown  # [state before, state, symbol]
    told = 1 - joint.max(axis=1).sum()
    first = 1 - (start[:, None] * shown).max(axis=0).sum()
    return float((first + (length - 1) * told) / length)
