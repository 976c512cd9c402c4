"""A decoder with attention to a memory of its own, as a cell for `check_cell`."""

from dataclasses import dataclass
from typing import Any

import jax

import seqjax as sj


@dataclass(frozen=True)
class Attending:
    """Binds one row of memory, which is part of its params, for all rows of a batch."""

    decoder: Any
    length: int = 4
    memory_size: int = 3

    def init(self, key, input_size):
        key_d, key_m = jax.random.split(key)
        params = self.decoder.init(key_d, input_size, self.memory_size)
        return params, jax.random.normal(key_m, (1, self.length, self.memory_size))

    def bound(self, params):
        return self.decoder.bind(*params)

    def initial_carry(self, params, batch_size, key=None):
        return self.decoder.initial_carry(self.bound(params), batch_size, key)

    def step(self, params, carry, x):
        return self.decoder.step(self.bound(params), carry, x)

    def unroll(self, params, carry, xs, steps):
        return self.decoder.unroll(self.bound(params), carry, xs, steps)


DECODERS = {
    "bahdanau": sj.AttentionDecoder(sj.GRU(4), sj.attention.AdditiveAttention(3)),
    "luong": sj.AttentionDecoder(
        sj.LSTM(4),
        sj.attention.GeneralAttention(),
        query="current",
        attentional_size=3,
        input_feeding=True,
    ),
    "noisy": sj.AttentionDecoder(
        sj.Zoneout(sj.GRU(4), 0.2),
        sj.attention.MonotonicAttention(3, offset=0.5),
        attentional_size=3,
    ),
    "at_once": sj.AttentionDecoder(
        sj.GRU(4),
        sj.attention.MultiHeadAttention(2, head_size=3),
        query="current",
        attentional_size=3,
    ),
    "learned_start": sj.AttentionDecoder(
        sj.LearnedCarry(sj.GRU(4)), sj.attention.LocationAttention(3, num_filters=2, filter_size=3)
    ),
    "coverage": sj.AttentionDecoder(
        sj.Elman(4), sj.attention.CoverageAttention(3), query="current", attentional_size=3
    ),
}
