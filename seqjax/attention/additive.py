"""Attention with scores from a small network: additive and concat."""

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
    look_softly,
    queries_per_row,
    split_rows,
    working_dtype,
)
from seqjax.core.products import accumulator, add_bias, dot
from seqjax.initializers.weights import GlorotUniform, Initializer

SMALLEST = 1e-24  # the least squared length: far enough from 0 for a finite derivative


class AdditiveAttentionParams(NamedTuple):
    """The params of `AdditiveAttention`.

    Fields:
      w_q: [Q, A] projects queries.
      w_k: [M, A] projects the memory.
      v: [A] turns the hidden layer into a score.
      b: [A] bias of the hidden layer; None unless normalised.
      g: [] length of v; None unless normalised.
    """

    w_q: jax.Array
    w_k: jax.Array
    v: jax.Array
    b: jax.Array | None
    g: jax.Array | None


@final
@dataclass(frozen=True)
class AdditiveAttention(Spec, doors=("prepare", "initial_state", "attend")):
    """Scores from a network with one hidden layer. Bahdanau, Cho and Bengio 2015, section A.1.2.

        eᵢⱼ = v · tanh(qᵢ w_q + mⱼ w_k)

    The memory is [B, S, M], queries are [N, Q]. When normalised, v keeps only its direction, g is
    its length, and the layer has a bias (Salimans and Kingma 2016; Raffel et al. 2017):

        eᵢⱼ = g v / ‖v‖ · tanh(qᵢ w_q + mⱼ w_k + b)

    Attributes:
      attention_size: A.
      normalised: whether v is normalised; g starts at 1/√A.
      w_init: initialiser of w_q [Q, A] and w_k [M, A].
      v_init: initialiser of v, drawn as [A, 1]; `Normal(0.0)` makes all alignments uniform at
        first.

    Raises:
      ValueError: if a size is not a positive integer; from `prepare`, if memory is not floats
        [B, S, M] or mask not [B, S] bool; from `attend`, if a query's shape does not fit.

    Example:
      >>> attention = AdditiveAttention(8)
      >>> params = attention.init(jax.random.key(0), query_size=3, memory_size=4)
      >>> prepared = attention.prepare(params, jnp.ones((2, 5, 4)))
      >>> seen, state = attention.attend(params, prepared, jnp.ones((2, 3)), ())
      >>> seen.context.shape, seen.alignment.shape
      ((2, 4), (2, 5))
    """

    attention_size: int
    _: KW_ONLY
    normalised: bool = False
    w_init: Initializer = GlorotUniform()
    v_init: Initializer = GlorotUniform()

    def __post_init__(self):
        checks.hold_ints(self, "attention_size")

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> AdditiveAttentionParams:
        """Draws `AdditiveAttentionParams` for queries [..., Q] and memories [..., M]."""
        checks.positive_int("query_size", query_size)
        checks.positive_int("memory_size", memory_size)
        key_q, key_k, key_v = jax.random.split(key, 3)
        size = self.attention_size
        return AdditiveAttentionParams(
            w_q=self.w_init(key_q, (query_size, size)),
            w_k=self.w_init(key_k, (memory_size, size)),
            v=self.v_init(key_v, (size, 1))[:, 0],
            b=jnp.zeros(size) if self.normalised else None,
            g=jnp.asarray(size**-0.5) if self.normalised else None,
        )

    def prepare(self, params: AdditiveAttentionParams, memory, mask=None) -> PreparedMemory:
        """Computes keys m w_k [B, S, A] from a memory [B, S, M] and its mask [B, S]."""
        return prepare_keys(params.w_k, memory, mask)

    def initial_state(self, params, prepared: PreparedMemory, batch_size: int, key=None) -> tuple:
        """(), because this mechanism has no state. Raises ValueError unless B divides N."""
        queries_per_row("batch_size", batch_size, prepared)
        return ()

    def attend(self, params, prepared: PreparedMemory, query, state) -> tuple[Attended, tuple]:
        """Looks up queries [N, Q]."""
        check_query(prepared, query)
        query = split_rows("query", add_bias(dot("query", query, params.w_q), params.b), prepared)
        return look_softly(prepared, energies(prepared, query, scaled_v(params.v, params.g))), state


