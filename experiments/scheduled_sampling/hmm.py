"""A sticky hidden Markov model, and what the best possible tagger scores on it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class StickyHMM:
    """Labels that stay, and observations that say little about them; all labels are alike.

    Attributes:
      labels: S, how many labels; as many observations.
      stay: probability that the next label is the same, the others share the rest.
      hit: probability that an observation is the label itself, the others share the rest.
    """

    labels: int = 10
    stay: float = 0.95
    hit: float = 0.4

    @property
    def transition(self) -> np.ndarray:
        """P(next label | label), [S, S]."""
        return _mixed(self.labels, self.stay)

    @property
    def emission(self) -> np.ndarray:
        """P(observation | label), [S, S]."""
        return _mixed(self.labels, self.hit)

    def draw(self, key: jax.Array, rows: int, length: int) -> tuple[jax.Array, jax.Array]:
        """Labels and observations [B, T] of stationary chains."""
        key_f, key_l, key_o = jax.random.split(key, 3)
        first = jax.random.randint(key_f, (rows, 1), 0, self.labels)
        moves = self._changes(key_l, self.stay, (rows, length)).at[:, :1].set(first)
        labels = jnp.cumsum(moves, axis=1) % self.labels
        return labels, (labels + self._changes(key_o, self.hit, (rows, length))) % self.labels

    def filter(self, observations: jax.Array) -> jax.Array:
        """P(label | observations so far), [B, T, S]: the forward algorithm (Rabiner 1989)."""
        transition = jnp.asarray(self.transition, jnp.float32)
        likely = jnp.asarray(self.emission, jnp.float32).T[observations]  # [B, T, S]

        def step(before, likely):
            joint = before * likely
            posterior = joint / joint.sum(axis=1, keepdims=True)
            return posterior @ transition, posterior

        uniform = jnp.full((observations.shape[0], self.labels), 1 / self.labels)
        _, posteriors = jax.lax.scan(step, uniform, jnp.swapaxes(likely, 0, 1))
        return jnp.swapaxes(posteriors, 0, 1)

    def next_error(self, length: int) -> float:
        """The least error, over so many steps, of a tagger that is told the label before."""
        joint = self.transition[0][:, None] * self.emission  # [label, observation]
        told = 1 - joint.max(axis=0).sum()
        first = 1 - self.emission.max(axis=0).sum() / self.labels
        return float((first + (length - 1) * told) / length)

    def _changes(self, key: jax.Array, same: float, shape: tuple[int, int]) -> jax.Array:
        """0 with probability `same`, else 1 .. S - 1 evenly."""
        key_c, key_s = jax.random.split(key)
        step = jax.random.randint(key_s, shape, 1, self.labels)
        return jnp.where(jax.random.bernoulli(key_c, same, shape), 0, step)


def _mixed(size: int, same: float) -> np.ndarray:
    """A matrix [S, S] of rows that sum to 1: `same` on the diagonal, the rest spread."""
    return np.full((size, size), (1 - same) / (size - 1)) * (1 - np.eye(size)) + same * np.eye(size)
