"""A tiny model with attention: it writes words backwards, and is of two minds about c.

Every c of the source comes out as c or, with probability 0.4, as k. So the right answers to a word
and their probabilities are known: 0.6 for each c and 0.4 for each k.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import seqjax as sj

LETTERS = "abcdefghijk"
VOCABULARY = ("", *LETTERS)  # the first is the boundary: bos and eos
BOUNDARY, C, K = 0, 1 + LETTERS.index("c"), 1 + LETTERS.index("k")
SOURCE_LETTERS = len(LETTERS) - 1  # k is only written
LONGEST = 8
K_SHARE = 0.4


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

    def loss(self, params: Params, source, lengths, targets) -> jax.Array:
        """Mean cross-entropy in nats of targets [B, LONGEST + 1], which end with a boundary."""
        memory, carry = self.encode(params, source, lengths)
        inputs = jnp.pad(targets[:, :-1], ((0, 0), (1, 0)))
        step = functools.partial(self.step, params, memory, lengths)
        _, logits = jax.lax.scan(lambda c, x: step(c, x)[:2], carry, inputs.T)
        real = jnp.arange(LONGEST + 1) <= lengths[:, None]
        return sj.cross_entropy(jnp.moveaxis(logits, 0, 1), targets, mask=real)


def draw_batch(key: jax.Array, batch_size: int):
    """Random words [B, LONGEST], their lengths, and what is to be written [B, LONGEST + 1]."""
    key_w, key_l, key_k = jax.random.split(key, 3)
    source = jax.random.randint(key_w, (batch_size, LONGEST), 1, SOURCE_LETTERS + 1)
    lengths = jax.random.randint(key_l, (batch_size,), 2, LONGEST + 1)
    at = lengths[:, None] - 1 - jnp.arange(LONGEST + 1)
    targets = jnp.take_along_axis(source, jnp.maximum(at, 0), axis=1)
    swapped = jax.random.bernoulli(key_k, K_SHARE, targets.shape) & (targets == C)
    targets = jnp.where(at >= 0, jnp.where(swapped, K, targets), BOUNDARY)
    return source, lengths, targets


def train(model: Reverser, *, steps: int = 600, batch_size: int = 64, seed: int = 0):
    """Trained params, and the mean loss in nats over the last tenth of the steps."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(5e-3))
    key = jax.random.key(seed)

    def body(state, step):
        params, moments = state
        batch = draw_batch(jax.random.fold_in(key, step + 1), batch_size)
        loss, grads = jax.value_and_grad(model.loss)(params, *batch)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    @jax.jit
    def run(params):
        return jax.lax.scan(body, (params, optimizer.init(params)), jnp.arange(steps))

    with jax.numpy_dtype_promotion("standard"):  # optax is written for it
        (params, _), losses = run(model.init(jax.random.fold_in(key, 0)))
    return params, float(jnp.mean(losses[-max(steps // 10, 1) :]))