class ConcatAttentionParams(NamedTuple):
    """The params of `ConcatAttention`.

    Fields:
      w: [Q + M, A] projects queries with its first Q rows, the memory with the others.
      v: [A] turns the hidden layer into a score.
    """

    w: jax.Array
    v: jax.Array


@final
@dataclass(frozen=True)
class ConcatAttention(Spec, doors=("prepare", "initial_state", "attend")):
    """Scores from a query and a place, concatenated. Luong, Pham and Manning 2015, section 3.1.

        eᵢⱼ = v · tanh([qᵢ; mⱼ] w)

    The memory is [B, S, M], queries are [N, Q]. Scores are those of `AdditiveAttention` with
    w = [w_q; w_k], and the memory's part of the product is computed once.

    Attributes:
      attention_size: A.
      w_init: initialiser of w [Q + M, A], and of v, drawn as [A, 1].

    Raises:
      ValueError: as `AdditiveAttention`.

    Example:
      >>> attention = ConcatAttention(8)
      >>> params = attention.init(jax.random.key(0), query_size=3, memory_size=4)
      >>> params.w.shape
      (7, 8)
    """

    attention_size: int
    _: KW_ONLY
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        checks.hold_ints(self, "attention_size")

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> ConcatAttentionParams:
        """Draws `ConcatAttentionParams` for queries [..., Q] and memories [..., M]."""
        checks.positive_int("query_size", query_size)
        checks.positive_int("memory_size", memory_size)
        key_w, key_v = jax.random.split(key)
        w = self.w_init(key_w, (query_size + memory_size, self.attention_size))
        return ConcatAttentionParams(w, self.w_init(key_v, (self.attention_size, 1))[:, 0])

    def prepare(self, params: ConcatAttentionParams, memory, mask=None) -> PreparedMemory:
        """Computes the memory's part of the product, [B, S, A], as keys."""
        width = jnp.shape(memory)[-1] if jnp.ndim(memory) else 0
        return prepare_keys(params.w[max(params.w.shape[0] - width, 0) :], memory, mask)

    def initial_state(self, params, prepared: PreparedMemory, batch_size: int, key=None) -> tuple:
        """(), because this mechanism has no state. Raises ValueError unless B divides N."""
        queries_per_row("batch_size", batch_size, prepared)
        return ()

    def attend(self, params, prepared: PreparedMemory, query, state) -> tuple[Attended, tuple]:
        """Looks up queries [N, Q]."""
        check_query(prepared, query)
        w_q = params.w[: params.w.shape[0] - prepared.values.shape[-1]]
        query = split_rows("query", dot("query", query, w_q), prepared)
        return look_softly(prepared, energies(prepared, query, params.v)), state


def prepare_keys(w_k: jax.Array, memory, mask) -> PreparedMemory:
    """A checked memory [B, S, M], with keys m w_k [B, S, A]."""
    prepared = check_memory(memory, mask)
    return prepared._replace(keys=dot("memory", prepared.values, w_k))


def energies(prepared: PreparedMemory, query, v, extra: jax.Array | None = None) -> jax.Array:
    """v · tanh(query + key + extra): [B, K, A], [B, S, A] and [B, K, S, A] -> scores [B, K, S]."""
    dtype = working_dtype(prepared)
    hidden = query[:, :, None].astype(dtype) + prepared.keys[:, None].astype(dtype)
    if extra is not None:
        hidden = hidden + extra.astype(dtype)
    return jnp.tanh(hidden) @ v.astype(dtype)


def scaled_v(v: jax.Array, g: jax.Array | None) -> jax.Array:
    """g v / ‖v‖ [A], which is 0 if v is 0; v itself if g is None."""
    if g is None:
        return v
    v, g = (a.astype(accumulator(a.dtype)) for a in (v, g))
    return g * v * jax.lax.rsqrt(jnp.maximum(jnp.sum(v * v), SMALLEST))
