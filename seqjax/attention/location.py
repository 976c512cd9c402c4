"""Additive attention that sees where it looked last."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.attention.additive import AdditiveAttention, energies, prepare_keys
from seqjax.attention.base import (
    Attended,
    PreparedMemory,
    check_query,
    look_softly,
    queries_per_row,
    split_rows,
    working_dtype,
)
from seqjax.core.products import add_bias, dot
from seqjax.initializers.weights import GlorotUniform, Initializer


class LocationAttentionParams(NamedTuple):
    """The params of `LocationAttention`.

    Fields:
      w_q: [Q, A] projects queries.
      w_k: [M, A] projects the memory.
      w_f: [C, A] projects features of the previous alignment.
      filters: [W, C] compute these features.
      v: [A] turns the hidden layer into a score.
      b: [A] bias of the hidden layer.
    """

    w_q: jax.Array
    w_k: jax.Array
    w_f: jax.Array
    filters: jax.Array
    v: jax.Array
    b: jax.Array


@final
@dataclass(frozen=True)
class LocationAttention(Spec, doors=("prepare", "initial_state", "attend")):
    """Scores from a place's content and from where the last query looked.

        fᵢ = filters * αᵢ₋₁,   eᵢⱼ = v · tanh(qᵢ w_q + mⱼ w_k + fᵢⱼ w_f + b),   α₀ = 0

    The memory is [B, S, M], queries are [N, Q], alignments α are [N, S]. Chorowski, Bahdanau,
    Serdyuk, Cho and Bengio 2015. Filters are centred, and the alignment counts as 0 beyond the ends
    of the memory. Filters may be longer than the memory.

    Attributes:
      attention_size: A.
      num_filters: C.
      filter_size: W, odd.
      w_init: initialiser of w_q, w_k, w_f, the filters, and v, drawn as [A, 1].

    Raises:
      ValueError: if a size is not a positive integer, or filter_size is even; otherwise as
        `AdditiveAttention`.

    Example:
      >>> attention = LocationAttention(8, num_filters=2, filter_size=3)
      >>> params = attention.init(jax.random.key(0), query_size=3, memory_size=4)
      >>> prepared = attention.prepare(params, jnp.ones((2, 5, 4)))
      >>> state = attention.initial_state(params, prepared, batch_size=2)
      >>> seen, state = attention.attend(params, prepared, jnp.ones((2, 3)), state)
      >>> bool((state == seen.alignment).all())
      True
    """

    attention_size: int
    _: KW_ONLY
    num_filters: int = 10
    filter_size: int = 31
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        checks.hold_ints(self, "attention_size", "num_filters", "filter_size")
        checks.require(
            self.filter_size % 2 == 1,
            f"filter_size is {self.filter_size}; expected an odd number, so that a filter has "
            "a centre.",
        )

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> LocationAttentionParams:
        """Draws `LocationAttentionParams` for queries [..., Q] and memories [..., M]."""
        key_a, key_f, key_w = jax.random.split(key, 3)
        size = self.attention_size
        plain = AdditiveAttention(size, w_init=self.w_init, v_init=self.w_init)
        own = plain.init(key_a, query_size, memory_size)
        return LocationAttentionParams(
            w_q=own.w_q,
            w_k=own.w_k,
            w_f=self.w_init(key_w, (self.num_filters, size)),
            filters=self.w_init(key_f, (self.filter_size, self.num_filters)),
            v=own.v,
            b=jnp.zeros(size),
        )

    def prepare(self, params: LocationAttentionParams, memory, mask=None) -> PreparedMemory:
        """Computes keys m w_k [B, S, A] from a memory [B, S, M] and its mask [B, S]."""
        return prepare_keys(params.w_k, memory, mask)

    def initial_state(self, params, prepared: PreparedMemory, batch_size: int, key=None):
        """The alignment before the first query, zeros [N, S]. Raises unless B divides N."""
        return no_alignment(prepared, batch_size)

    def attend(
        self, params: LocationAttentionParams, prepared: PreparedMemory, query, state: jax.Array
    ) -> tuple[Attended, jax.Array]:
        """Looks up queries [N, Q] after alignments `state` [N, S]; their own is the next state."""
        check_query(prepared, query)
        query = split_rows("query", add_bias(dot("query", query, params.w_q), params.b), prepared)
        features = filtered(state, params.filters.astype(state.dtype))
        extra = features @ params.w_f.astype(state.dtype)
        extra = split_rows("state", extra, prepared)
        seen = look_softly(prepared, energies(prepared, query, params.v, extra))
        return seen, seen.alignment


def no_alignment(prepared: PreparedMemory, batch_size: int) -> jax.Array:
    """Zeros [N, S], for N = batch_size rows.

    Raises:
      ValueError: if N is not a multiple of the memory's rows.
    """
    queries_per_row("batch_size", batch_size, prepared)
    return jnp.zeros((batch_size, prepared.values.shape[1]), working_dtype(prepared))


def filtered(alignment: jax.Array, filters: jax.Array) -> jax.Array:
    """Filters alignments [N, S] with [W, C], centred, to features [N, S, C].

    Place j gets Σᵢ filters[i] alignment[j + i - (W - 1) / 2], with zeros beyond the ends.
    """
    half = filters.shape[0] // 2
    return jax.lax.conv_general_dilated(
        alignment[..., None],
        filters[:, None],
        window_strides=(1,),
        padding=[(half, half)],
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
