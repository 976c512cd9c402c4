"""Encoder-decoders of equal numbers of parameters, with and without attention."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.language.attention.data import BEGIN, END, SYMBOLS, Pairs


@dataclass(frozen=True)
class Arm:
    """One way to hand a source on to what writes the target.

    Attributes:
      name: in tables.
      attention: the mechanism; None hands on the encoder's last state and nothing else.
      reverse: whether an encoder without attention reads from the end (Sutskever et al. 2014).
      hidden_size: of the decoder's GRU.
    """

    name: str
    attention: Any = None
    reverse: bool = False
    hidden_size: int = 64

    @property
    def encoder(self) -> Any:
        """A GRU, or two that read in both directions, which is the memory."""
        if self.attention is None:
            return sj.GRU(self.hidden_size)
        return sj.Bidirectional(sj.GRU(self.hidden_size // 2))

    @property
    def decoder(self) -> Any:
        """A GRU, with attention that its previous state controls."""
        cell = sj.GRU(self.hidden_size)
        return cell if self.attention is None else sj.AttentionDecoder(cell, self.attention)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        size, glorot = self.hidden_size, sj.initializers.GlorotUniform()
        key_e, key_d, key_s, key_o = jax.random.split(key, 4)
        params = {"encoder": self.encoder.init(key_e, SYMBOLS), "bias": jnp.zeros(END + 1)}
        if self.attention is None:
            params["decoder"] = self.decoder.init(key_d, BEGIN + 1)
        else:
            params["decoder"] = self.decoder.init(key_d, BEGIN + 1, memory_size=size)
            params["start"] = glorot(key_s, (size // 2, size))
        width = size if self.attention is None else 2 * size
        return params | {"out": glorot(key_o, (width, END + 1))}

    def encode(self, params, pairs: Pairs) -> tuple[Any, Any]:
        """The decoder's params, bound to a memory where there is one, and its first carry."""
        xs = jax.nn.one_hot(pairs.source, SYMBOLS)
        how: dict[str, Any] = dict(mask=pairs.source_mask, reverse=self.reverse)
        carry, memory = sj.unroll(self.encoder, params["encoder"], xs, **how)
        if self.attention is None:
            return params["decoder"], carry
        bound = self.decoder.bind(params["decoder"], memory, pairs.source_mask)
        begin = self.decoder.initial_carry(bound, xs.shape[0])
        # The state that has read the source from its end (Bahdanau et al. 2015, section A.2.2).
        return bound, begin._replace(cell=jnp.tanh(carry.backward @ params["start"]))

    def logits(self, params, y) -> jax.Array:
        """[..., END + 1] from what the decoder put out and read."""
        if self.attention is not None:
            y = jnp.concatenate([y.output, y.context], axis=-1)
        return y @ params["out"] + params["bias"]

    def loss(self, params, pairs: Pairs) -> jax.Array:
        """Cross-entropy of the targets given their own past, in nats/symbol."""
        bound, carry = self.encode(params, pairs)
        inputs = jnp.pad(pairs.target[:, :-1], ((0, 0), (1, 0)), constant_values=BEGIN)
        xs = jax.nn.one_hot(inputs, BEGIN + 1)
        _, ys = sj.unroll(self.decoder, bound, xs, carry=carry, mask=pairs.target_mask)
        return sj.cross_entropy(self.logits(params, ys), pairs.target, mask=pairs.target_mask)

    def write(self, params, pairs: Pairs) -> tuple[jax.Array, jax.Array]:
        """What the model writes on its own, greedily: tokens [N, S + 1], alignments [N, S + 1, S].

        Nothing of the target is used; alignments are 0 without attention.
        """
        bound, carry = self.encode(params, pairs)

        def step(carry, tokens):
            carry, y = self.decoder.step(bound, carry, jax.nn.one_hot(tokens, BEGIN + 1))
            shape = (tokens.shape[0], pairs.source.shape[1])
            read = jnp.zeros(shape) if self.attention is None else y.alignment
            return carry, self.logits(params, y), read

        how: dict[str, Any] = dict(bos=BEGIN, eos=END, beam_size=1, max_len=pairs.target.shape[1])
        beams = sj.beam_search(step, carry, **how)
        return beams.tokens[:, 0], beams.outputs[:, 0]


ARMS = (
    Arm("last state, forward source", hidden_size=78),
    Arm("last state, reversed source", reverse=True, hidden_size=78),
    Arm("additive attention", sj.attention.AdditiveAttention(32)),
    Arm("location attention", sj.attention.LocationAttention(32, num_filters=4, filter_size=5)),
    Arm("general attention", sj.attention.GeneralAttention()),
)
