"""Classification from the ends of a long row: which state to read off which direction."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.sweeps import Task, estimate, of_size

CLASSES, NOISE, LENGTH = 8, 8, 100
REACH = 20  # steps that gradients go back; what a state holds from further off is never taught
BATCH_SIZE, TEST_ROWS = 64, 1024
PARAMETERS = 6_000

# What a class is read off; h_{f,t} and h_{b,t} are the states of the two directions at step t.
FORWARD = "h_{f,T}"
BACKWARD = "h_{b,1}"
BOTH = "h_{f,T} and h_{b,1}"
LAST_OUTPUT = "last output, h_{f,T} and h_{b,T}"
BACKWARD_LAST = "h_{b,T}"
READINGS = (FORWARD, BACKWARD, BOTH, LAST_OUTPUT, BACKWARD_LAST)


def draw(key: jax.Array, rows: int, length: int = LENGTH):
    """Symbols [B, T], classes [B], and whether the cue stands at the end [B] or at the start.

    One symbol of each row, its first or its last, is the class; all others are noise.
    """
    key_c, key_e, key_n = jax.random.split(key, 3)
    classes = jax.random.randint(key_c, (rows,), 0, CLASSES)
    at_end = jax.random.bernoulli(key_e, 0.5, (rows,))
    symbols = jax.random.randint(key_n, (rows, length), CLASSES, CLASSES + NOISE)
    place = jnp.where(at_end, length - 1, 0)
    return symbols.at[jnp.arange(rows), place].set(classes), classes, at_end


@dataclass(frozen=True)
class Classifier:
    """Tanh networks in both directions and a hidden layer over what is read off them.

    Attributes:
      hidden_size: H, of each direction.
      reading: one of READINGS.
    """

    hidden_size: int
    reading: str

    @property
    def cell(self) -> sj.Bidirectional:
        """Plain networks, whose memory fades: a state has to be read where its cue is near."""
        return sj.Bidirectional(
            sj.Elman(self.hidden_size, w_h_init=sj.initializers.GlorotUniform())
        )

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        key_c, key_o = jax.random.split(key)
        width = self.hidden_size * (2 if self.reading in (BOTH, LAST_OUTPUT) else 1)
        w_o = sj.initializers.GlorotUniform()(key_o, (width, CLASSES))
        return {
            "cell": self.cell.init(key_c, CLASSES + NOISE),
            "w_o": w_o,
            "b_o": jnp.zeros(CLASSES),
        }

    def logits(self, params: dict[str, Any], symbols: jax.Array, reach=None) -> jax.Array:
        """Of the class, [B, C], for symbols [B, T]; gradients reach so many steps, None for all."""
        xs = jax.nn.one_hot(symbols, CLASSES + NOISE)
        carry, ys = sj.unroll(self.cell, params["cell"], xs, truncate=reach)
        states = {
            FORWARD: carry.forward,
            BACKWARD: carry.backward,
            BOTH: jnp.concatenate(carry, axis=-1),
            LAST_OUTPUT: ys[:, -1],
            BACKWARD_LAST: ys[:, -1, self.hidden_size :],
        }
        return states[self.reading] @ params["w_o"] + params["b_o"]


def classifier(reading: str, parameters: int = PARAMETERS) -> Classifier:
    """The one whose number of parameters is nearest to the one wanted."""
    return of_size(lambda size: Classifier(size, reading), parameters)


def classification(reading: str, steps: int, length: int = LENGTH) -> Task:
    """One reading, on rows whose cue stands at the start or at the end, a coin each."""
    net = classifier(reading)

    def loss(params, key):
        symbols, classes, _ = draw(key, BATCH_SIZE, length)
        return sj.cross_entropy(net.logits(params, symbols, REACH), classes)

    def evaluate(params, key, split):
        del split  # fresh rows, from another key
        symbols, classes, at_end = draw(key, 2 * TEST_ROWS, length)
        right = (net.logits(params, symbols).argmax(axis=-1) == classes).astype(jnp.float32)
        part = lambda rows: estimate(right[jnp.argsort(~rows)[: TEST_ROWS * 3 // 4]])
        return {
            "accuracy": estimate(right),
            "accuracy, cue first": part(~at_end),
            "accuracy, cue last": part(at_end),
        }

    optimum = {"accuracy": 1.0, "accuracy, cue first": 1.0, "accuracy, cue last": 1.0}
    if reading == BACKWARD_LAST:  # has seen the last symbol alone: a cue there, or it guesses
        start = 1 / CLASSES
        optimum = {
            "accuracy": (1 + start) / 2,
            "accuracy, cue first": start,
            "accuracy, cue last": 1.0,
        }
    return Task(
        name=f"cue, {reading}",
        init=net.init,
        loss=loss,
        evaluate=evaluate,
        metric="accuracy",
        optimum=optimum,
        baseline=1 / CLASSES,
        gate=0.99 if reading == BOTH else 0.0,  # the others have to reach nothing
        steps=steps,
        rates=(3e-3, 1e-2),
    )


def tasks(steps: int) -> list[Task]:
    """All readings; the third is the right one."""
    return [classification(reading, steps) for reading in READINGS]
