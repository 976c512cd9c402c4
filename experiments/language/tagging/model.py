"""A tagger, and a classifier that reads different states of two directions."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.lab.task import of_size
from experiments.language.tagging.data import CLASSES, NOISE, STATES, SYMBOLS

TAGGER_PARAMETERS, CLASSIFIER_PARAMETERS = 17_000, 6_000

# What a class is read off; h_{f,t} and h_{b,t} are the states of the two directions at step t.
FORWARD = "h_{f,T}"
BACKWARD = "h_{b,1}"
BOTH = "h_{f,T} and h_{b,1}"
LAST_OUTPUT = "last output, h_{f,T} and h_{b,T}"
BACKWARD_LAST = "h_{b,T}"
READINGS = (FORWARD, BACKWARD, BOTH, LAST_OUTPUT, BACKWARD_LAST)


@dataclass(frozen=True)
class Tagger:
    """A recurrent layer over one-hot symbols, and logits of the tag at each step.

    Attributes:
      hidden_size: H, of each direction.
      both: reads in both directions.
    """

    hidden_size: int
    both: bool

    @property
    def cell(self) -> Any:
        """What reads the symbols."""
        gru = sj.GRU(self.hidden_size)
        return sj.Bidirectional(gru) if self.both else gru

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        key_c, key_o = jax.random.split(key)
        width = self.hidden_size * (1 + self.both)
        w_o = sj.initializers.GlorotUniform()(key_o, (width, STATES))
        return {"cell": self.cell.init(key_c, SYMBOLS), "w_o": w_o, "b_o": jnp.zeros(STATES)}

    def log_probs(self, params: dict[str, Any], symbols: jax.Array) -> jax.Array:
        """Of the tags, [B, T, S], for symbols [B, T]."""
        xs = jax.nn.one_hot(symbols, SYMBOLS)
        ys = sj.unroll(self.cell, params["cell"], xs)[1]
        return jax.nn.log_softmax(ys @ params["w_o"] + params["b_o"])


def tagger(both: bool, parameters: int = TAGGER_PARAMETERS) -> Tagger:
    """The one whose number of parameters is nearest to the one wanted."""
    return of_size(lambda size: Tagger(size, both), parameters)


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


def classifier(reading: str, parameters: int = CLASSIFIER_PARAMETERS) -> Classifier:
    """The one whose number of parameters is nearest to the one wanted."""
    return of_size(lambda size: Classifier(size, reading), parameters)
