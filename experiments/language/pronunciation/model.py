"""One network from letters to phones, and the objectives that it is trained by."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.language.pronunciation.data import LETTERS, PHONES_LONGEST, Words
from seqjax import objectives

ROOM = PHONES_LONGEST + 2  # phones of a drawn target, or said
KINDS = ML, SMOOTHING, RAML = "ML", "smoothing", "RAML"


@dataclass(frozen=True)
class Network:
    """A GRU that reads letters in both directions, and one that attends to it and says phones.

    Attributes:
      phones: how many there are; `end` follows them, and `begin` it.
      hidden_size: of the decoder.
    """

    phones: int
    hidden_size: int = 64

    end = property(lambda self: self.phones)
    begin = property(lambda self: self.phones + 1)
    encoder = property(lambda self: sj.Bidirectional(sj.GRU(self.hidden_size // 2)))

    @property
    def decoder(self) -> sj.AttentionDecoder:
        """Looks before each step."""
        return sj.AttentionDecoder(sj.GRU(self.hidden_size), sj.attention.AdditiveAttention(32))

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        size, glorot = self.hidden_size, sj.initializers.GlorotUniform()
        key_e, key_d, key_s, key_o = jax.random.split(key, 4)
        return {
            "encoder": self.encoder.init(key_e, len(LETTERS)),
            "decoder": self.decoder.init(key_d, self.begin + 1, memory_size=size),
            "start": glorot(key_s, (size // 2, size)),
            "out": glorot(key_o, (2 * size, self.end + 1)),
            "bias": jnp.zeros(self.end + 1),
        }

    def encode(self, params, letters, counts):
        """The decoder bound to what was read, and its first carry."""
        xs = jax.nn.one_hot(letters, len(LETTERS))
        carry, memory = sj.unroll(self.encoder, params["encoder"], xs, lengths=counts)
        mask = jnp.arange(letters.shape[1]) < counts[:, None]
        bound = self.decoder.bind(params["decoder"], memory, mask)
        begin = self.decoder.initial_carry(bound, letters.shape[0])
        return bound, begin._replace(cell=jnp.tanh(carry.backward @ params["start"]))

    def logits(self, params, y):
        """[..., phones + 1]."""
        both = jnp.concatenate([y.output, y.context], axis=-1)
        return both @ params["out"] + params["bias"]

    def loss(self, params, letters, counts, targets, lengths, smoothing: float):
        """Nats a phone, the end among them; targets [N, L] hold the end from lengths [N] on."""
        bound, carry = self.encode(params, letters, counts)
        inputs = jnp.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=self.begin)
        mask = jnp.arange(targets.shape[1]) <= lengths[:, None]
        xs = jax.nn.one_hot(inputs, self.begin + 1)
        _, ys = sj.unroll(self.decoder, bound, xs, carry=carry, mask=mask)
        logits = self.logits(params, ys)
        return sj.cross_entropy(logits, targets, mask=mask, label_smoothing=smoothing)

    def say(self, params, letters, counts):
        """Phones [N, L] as the model says them greedily, and how many, the end left out."""
        bound, carry = self.encode(params, letters, counts)

        def step(carry, tokens):
            xs = jax.nn.one_hot(tokens, self.begin + 1)
            carry, y = self.decoder.step(bound, carry, xs)
            return carry, self.logits(params, y)

        how: dict[str, Any] = dict(bos=self.begin, eos=self.end, max_len=ROOM + 1)
        said = sj.sample(step, carry, temperature=0.0, key=jax.random.key(0), **how)
        return said.tokens, jnp.sum(said.tokens != self.end, axis=1, dtype=jnp.int32)


@dataclass(frozen=True)
class Arm:
    """An objective.

    Attributes:
      kind: ML, SMOOTHING (of labels, by `strength`) or RAML (edit distance, at the temperature
        `strength` in edits).
      strength: 0 is maximum likelihood for all three.
    """

    kind: str
    strength: float = 0.0

    @property
    def name(self) -> str:
        """In tables."""
        return self.kind if self.kind == ML else f"{self.kind} {self.strength:g}"


ARMS = (
    Arm(ML),
    *(Arm(SMOOTHING, rate) for rate in (0.05, 0.1, 0.2, 0.3)),
    *(Arm(RAML, temperature) for temperature in (0.1, 0.12, 0.14, 0.16)),
)


def batch(arm: Arm, network: Network, key: jax.Array, data: Words, rows: int):
    """A batch: letters and their counts, target phones [rows, ROOM + 1] and how many there are.

    Of a word with several pronunciations any is drawn, and by RAML one near to it.
    """
    key_w, key_v, key_e = jax.random.split(key, 3)
    chosen = jax.random.randint(key_w, (rows,), 0, data.letters.shape[0])
    variant = jax.random.randint(key_v, (rows,), 0, data.variants[chosen])
    targets, lengths = data.phones[chosen, variant], data.phone_counts[chosen, variant]
    if arm.kind == RAML:
        how: dict[str, Any] = dict(vocab_size=network.phones, temperature=arm.strength)
        near = objectives.sample_edits(
            key_e, targets, lengths, max_len=ROOM, pad=network.end, **how
        )
        targets, lengths = near.tokens, near.lengths
    targets = jnp.pad(targets, ((0, 0), (0, ROOM + 1 - targets.shape[1])))
    targets = jnp.where(jnp.arange(ROOM + 1) < lengths[:, None], targets, network.end)
    return data.letters[chosen], data.letter_counts[chosen], targets, lengths
