"""A cell between one-hot symbols and logits; an encoder and decoder; a window without memory."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.basics.sources import Pairs


@dataclass(frozen=True)
class Network:
    """A recurrent network over V symbols.

    Attributes:
      cell: any cell whose `output` is [B, hidden_size].
      vocab_size: V, of the inputs.
      classes: number of logits; None where the cell's own output is the logits (a Jordan net).
    """

    cell: Any
    vocab_size: int
    classes: int | None

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        key_c, key_o = jax.random.split(key)
        params = {"cell": self.cell.init(key_c, self.vocab_size)}
        if self.classes is not None:
            params["w_o"] = sj.initializers.GlorotUniform()(
                key_o, (self.cell.hidden_size, self.classes)
            )
            params["b_o"] = jnp.zeros(self.classes)
        return params

    def unroll(self, params, tokens: jax.Array, **options) -> tuple[Any, jax.Array]:
        """The carry after tokens [B, T], and logits [B, T, classes]; options of `sj.unroll`."""
        xs = jax.nn.one_hot(tokens, self.vocab_size)
        carry, ys = sj.unroll(self.cell, params["cell"], xs, **options)
        return carry, self._logits(params, ys)

    def step(self, params, carry, tokens: jax.Array) -> tuple[Any, jax.Array]:
        """One token [B] further."""
        x = jax.nn.one_hot(tokens, self.vocab_size)
        carry, y = self.cell.step(params["cell"], carry, x)
        return carry, self._logits(params, y)

    def last(self, params, tokens: jax.Array, **options) -> jax.Array:
        """Logits [B, classes] after each row's last token."""
        carry, _ = self.unroll(params, tokens, **options)
        return self._logits(params, self.cell.output(params["cell"], carry))

    def _logits(self, params, ys: jax.Array) -> jax.Array:
        return ys if self.classes is None else ys @ params["w_o"] + params["b_o"]


@dataclass(frozen=True)
class Translator:
    """Reads a source of any length, hands its carry on, writes a target of any length.

    The source is read from its end, so that what is written first was read last (Sutskever et
    al. 2014).

    Attributes:
      hidden_size: H, of both GRUs.
      source_size: number of source symbols.
      target_size: E, number of target symbols; E itself ends a target, E + 1 begins it.
    """

    hidden_size: int
    source_size: int
    target_size: int

    @property
    def encoder(self) -> sj.GRU:
        """Reads the source."""
        return sj.GRU(self.hidden_size)

    @property
    def decoder(self) -> Network:
        """Writes the target."""
        return Network(sj.GRU(self.hidden_size), self.target_size + 2, self.target_size + 1)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        key_e, key_d = jax.random.split(key)
        return {
            "encoder": self.encoder.init(key_e, self.source_size),
            "decoder": self.decoder.init(key_d),
        }

    def encode(self, params, batch: Pairs) -> Any:
        """The carry that the decoder starts from."""
        xs = jax.nn.one_hot(batch.source, self.source_size)
        lengths = batch.source_lengths
        return sj.unroll(self.encoder, params["encoder"], xs, lengths=lengths, reverse=True)[0]

    def loss(self, params, batch: Pairs) -> jax.Array:
        """Cross-entropy of the targets given their own past, in nats/symbol."""
        target = batch.target
        rows, length = target.shape
        begin = jnp.full((rows, 1), self.target_size + 1, target.dtype)
        inputs = jnp.concatenate([begin, target[:, :-1]], axis=1)
        mask = jnp.arange(length, dtype=jnp.int32) < batch.target_lengths[:, None]
        carry = self.encode(params, batch)
        _, logits = self.decoder.unroll(params["decoder"], inputs, carry=carry, mask=mask)
        return sj.cross_entropy(logits, target, mask=mask)

    def exact(self, params, batch: Pairs) -> jax.Array:
        """Whether the most probable symbols, fed back one by one, are the target: [N] bool."""
        samples = sj.sample(
            lambda carry, tokens: self.decoder.step(params["decoder"], carry, tokens),
            self.encode(params, batch),
            bos=self.target_size + 1,
            eos=self.target_size,
            max_len=batch.target.shape[1],
            key=jax.random.key(0),
            temperature=0,
        )
        return jnp.all(samples.tokens == batch.target, axis=1)


@dataclass(frozen=True)
class WindowMLP:
    """One hidden layer over a window of fixed length: a weight for each symbol at each place."""

    hidden_size: int
    vocab_size: int
    classes: int
    length: int

    def init(self, key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Draws params."""
        sizes = (self.length * self.vocab_size, self.hidden_size, self.classes)
        keys, draw = jax.random.split(key), sj.initializers.GlorotUniform()
        shapes = zip(sizes[:-1], sizes[1:], strict=True)
        return [
            (draw(k, shape), jnp.zeros(shape[1])) for k, shape in zip(keys, shapes, strict=True)
        ]

    def last(self, params, tokens: jax.Array) -> jax.Array:
        """Logits [B, classes] from tokens [B, T]."""
        (w_1, b_1), (w_2, b_2) = params
        x = jax.nn.one_hot(tokens, self.vocab_size).reshape(tokens.shape[0], -1)
        return jax.nn.relu(x @ w_1 + b_1) @ w_2 + b_2
