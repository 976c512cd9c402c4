"""Attention with products as scores: dot and general."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.attention.additive import prepare_keys
from seqjax.attention.base import (
    Attended,
    PreparedMemory,
    check_memory,
    check_query,
    look_softly,
    queries_per_row,
    split_rows,
    working_dtype,
)
from seqjax.initializers.weights import GlorotUniform, Initializer


@final
@dataclass(frozen=True)
class DotAttention(Spec, doors=("prepare", "initial_state", "attend")):
    """Scores from inner products. Luong, Pham and Manning 2015, section 3.1.

        eᵢⱼ = qᵢ · mⱼ,   scaled: qᵢ · mⱼ / √M

    The memory is [B, S, M], queries are [N, M]; there are no params. Scaling gives scores variance
    1 if queries and memory are independent numbers with variance 1 (Vaswani et al. 2017, section
    3.2.1).

    Attributes:
      scaled: whether scores are divided by √M.

    Raises:
      ValueError: from `init`, if query_size and memory_size are not equal positive integers; from
        `prepare`, if memory is not floats [B, S, M] or mask not [B, S] bool; from `attend`, if a
        query's shape does not fit.

    Example:
      >>> attention = DotAttention()
      >>> prepared = attention.prepare((), jnp.array([[[1.0, 0.0], [0.0, 1.0]]]))
      >>> seen, state = attention.attend((), prepared, jnp.array([[0.0, 0.0]]), ())
      >>> print(seen.context)
      [[0.5 0.5]]
    """

    _: KW_ONLY
    scaled: bool = False

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> tuple:
        """(), because there is nothing to learn. Raises ValueError unless Q = M."""
        checks.positive_int("query_size", query_size)
        checks.positive_int("memory_size", memory_size)
        checks.require(
            query_size == memory_size,
            f"query_size is {query_size} but memory_size is {memory_size}; DotAttention needs "
            "them equal. Use GeneralAttention.",
        )
        return ()

    def prepare(self, params: tuple, memory, mask=None) -> PreparedMemory:
        """Takes a memory [B, S, M] with its mask [B, S] as its own keys."""
        return check_memory(memory, mask)

    def initial_state(self, params, prepared: PreparedMemory, batch_size: int, key=None) -> tuple:
        """(), because this mechanism has no state. Raises ValueError unless B divides N."""
        queries_per_row("batch_size", batch_size, prepared)
        return ()

    def attend(self, params, prepared: PreparedMemory, query, state) -> tuple[Attended, tuple]:
        """Looks up queries [N, M]."""
        scores = product_scores(prepared, query)
        scale = 1 / math.sqrt(prepared.keys.shape[-1]) if self.scaled else 1.0
        return look_softly(prepared, scores * scale), state


class GeneralAttentionParams(NamedTuple):
    """The params of `GeneralAttention`.

    Fields:
      w: [M, Q] projects the memory to the size of queries.
    """

    w: jax.Array


@final
@dataclass(frozen=True)
class GeneralAttention(Spec, doors=("prepare", "initial_state", "attend")):
    """Scores from a bilinear form. Luong, Pham and Manning 2015, section 3.1.

        eᵢⱼ = (mⱼ w) · qᵢ

    The memory is [B, S, M], queries are [N, Q].

    Attributes:
      w_init: initialiser of w [M, Q].

    Raises:
      ValueError: from `init`, if a size is not a positive integer; from `prepare`, if memory is not
        floats [B, S, M] or mask not [B, S] bool; from `attend`, if a query's shape does not fit.

    Example:
      >>> attention = GeneralAttention()
      >>> params = attention.init(jax.random.key(0), query_size=3, memory_size=4)
      >>> prepared = attention.prepare(params, jnp.ones((2, 5, 4)))
      >>> seen, state = attention.attend(params, prepared, jnp.ones((6, 3)), ())
      >>> seen.context.shape, seen.alignment.shape
      ((6, 4), (6, 5))
    """

    _: KW_ONLY
    w_init: Initializer = GlorotUniform()

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> GeneralAttentionParams:
        """Draws `GeneralAttentionParams` for queries [..., Q] and memories [..., M]."""
        checks.positive_int("query_size", query_size)
        checks.positive_int("memory_size", memory_size)
        return GeneralAttentionParams(self.w_init(key, (memory_size, query_size)))

    def prepare(self, params: GeneralAttentionParams, memory, mask=None) -> PreparedMemory:
        """Computes keys m w [B, S, Q] from a memory [B, S, M] and its mask [B, S]."""
        return prepare_keys(params.w, memory, mask)

    def initial_state(self, params, prepared: PreparedMemory, batch_size: int, key=None) -> tuple:
        """(), because this mechanism has no state. Raises ValueError unless B divides N."""
        queries_per_row("batch_size", batch_size, prepared)
        return ()

    def attend(self, params, prepared: PreparedMemory, query, state) -> tuple[Attended, tuple]:
        """Looks up queries [N, Q]."""
        return look_softly(prepared, product_scores(prepared, query)), state


def product_scores(prepared: PreparedMemory, query: jax.Array) -> jax.Array:
    """q · key: queries [N, Q] and keys [B, S, Q] -> [B, K, S].

    Raises:
      ValueError: if query is not floats [N, Q], or N not a multiple of B.
    """
    check_query(prepared, query)
    width = prepared.keys.shape[-1]
    checks.require(
        query.shape[1] == width,
        f"query is {query.dtype}{list(query.shape)}; expected floats [N, {width}], the width of "
        "the keys.",
    )
    dtype = working_dtype(prepared)
    query = split_rows("query", query, prepared).astype(dtype)
    return jnp.einsum("bkq,bsq->bks", query, prepared.keys.astype(dtype))
