"""An encoder and a decoder."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.foundations.topologies.data import Pairs
from experiments.lab.network import Network


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
