"""What an attention mechanism is, and the masked softmax that all of them share.

Notation, in addition to the package's:
  M memory size · Q query size · A attention size, to which both are projected
  N = B K queries, K contiguous ones for each of the B rows of the memory
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.types import Carry, Params, Tree
from seqjax.core.products import accumulator


class Attended(NamedTuple):
    """What a query found.

    Fields:
      context: [N, M] weighted mean of the memory, in at least float32; 0 where all of it is masked.
      alignment: [N, S] weights, in at least float32; each row sums to 1, or to 0 where all of the
        memory is masked.
    """

    context: jax.Array
    alignment: jax.Array


class PreparedMemory(NamedTuple):
    """A memory made ready for many queries.

    Fields:
      values: [B, S, M], which contexts are means of; 0 where masked.
      keys: [B, S, ...], which queries are compared with, projected from values.
      mask: [B, S] bool, True = real; None means that all places are real.
      extra: whatever else a mechanism prepares, leaves [B, ...].
    """

    values: jax.Array
    keys: jax.Array
    mask: jax.Array | None
    extra: Tree = ()


class Attention(Protocol):
    """A way to look things up in a memory, as a frozen spec with pure methods.

        eᵢⱼ = score(queryᵢ, memoryⱼ),  αᵢⱼ = exp(eᵢⱼ) / Σⱼ exp(eᵢⱼ),  contextᵢ = Σⱼ αᵢⱼ memoryⱼ

    The memory [B, S, M] is prepared once, which zeroes masked places: nothing in them, NaN
    included, has any effect afterwards. Queries are [N, Q] with N = B K: the K hypotheses of a
    beam, or K steps of a sequence, share their row of the memory without a copy. Where a row is
    masked entirely, its alignment, its context and all its gradients are 0.

    Bahdanau, Cho and Bengio 2015, section 3.1.

    Example:
      >>> import seqjax as sj
      >>> memory = jnp.arange(6.0).reshape(1, 3, 2)
      >>> attention, beams = sj.attention.DotAttention(), jnp.eye(2) * 9
      >>> prepared = attention.prepare((), memory, jnp.array([[True, True, False]]))
      >>> seen, state = attention.attend((), prepared, beams, ())
      >>> print(seen.context.round(2).tolist())
      [[2.0, 3.0], [2.0, 3.0]]
    """

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> Params:
        """Draws params for queries [..., Q] and memories [..., M]."""
        ...

    def prepare(
        self, params: Params, memory: jax.Array, mask: jax.Array | None = None
    ) -> PreparedMemory:
        """Computes what queries share: from a memory [B, S, M] and its mask [B, S]."""
        ...

    def initial_state(
        self,
        params: Params,
        prepared: PreparedMemory,
        batch_size: int,
        key: jax.Array | None = None,
    ) -> Carry:
        """The state for the first `attend` with N = batch_size queries, leaves [N, ...]."""
        ...

    def attend(
        self, params: Params, prepared: PreparedMemory, query: jax.Array, state: Carry
    ) -> tuple[Attended, Carry]:
        """Looks up queries [N, Q] after a state; returns what they found and the next state."""
        ...


def check_attention(attention: Any) -> None:
    """Raises ValueError unless an object has what an attention must have."""
    checks.require(
        hasattr(attention, "attend") and not isinstance(attention, type),
        f"attention is {attention!r}; expected one such as AdditiveAttention(64).",
    )


def check_memory(memory: Any, mask: Any) -> PreparedMemory:
    """A memory with zeros in masked places, and with itself as keys.

    Raises:
      ValueError: if memory is not floats [B, S, M] with S of at least 1, or mask not [B, S] bool.
    """
    memory = jnp.asarray(memory)
    checks.require(
        memory.ndim == 3 and memory.shape[1] > 0 and checks.is_float(memory),
        f"memory is {memory.dtype}{list(memory.shape)}; expected floats [B, S, M] with at least "
        "one place. For a grid [B, Y, X, M] use SpatialAttention.",
    )
    if mask is None:
        return PreparedMemory(memory, memory, None)
    mask = jnp.asarray(mask)
    checks.require(
        mask.dtype == jnp.bool_,
        f"memory_mask has dtype {mask.dtype}; expected bool [B, S]. From lengths, make it "
        "with jnp.arange(S) < lengths[:, None].",
    )
    checks.require(
        mask.shape == memory.shape[:2],
        f"memory_mask has shape {mask.shape} but memory is {list(memory.shape)}; expected "
        f"[B, S] = {memory.shape[:2]}.",
    )
    memory = jnp.where(mask[..., None], memory, jnp.zeros((), memory.dtype))
    return PreparedMemory(memory, memory, mask)


def check_query(prepared: Any, query: Any) -> None:
    """Raises ValueError unless a memory is prepared and queries are floats [N, Q]."""
    checks.require(
        isinstance(prepared, PreparedMemory),
        f"prepared is {type(prepared).__name__}; expected a PreparedMemory. Make it once with "
        "prepare(params, memory, mask).",
    )
    checks.require(
        query.ndim == 2 and checks.is_float(query),
        f"query is {query.dtype}{list(query.shape)}; expected floats [N, Q], one row for each row "
        "of the memory. For a single query [Q] pass query[None].",
    )


def queries_per_row(name: str, rows: int, prepared: PreparedMemory) -> int:
    """K = N / B, for something with N rows.

    Raises:
      ValueError: if N is not a multiple of B.
    """
    batch_size = prepared.values.shape[0]
    fits = rows == batch_size or (batch_size > 0 and rows % batch_size == 0)
    checks.require(
        fits,
        f"{name} has {rows} rows but memory has {batch_size}; expected a multiple, K contiguous "
        "rows for each row of the memory.",
    )
    return rows // batch_size if batch_size else 1


def split_rows(name: str, x: jax.Array, prepared: PreparedMemory) -> jax.Array:
    """x [N, ...] as [B, K, ...].

    Raises:
      ValueError: if N is not a multiple of B.
    """
    times = queries_per_row(name, x.shape[0], prepared)
    return x.reshape(prepared.values.shape[0], times, *x.shape[1:])


def join_rows(x: jax.Array) -> jax.Array:
    """x [B, K, ...] as [N, ...]."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def masked_softmax(scores: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Softmax over the last axis in at least float32, with 0 in masked places.

    Args:
      scores: [..., S].
      mask: [..., S] bool, True = real; None means that all places are real.

    Returns:
      [..., S]. Each row sums to 1; a row that is masked entirely is 0 and has finite gradients.
    """
    scores = scores.astype(accumulator(scores.dtype))
    real = jnp.ones((), bool) if mask is None else mask
    lowest = jnp.finfo(scores.dtype).min
    scores = jnp.where(real, scores, lowest)
    top = jnp.max(jax.lax.stop_gradient(scores), axis=-1, keepdims=True, initial=lowest)
    powers = jnp.where(real, jnp.exp(scores - top), 0)
    total = jnp.sum(powers, axis=-1, keepdims=True)
    return powers / jnp.where(total > 0, total, 1)


def look(prepared: PreparedMemory, alignment: jax.Array) -> Attended:
    """The contexts for alignments [B, K, S], with rows joined."""
    dtype = accumulator(prepared.values.dtype)
    values = prepared.values.astype(dtype)
    context = jnp.einsum("bks,bsm->bkm", alignment.astype(dtype), values)
    return Attended(join_rows(context), join_rows(alignment.astype(dtype)))


def look_softly(prepared: PreparedMemory, scores: jax.Array) -> Attended:
    """The softmax of scores [B, K, S] over real places, and the contexts for it."""
    mask = None if prepared.mask is None else prepared.mask[:, None]
    return look(prepared, masked_softmax(scores.astype(working_dtype(prepared)), mask))


def working_dtype(prepared: PreparedMemory) -> Any:
    """The dtype for scores, alignments and contexts: at least float32."""
    return accumulator(prepared.values.dtype)
