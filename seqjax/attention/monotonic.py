"""Attention that reads from left to right and never goes back."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.attention.additive import AdditiveAttention, energies, prepare_keys, scaled_v
from seqjax.attention.base import (
    Attended,
    PreparedMemory,
    check_query,
    look,
    queries_per_row,
    split_rows,
    working_dtype,
)
from seqjax.core.noise import Noise, draw_rows, fold_in_rows
from seqjax.core.products import add_bias, dot
from seqjax.initializers.weights import GlorotUniform, Initializer


class MonotonicAttentionParams(NamedTuple):
    """The params of `MonotonicAttention`.

    Fields:
      w_q: [Q, A] projects queries.
      w_k: [M, A] projects the memory.
      v: [A] turns the hidden layer into a score; only its direction counts.
      b: [A] bias of the hidden layer.
      g: [] length that v is given.
      r: [] offset of the score.
    """

    w_q: jax.Array
    w_k: jax.Array
    v: jax.Array
    b: jax.Array
    g: jax.Array
    r: jax.Array


class MonotonicState(NamedTuple):
    """The state of `MonotonicAttention`.

    Fields:
      alignment: [N, S] of the last query; before the first query, all weight is on place 0.
      noise: a `Noise` with [N] rows; None without a key.
    """

    alignment: jax.Array
    noise: Noise | None


@final
@dataclass(frozen=True)
class MonotonicAttention(Spec, doors=("prepare", "initial_state", "attend")):
    """Continues from the last query's place, and stops at each place with probability p.

        pᵢⱼ = σ(eᵢⱼ + noise),   eᵢⱼ = g v / ‖v‖ · tanh(qᵢ w_q + mⱼ w_k + b) + r
        αᵢⱼ = pᵢⱼ qᵢⱼ,   qᵢⱼ = (1 - pᵢⱼ₋₁) qᵢⱼ₋₁ + αᵢ₋₁ⱼ,   α₀ = (1, 0, 0, ...)

    α is the expected alignment of this process: Raffel, Luong, Liu, Weiss and Eck 2017. The
    recurrence runs as an associative scan without division or clipping, so it is exact for memories
    of any length. The sum of α, at most 1, is the probability that the query stopped anywhere. A
    process that runs past the end never returns, and its context is 0. Masked places are skipped.

    With a key, normal noise with standard deviation `noise` is added before σ, which drives p
    towards 0 or 1. Each draw depends only on key, row, step and place. `hard` runs the process
    itself, as at test time: p is 1 where e > 0 and 0 elsewhere, so each query finds one place or
    none.

    The memory is [B, S, M], queries are [N, Q]; the state is a `MonotonicState`.

    Attributes:
      attention_size: A.
      hard: whether to decide instead of taking the expectation; scores then have no gradient.
      noise: standard deviation before σ, with a key; `hard` ignores it.
      offset: initial r; a negative one looks far ahead at first.
      w_init: initialiser of w_q and w_k, and of v, drawn as [A, 1].

    Raises:
      ValueError: if noise is negative, or noise or offset is not a finite number; otherwise as
        `AdditiveAttention`.

    Example:
      >>> attention = MonotonicAttention(8, offset=1.0)
      >>> params = attention.init(jax.random.key(0), query_size=3, memory_size=4)
      >>> prepared = attention.prepare(params, jnp.ones((2, 5, 4)))
      >>> state = attention.initial_state(params, prepared, batch_size=2)
      >>> seen, state = attention.attend(params, prepared, jnp.ones((2, 3)), state)
      >>> seen.alignment.shape, bool((seen.alignment.sum(axis=1) <= 1).all())
      ((2, 5), True)
    """

    attention_size: int
    _: KW_ONLY
    hard: bool = False
    noise: float = 1.0
    offset: float = -1.0
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        checks.hold_ints(self, "attention_size")
        checks.hold_numbers(self, "noise", "offset")
        checks.require(
            self.noise >= 0, f"noise is {self.noise!r}; expected a standard deviation, at least 0."
        )

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> MonotonicAttentionParams:
        """Draws `MonotonicAttentionParams` for queries [..., Q] and memories [..., M]."""
        size = self.attention_size
        plain = AdditiveAttention(size, w_init=self.w_init, v_init=self.w_init)
        own = plain.init(key, query_size, memory_size)
        return MonotonicAttentionParams(
            w_q=own.w_q,
            w_k=own.w_k,
            v=own.v,
            b=jnp.zeros(size),
            g=jnp.asarray(1 / math.sqrt(size)),
            r=jnp.asarray(self.offset),
        )

    def prepare(self, params: MonotonicAttentionParams, memory, mask=None) -> PreparedMemory:
        """Computes keys m w_k [B, S, A] from a memory [B, S, M] and its mask [B, S]."""
        return prepare_keys(params.w_k, memory, mask)

    def initial_state(
        self, params, prepared: PreparedMemory, batch_size: int, key: jax.Array | None = None
    ) -> MonotonicState:
        """All weight on place 0, [N, S]; a key starts the noise. Raises unless B divides N."""
        queries_per_row("batch_size", batch_size, prepared)
        first = jnp.arange(prepared.values.shape[1]) == 0
        alignment = jnp.broadcast_to(first, (batch_size, *first.shape))
        return MonotonicState(
            alignment.astype(working_dtype(prepared)),
            None if key is None else Noise.from_key(key, batch_size),
        )

    def attend(
        self, params: MonotonicAttentionParams, prepared: PreparedMemory, query, state
    ) -> tuple[Attended, MonotonicState]:
        """Looks up queries [N, Q], continuing from the places of the last ones."""
        check_query(prepared, query)
        query = split_rows("query", add_bias(dot("query", query, params.w_q), params.b), prepared)
        scores = energies(prepared, query, scaled_v(params.v, params.g))
        scores = scores + params.r.astype(scores.dtype)
        noise = state.noise
        if noise is not None and not self.hard:
            drawn = _draw(noise.each_step(), scores.shape[-1]).astype(scores.dtype)
            scores = scores + self.noise * split_rows("state", drawn, prepared)
        before = split_rows("state", state.alignment, prepared)
        mask = None if prepared.mask is None else prepared.mask[:, None]
        seen = look(prepared, expected_alignment(_stops(scores, self.hard), before, mask))
        noise = None if noise is None else noise.advance()
        return seen, MonotonicState(seen.alignment, noise)


def expected_alignment(stops: tuple[jax.Array, jax.Array], before, mask=None) -> jax.Array:
    """αⱼ = pⱼ qⱼ,  qⱼ = (1 - pⱼ₋₁) qⱼ₋₁ + beforeⱼ,  over the last axis.

    Args:
      stops: p and 1 - p, both [..., S], so that neither is lost to rounding.
      before: [..., S], the alignment to continue from.
      mask: [..., S] bool; masked places have p = 0.

    Returns:
      α [..., S].
    """
    p, passes = stops
    if mask is not None:
        p, passes = jnp.where(mask, p, 0), jnp.where(mask, passes, 1)
    nothing = jnp.zeros((*passes.shape[:-1], 1), passes.dtype)
    decay = jnp.concatenate([nothing, passes[..., :-1]], axis=-1)
    join = lambda one, two: (one[0] * two[0], one[1] * two[0] + two[1])
    _, reached = jax.lax.associative_scan(join, (decay, before), axis=-1)
    return p * reached


def _stops(scores: jax.Array, hard: bool) -> tuple[jax.Array, jax.Array]:
    """The probabilities of stopping and of passing on."""
    if hard:
        stop = (scores > 0).astype(scores.dtype)
        return stop, 1 - stop
    return jax.nn.sigmoid(scores), jax.nn.sigmoid(-scores)


def _draw(keys: jax.Array, size: int) -> jax.Array:
    """Normal numbers [N, size] from keys [N], place by place."""
    places = jnp.broadcast_to(jnp.arange(size), (*keys.shape, size))
    return draw_rows(lambda key: jax.random.normal(key), fold_in_rows(keys, places))
