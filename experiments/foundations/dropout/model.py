"""Two layers of an LSTM with dropout in seven places, all of one size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

import seqjax as sj
from seqjax.core.noise import Noise, draw_rows, fold_in

RATE = 0.25  # of everything that is dropped, or held


class RecurrentDropoutCarry(NamedTuple):
    """The wrapped cell's carry, leaves [B, ...], and a `Noise` of [B] rows, None without a key."""

    cell: Any
    noise: Noise | None


@final
@dataclass(frozen=True)
class RecurrentDropout(sj.RecurrentCell):
    """Drops a share of the state before each step.

        hₜ = cell(m ⊙ hₜ₋₁ / (1 - rate), xₜ),   m ~ Bernoulli(1 - rate) a unit

    A new m at each step is what a wrapper around a step does at first thought; one m a sequence is
    the variational dropout of Gal and Ghahramani 2016.

    Attributes:
      cell: a `RecurrentCell`.
      rates: a carry of probabilities, such as `LSTMCarry(h=0.25, c=0.0)`.
      variational: one mask a sequence.
    """

    cell: Any
    rates: Any
    variational: bool = False

    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws the wrapped cell's params."""
        return self.cell.init(key, input_size)

    def initial_carry(self, params: Any, batch_size: int, key=None) -> RecurrentDropoutCarry:
        """The wrapped cell's carry, and a stream of noise if there is a key."""
        carry = self.cell.initial_carry(params, batch_size, fold_in(key, 0))
        own = fold_in(key, 1)
        return RecurrentDropoutCarry(
            carry, None if own is None else Noise.from_key(own, batch_size)
        )

    def project(self, params: Any, xs: jax.Array) -> Any:
        """The wrapped cell's."""
        return self.cell.project(params, xs)

    def recur(self, params: Any, carry: RecurrentDropoutCarry, z: Any, affine) -> Any:
        """The wrapped cell's next carry, from a state of which a share is 0."""
        noise = carry.noise
        if noise is None:
            return carry._replace(cell=self.cell.recur(params, carry.cell, z, affine))
        keys = noise.each_sequence() if self.variational else noise.each_step()
        leaves, structure = jax.tree.flatten(carry.cell)
        rates = jax.tree.leaves(self.rates)
        pairs = enumerate(zip(leaves, rates, strict=True))
        dropped = [_drop(fold_in(keys, i), leaf, rate) for i, (leaf, rate) in pairs]
        new = self.cell.recur(params, jax.tree.unflatten(structure, dropped), z, affine)
        return RecurrentDropoutCarry(new, noise.advance())

    def output(self, params: Any, carry: RecurrentDropoutCarry) -> Any:
        """The wrapped cell's."""
        return self.cell.output(params, carry.cell)


def _drop(keys, leaf: jax.Array, rate: float) -> jax.Array:
    if rate == 0:
        return leaf
    keep = lambda key: jax.random.bernoulli(key, 1 - rate, leaf.shape[1:])
    return jnp.where(draw_rows(keep, keys), leaf / (1 - rate), 0)


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
