"""Two layers of an LSTM with dropout in seven places, all of one size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.dropout.cells import RecurrentDropout

RATE = 0.25  # of everything that is dropped, or held


@dataclass(frozen=True)
class Arm:
    """A place for dropout.

    Attributes:
      name: in the table.
      layer: hidden_size -> a layer.
      between: dropout on the edges into, between and out of the layers.
      weights: share of recurrent weights dropped.
    """

    name: str
    layer: Callable[[int], Any] = sj.LSTM
    between: bool = False
    weights: float = 0.0


def _recurrent(h: float, c: float, variational: bool) -> Callable[[int], Any]:
    rates = sj.LSTMCarry(h, c)
    return lambda size: RecurrentDropout(sj.LSTM(size), rates, variational)


ARMS = (
    Arm("none"),
    Arm("non-recurrent", between=True),  # Zaremba et al. 2014
    Arm("h, each step", _recurrent(RATE, 0.0, False)),
    Arm("h, one mask a row", _recurrent(RATE, 0.0, True)),  # Gal and Ghahramani 2016
    Arm("h and c, each step", _recurrent(RATE, RATE, False)),
    Arm("zoneout", lambda size: sj.Zoneout(sj.LSTM(size), RATE)),
    Arm("weight-drop", weights=RATE),
)


@dataclass(frozen=True)
class Network:
    """Two layers between one-hot symbols and logits.

    Attributes:
      arm: where dropout stands.
      hidden_size: H, of both layers.
      vocab_size: V, of the inputs.
      classes: number of logits.
    """

    arm: Arm
    hidden_size: int
    vocab_size: int
    classes: int

    @property
    def cell(self) -> sj.Stack:
        """The layers."""
        layer = self.arm.layer(self.hidden_size)
        if not self.arm.between:
            return sj.Stack((layer, layer))
        edge = sj.Dropout(RATE)
        return sj.Stack((edge, layer, edge, layer, edge))

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        key_c, key_o = jax.random.split(key)
        w_o = sj.initializers.GlorotUniform()(key_o, (self.hidden_size, self.classes))
        cell = self.cell.init(key_c, self.vocab_size)
        return {"cell": cell, "w_o": w_o, "b_o": jnp.zeros(self.classes)}

    def logits(self, params: dict[str, Any], symbols: jax.Array, key=None) -> jax.Array:
        """At every step, [B, T, classes], of symbols [B, T]; with a key dropout is at work."""
        cell = params["cell"]
        if key is not None:
            key, key_w = jax.random.split(key)
            cell = sj.training.drop_weights(cell, key_w, self.arm.weights)
        xs = jax.nn.one_hot(symbols, self.vocab_size)
        ys = sj.unroll(self.cell, cell, xs, key=key)[1]
        return ys @ params["w_o"] + params["b_o"]
