"""A hidden Markov model with its exact bounds, and long rows with a cue at one end."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.sources.hmm import HiddenMarkovModel, posteriors

STATES, SYMBOLS, LENGTH = 8, 20, 40
MODEL = HiddenMarkovModel.random(STATES, SYMBOLS, stay=0.7, shown=0.6, seed=0)
CLASSES, NOISE, ROW = 8, 8, 100


def known(model: HiddenMarkovModel, rows: int = 4096, length: int = LENGTH) -> dict[str, Any]:
    """What can be known, exactly but for the draw of the symbols: a pair for filter and smoother.

    accuracy: the mean probability of the likeliest state. nats: the mean entropy of the state.
    """
    symbols, _ = model.draw(jax.random.key(11), rows, length)
    both = jax.jit(lambda symbols: posteriors(model, symbols))(symbols)
    entropy = lambda p: -jnp.sum(jnp.exp(p) * p, axis=-1).mean()
    return {
        "accuracy": tuple(float(jnp.exp(p.max(axis=-1)).mean()) for p in both),
        "nats": tuple(float(entropy(p)) for p in both),
        "guess": float(np.max(model.stationary)),
    }


def draw(key: jax.Array, rows: int, length: int = ROW):
    """Symbols [B, T], classes [B], and whether the cue stands at the end [B] or at the start.

    One symbol of each row, its first or its last, is the class; all others are noise.
    """
    key_c, key_e, key_n = jax.random.split(key, 3)
    classes = jax.random.randint(key_c, (rows,), 0, CLASSES)
    at_end = jax.random.bernoulli(key_e, 0.5, (rows,))
    symbols = jax.random.randint(key_n, (rows, length), CLASSES, CLASSES + NOISE)
    place = jnp.where(at_end, length - 1, 0)
    return symbols.at[jnp.arange(rows), place].set(classes), classes, at_end
