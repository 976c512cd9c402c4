"""The character model: embedding, stacked LSTM with dropout, softmax."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import seqjax as sj


class ModelParams(NamedTuple):
    """embedding [V, E]; cell; w_o [H, V], None where it is the embedding's transpose; b_o [V]."""

    embedding: jax.Array
    cell: Any
    w_o: jax.Array | None
    b_o: jax.Array


@dataclass(frozen=True)
class Model:
    """A language model over V tokens: the next one from all before it.

    Attributes:
      vocab_size: V.
      hidden_size: H, units of each layer.
      layers: number of LSTM layers.
      embedding_size: E, not used where the softmax is tied (then E = H).
      dropout: rate between layers and before the softmax (Zaremba et al. 2014).
      tied: whether the softmax shares the embedding (Press and Wolf 2017).
    """

    vocab_size: int
    hidden_size: int
    layers: int
    embedding_size: int
    dropout: float
    tied: bool

    @property
    def cell(self) -> sj.Stack:
        """The recurrent part."""
        layer = (sj.LSTM(self.hidden_size), sj.Dropout(self.dropout))
        return sj.Stack(layer * self.layers)

    def init(self, key: jax.Array) -> ModelParams:
        """Draws params."""
        key_e, key_c, key_o = jax.random.split(key, 3)
        width = self.hidden_size if self.tied else self.embedding_size
        scale = 1 / math.sqrt(width)
        out = sj.initializers.GlorotUniform()(key_o, (self.hidden_size, self.vocab_size))
        return ModelParams(
            embedding=scale * jax.random.normal(key_e, (self.vocab_size, width)),
            cell=self.cell.init(key_c, width),
            w_o=None if self.tied else out,
            b_o=jnp.zeros(self.vocab_size),
        )

    def initial_carry(self, params: ModelParams, batch_size: int, key=None) -> Any:
        """The carry before a text begins; with a key dropout is at work."""
        return self.cell.initial_carry(params.cell, batch_size, key=key)

    def unroll(
        self, params: ModelParams, carry: Any, batch: sj.data.Batch
    ) -> tuple[Any, jax.Array]:
        """Over a window: the next carry and logits [B, T, V]."""
        xs = params.embedding[batch.inputs]
        carry, ys = sj.unroll(
            self.cell, params.cell, xs, carry=carry, mask=batch.mask, reset=batch.reset
        )
        return carry, self._logits(params, ys)

    def step(self, params: ModelParams, carry: Any, tokens: jax.Array) -> tuple[Any, jax.Array]:
        """One token [B] further: the next carry and logits [B, V]. What the decoders take."""
        carry, y = self.cell.step(params.cell, carry, params.embedding[tokens])
        return carry, self._logits(params, y)

    def loss(self, params: ModelParams, carry: Any, batch: sj.data.Batch, key=None):
        """Mean cross-entropy of a window in nats, and the next carry."""
        carry, logits = self.unroll(params, carry, batch)
        return sj.cross_entropy(logits, batch.targets, mask=batch.mask), carry

    def _logits(self, params: ModelParams, ys: jax.Array) -> jax.Array:
        w_o = params.embedding.T if params.w_o is None else params.w_o
        return ys @ w_o + params.b_o
