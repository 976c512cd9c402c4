"""Additive attention that sees what it has read already, and a loss against reading it again."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax._internal.specs import Spec
from seqjax.attention.additive import AdditiveAttention, energies, prepare_keys
from seqjax.attention.base import (
    Attended,
    PreparedMemory,
    check_query,
    look_softly,
    split_rows,
)
from seqjax.attention.location import no_alignment
from seqjax.core.products import accumulator, add_bias, dot
from seqjax.initializers.weights import GlorotUniform, Initializer


class CoverageAttentionParams(NamedTuple):
    """The params of `CoverageAttention`.

    Fields:
      w_q: [Q, A] projects queries.
      w_k: [M, A] projects the memory.
      w_c: [A] projects a place's coverage.
      v: [A] turns the hidden layer into a score.
      b: [A] bias of the hidden layer.
    """

    w_q: jax.Array
    w_k: jax.Array
    w_c: jax.Array
    v: jax.Array
    b: jax.Array


@final
@dataclass(frozen=True)
class CoverageAttention(Spec, doors=("prepare", "initial_state", "attend")):
    """Scores from a place's content and from how much of it was read before.

        cᵢ = Σ αₖ over k < i,   eᵢⱼ = v · tanh(qᵢ w_q + mⱼ w_k + cᵢⱼ w_c + b)

    The memory is [B, S, M], queries are [N, Q], coverage c is [N, S]. See, Liu and Manning 2017,
    equations 10 and 11. Train it with `coverage_loss`.

    Attributes:
      attention_size: A.
      w_init: initialiser of w_q and w_k, and of v and w_c, drawn as [A, 1] and [1, A].

    Raises:
      ValueError: as `AdditiveAttention`.

    Example:
      >>> attention = CoverageAttention(8)
      >>> params = attention.init(jax.random.key(0), query_size=3, memory_size=4)
      >>> prepared = attention.prepare(params, jnp.ones((2, 5, 4)))
      >>> state = attention.initial_state(params, prepared, batch_size=2)
      >>> seen, state = attention.attend(params, prepared, jnp.ones((2, 3)), state)
      >>> seen, state = attention.attend(params, prepared, jnp.ones((2, 3)), state)
      >>> print(state.sum(axis=1).round(3))
      [2. 2.]
    """

    attention_size: int
    _: KW_ONLY
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        checks.hold_ints(self, "attention_size")

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> CoverageAttentionParams:
        """Draws `CoverageAttentionParams` for queries [..., Q] and memories [..., M]."""
        key_a, key_c = jax.random.split(key)
        size = self.attention_size
        plain = AdditiveAttention(size, w_init=self.w_init, v_init=self.w_init)
        own = plain.init(key_a, query_size, memory_size)
        w_c = self.w_init(key_c, (1, size))[0]
        return CoverageAttentionParams(own.w_q, own.w_k, w_c, own.v, jnp.zeros(size))

    def prepare(self, params: CoverageAttentionParams, memory, mask=None) -> PreparedMemory:
        """Computes keys m w_k [B, S, A] from a memory [B, S, M] and its mask [B, S]."""
        return prepare_keys(params.w_k, memory, mask)

    def initial_state(self, params, prepared: PreparedMemory, batch_size: int, key=None):
        """The coverage before the first query, zeros [N, S]. Raises unless B divides N."""
        return no_alignment(prepared, batch_size)

    def attend(
        self, params: CoverageAttentionParams, prepared: PreparedMemory, query, state: jax.Array
    ) -> tuple[Attended, jax.Array]:
        """Looks up queries [N, Q] after coverage `state` [N, S]; adds their alignments to it."""
        check_query(prepared, query)
        query = split_rows("query", add_bias(dot("query", query, params.w_q), params.b), prepared)
        extra = state[..., None] * params.w_c.astype(state.dtype)
        extra = split_rows("state", extra, prepared)
        seen = look_softly(prepared, energies(prepared, query, params.v, extra))
        return seen, state + seen.alignment


@own_ranks
def coverage_loss(alignments: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
    """Measures how much is read again, per real step.

        loss = Σₜ Σⱼ min(αₜⱼ, cₜⱼ) / number of real steps,   cₜ = Σ αₖ over k < t

    The loss lies between 0, when no place is read twice, and 1. See, Liu and Manning 2017,
    equations 12 and 13, add it to the cross-entropy with weight 1.

    Args:
      alignments: [B, T, S].
      mask: [B, T] bool, True = real; masked steps do not count. None means that all are real.

    Returns:
      A scalar [] without a unit, in at least float32; 0 if no step is real.

    Raises:
      ValueError: if alignments is not floats [B, T, S], or mask not [B, T] bool.

    Example:
      >>> once, again = jnp.eye(2)[None], jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
      >>> print(coverage_loss(once), coverage_loss(again))
      0.0 0.5
    """
    alignments, mask = check_alignments(alignments, mask)
    before = jnp.pad(jnp.cumsum(alignments, axis=1), ((0, 0), (1, 0), (0, 0)))[:, :-1]
    total = jnp.sum(jnp.minimum(alignments, before))
    return total / jnp.maximum(jnp.sum(mask), 1).astype(total.dtype)


def check_alignments(alignments: jax.Array, mask) -> tuple[jax.Array, jax.Array]:
    """Alignments [B, T, S] in at least float32, with zeros where masked, and a mask [B, T].

    Raises:
      ValueError: if alignments is not floats [B, T, S], or mask not [B, T] bool.
    """
    alignments = jnp.asarray(alignments)
    checks.require(
        alignments.ndim == 3 and checks.is_float(alignments),
        f"alignments is {alignments.dtype}{list(alignments.shape)}; expected floats [B, T, S].",
    )
    alignments = alignments.astype(accumulator(alignments.dtype))
    mask = jnp.ones(alignments.shape[:2], bool) if mask is None else jnp.asarray(mask)
    checks.require(
        mask.dtype == jnp.bool_ and mask.shape == alignments.shape[:2],
        f"mask is {mask.dtype}{list(mask.shape)} but alignments is {list(alignments.shape)}; "
        f"expected bool [B, T] = {list(alignments.shape[:2])}.",
    )
    return jnp.where(mask[..., None], alignments, 0), mask
