"""Several attention heads side by side."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.attention.base import (
    Attended,
    PreparedMemory,
    check_memory,
    check_query,
    join_rows,
    masked_softmax,
    queries_per_row,
    split_rows,
    working_dtype,
)
from seqjax.core.products import dot
from seqjax.initializers.weights import GlorotUniform, Initializer, blocks


class MultiHeadAttentionParams(NamedTuple):
    """The params of `MultiHeadAttention`, heads side by side.

    Fields:
      w_q: [Q, heads A] projects queries.
      w_k: [M, heads A] projects the memory to keys.
      w_v: [M, heads A] projects the memory to values.
      w_o: [heads A, M] projects what the heads found.
    """

    w_q: jax.Array
    w_k: jax.Array
    w_v: jax.Array
    w_o: jax.Array


@final
@dataclass(frozen=True)
class MultiHeadAttention(Spec, doors=("prepare", "initial_state", "attend")):
    """Scores from scaled products, in several heads. Vaswani et al. 2017, section 3.2.2.

        headᵢ = softmax(q w_qⁱ (m w_kⁱ)ᵀ / √A) m w_vⁱ,   context = [head₁; head₂; ...] w_o

    The memory is [B, S, M], queries are [N, Q]. As with all mechanisms the context is [N, M]; the
    alignment [N, S] is the mean over heads. There are no biases, so the context is 0 where all is
    masked.

    Attributes:
      num_heads: the number of heads.
      head_size: A, the size of each head.
      w_init: initialiser of each head's block of w_q, w_k and w_v, and of w_o.

    Raises:
      ValueError: as `AdditiveAttention`.

    Example:
      >>> attention = MultiHeadAttention(num_heads=2, head_size=8)
      >>> params = attention.init(jax.random.key(0), query_size=3, memory_size=4)
      >>> prepared = attention.prepare(params, jnp.ones((2, 5, 4)))
      >>> seen, state = attention.attend(params, prepared, jnp.ones((2, 3)), ())
      >>> seen.context.shape, prepared.keys.shape
      ((2, 4), (2, 5, 2, 8))
    """

    num_heads: int
    _: KW_ONLY
    head_size: int
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        checks.hold_ints(self, "num_heads", "head_size")

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> MultiHeadAttentionParams:
        """Draws `MultiHeadAttentionParams` for queries [..., Q] and memories [..., M]."""
        checks.positive_int("query_size", query_size)
        checks.positive_int("memory_size", memory_size)
        keys = jax.random.split(key, 4)
        draw = lambda key, size: blocks(self.w_init, key, (size, self.head_size), self.num_heads)
        return MultiHeadAttentionParams(
            w_q=draw(keys[0], query_size),
            w_k=draw(keys[1], memory_size),
            w_v=draw(keys[2], memory_size),
            w_o=self.w_init(keys[3], (self.num_heads * self.head_size, memory_size)),
        )

    def prepare(self, params: MultiHeadAttentionParams, memory, mask=None) -> PreparedMemory:
        """Computes keys and values [B, S, heads, A] from a memory [B, S, M] and its mask [B, S]."""
        prepared = check_memory(memory, mask)
        project = lambda w: self._heads(dot("memory", prepared.values, w))
        return prepared._replace(keys=project(params.w_k), extra=project(params.w_v))

    def initial_state(self, params, prepared: PreparedMemory, batch_size: int, key=None) -> tuple:
        """(), because this mechanism has no state. Raises ValueError unless B divides N."""
        queries_per_row("batch_size", batch_size, prepared)
        return ()

    def attend(self, params, prepared: PreparedMemory, query, state) -> tuple[Attended, tuple]:
        """Looks up queries [N, Q]."""
        check_query(prepared, query)
        dtype = working_dtype(prepared)
        query = self._heads(dot("query", query, params.w_q))
        query = split_rows("query", query, prepared).astype(dtype)
        scores = jnp.einsum("bkha,bsha->bkhs", query, prepared.keys.astype(dtype))
        mask = None if prepared.mask is None else prepared.mask[:, None, None]
        weights = masked_softmax(scores / math.sqrt(self.head_size), mask)
        found = jnp.einsum("bkhs,bsha->bkha", weights, prepared.extra.astype(dtype))
        found = join_rows(found).reshape(-1, self.num_heads * self.head_size)
        context = dot("context", found, params.w_o).astype(dtype)
        return Attended(context, join_rows(jnp.mean(weights, axis=2))), state

    def _heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.num_heads, self.head_size)
