"""A tiny encoder-decoder with attention that writes words backwards."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.decoding.beam.data import LONGEST, VOCABULARY


class Params(NamedTuple):
    """Embeddings [V, E] and [LONGEST, H], two LSTMs, and the output [2 H, V]."""

    embedding: jax.Array
    places: jax.Array
    encoder: Any
    decoder: Any
    w_o: jax.Array


@dataclass(frozen=True)
class Reverser:
    """Encoder, attention and decoder; H units each."""

    hidden_size: int = 48

    @property
    def cell(self) -> sj.LSTM:
        """Of the encoder and of the decoder."""
        return sj.LSTM(self.hidden_size)

    def init(self, key: jax.Array) -> Params:
        """Draws params."""
        keys, size = jax.random.split(key, 5), self.hidden_size
        normal = lambda key, *shape: 0.3 * jax.random.normal(key, shape)
        return Params(
            normal(keys[0], len(VOCABULARY), size),
            normal(keys[1], LONGEST, size),
            self.cell.init(keys[2], size),
            self.cell.init(keys[3], size),
            normal(keys[4], 2 * size, len(VOCABULARY)),
        )

    def encode(self, params: Params, source: jax.Array, lengths: jax.Array):
        """Memory [B, S, H], whose places count from the end, and the decoder's first carry."""
        carry, ys = sj.unroll(self.cell, params.encoder, params.embedding[source], lengths=lengths)
        places = lengths[:, None] - 1 - jnp.arange(source.shape[1])
        return ys + params.places[jnp.maximum(places, 0)], carry

    def step(self, params: Params, memory, lengths, carry, tokens: jax.Array):
        """One token [N] further: carry, logits [N, V] and weights [N, S].

        The rows of memory [B, S, H] may each serve N / B rows that lie side by side.
        """
        carry, y = self.cell.step(params.decoder, carry, params.embedding[tokens])
        queries = y.reshape(memory.shape[0], -1, self.hidden_size)  # [B, K, H]
        scores = jnp.einsum("bkh,bsh->bks", queries, memory)
        real = jnp.arange(memory.shape[1]) < lengths[:, None, None]
        weights = jax.nn.softmax(jnp.where(real, scores, -jnp.inf), axis=-1)
        read = jnp.einsum("bks,bsh->bkh", weights, memory)
        joint = jnp.concatenate([queries, read], axis=-1).reshape(len(tokens), -1)
        return carry, jnp.tanh(joint) @ params.w_o, weights.reshape(len(tokens), -1)

    def losses(self, params: Params, source, lengths, targets) -> jax.Array:
        """Nats [B, LONGEST + 1] of targets, which end with a boundary; 0 after it."""
        memory, carry = self.encode(params, source, lengths)
        inputs = jnp.pad(targets[:, :-1], ((0, 0), (1, 0)))
        step = functools.partial(self.step, params, memory, lengths)
        _, logits = jax.lax.scan(lambda c, x: step(c, x)[:2], carry, inputs.T)
        real = jnp.arange(LONGEST + 1) <= lengths[:, None]
        return jnp.where(real, sj.token_losses(jnp.moveaxis(logits, 0, 1), targets), 0)
