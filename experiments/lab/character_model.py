"""A model of characters: embedding, stacked LSTM with dropout, softmax; and one from a run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.lab import record
from experiments.sources.vocabulary import Vocabulary


class CharacterModelParams(NamedTuple):
    """embedding [V, E]; cell; w_o [H, V], None where it is the embedding's transpose; b_o [V]."""

    embedding: jax.Array
    cell: Any
    w_o: jax.Array | None
    b_o: jax.Array


@dataclass(frozen=True)
class CharacterModel:
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

    def init(self, key: jax.Array) -> CharacterModelParams:
        """Draws params."""
        key_e, key_c, key_o = jax.random.split(key, 3)
        width = self.hidden_size if self.tied else self.embedding_size
        scale = 1 / math.sqrt(width)
        out = sj.initializers.GlorotUniform()(key_o, (self.hidden_size, self.vocab_size))
        return CharacterModelParams(
            embedding=scale * jax.random.normal(key_e, (self.vocab_size, width)),
            cell=self.cell.init(key_c, width),
            w_o=None if self.tied else out,
            b_o=jnp.zeros(self.vocab_size),
        )

    def initial_carry(self, params: CharacterModelParams, batch_size: int, key=None) -> Any:
        """The carry before a text begins; with a key dropout is at work."""
        return self.cell.initial_carry(params.cell, batch_size, key=key)

    def unroll(
        self, params: CharacterModelParams, carry: Any, batch: sj.data.Batch
    ) -> tuple[Any, jax.Array]:
        """Over a window: the next carry and logits [B, T, V]."""
        xs = params.embedding[batch.inputs]
        carry, ys = sj.unroll(
            self.cell, params.cell, xs, carry=carry, mask=batch.mask, reset=batch.reset
        )
        return carry, self._logits(params, ys)

    def step(
        self, params: CharacterModelParams, carry: Any, tokens: jax.Array
    ) -> tuple[Any, jax.Array]:
        """One token [B] further: the next carry and logits [B, V]. What the decoders take."""
        carry, y = self.cell.step(params.cell, carry, params.embedding[tokens])
        return carry, self._logits(params, y)

    def loss(self, params: CharacterModelParams, carry: Any, batch: sj.data.Batch, key=None):
        """Mean cross-entropy of a window in nats, and the next carry."""
        carry, logits = self.unroll(params, carry, batch)
        return sj.cross_entropy(logits, batch.targets, mask=batch.mask), carry

    def _logits(self, params: CharacterModelParams, ys: jax.Array) -> jax.Array:
        w_o = params.embedding.T if params.w_o is None else params.w_o
        return ys @ w_o + params.b_o


class Restored(NamedTuple):
    """The best model of a run, its vocabulary, and the settings of the run."""

    model: CharacterModel
    params: CharacterModelParams
    vocabulary: Vocabulary
    config: Mapping[str, Any]


def restore(run: Path) -> Restored:
    """The best model in the folder of a finished run, without the text that it was trained on.

    Raises:
      ValueError: if there is none, or it does not fit the run's record.
    """
    try:
        content = record.read(run / "results.json")
        config, characters = content["config"], content["measured"]["vocabulary"]
        sizes = {one.name: config[one.name] for one in fields(CharacterModel) if one.name in config}
        model = CharacterModel(vocab_size=len(Vocabulary(characters)), **sizes)
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{run} has no finished run of a character model (a results.json and a checkpoint); "
            "train one by python -m experiments music"
        ) from None
    like = jax.eval_shape(model.init, jax.random.key(0))
    best = sj.restore_checkpoint(run / "best", like, spec=model)
    # What the checkpoint says counts: as many other characters would make another text.
    return Restored(model, best.state, Vocabulary(best.position["vocabulary"]), config)
