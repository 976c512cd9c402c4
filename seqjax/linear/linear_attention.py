"""Attention without softmax, as a recurrence."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.products import accumulator
from seqjax.initializers.weights import GlorotUniform, Initializer
from seqjax.linear.chunks import Write
from seqjax.linear.matrix_memory import (
    MatrixMemory,
    append_ones,
    draw_heads,
    head_sizes,
    hold_sizes,
    join_heads,
    project_heads,
)


class LinearAttentionParams(NamedTuple):
    """The params of `LinearAttention`, N heads with keys of size K and values of size V = H / N.

    Fields:
      w_q: [D, N, K] of the queries.
      w_k: [D, N, K] of the keys.
      w_v: [D, N, V] of the values.
    """

    w_q: jax.Array
    w_k: jax.Array
    w_v: jax.Array


class LinearAttentionCarry(NamedTuple):
    """The state of `LinearAttention`, in at least float32.

    Fields:
      s: [B, N, K, V] sum of keys times values.
      z: [B, N, K] sum of keys.
    """

    s: jax.Array
    z: jax.Array


@final
@dataclass(frozen=True)
class LinearAttention(MatrixMemory):
    """Causal attention with a kernel in place of softmax. Katharopoulos et al. 2020, eq. 16-20.

        q, k, v = φ(xₜ w_q), φ(xₜ w_k), xₜ w_v   for each head,   φ(a) = elu(a) + 1
        Sₜ = Sₜ₋₁ + k vᵀ,   zₜ = zₜ₋₁ + k
        yₜ = Sₜᵀ q / max(zₜᵀ q, epsilon)

    y is a mean of all values so far, weighted by φ(qₜ)ᵀ φ(kₛ) as softmax attention weights them
    by exp(qₜᵀ kₛ). epsilon is the authors' guard against a sum of 0. The paper's layer has
    a product of all heads with one more matrix, a residual connection and an MLP around it.

    The carry is `LinearAttentionCarry`, s [B, N, K, V] and z [B, N, K].

    Attributes:
      hidden_size: H, a multiple of heads.
      heads: N.
      key_size: K; None means V = H / N.
      epsilon: the least sum of weights.
      chunk_size: steps that `unroll` works at once; no part of the mathematics.
      w_init: initialiser of each matrix [D, N K] or [D, H].

    Raises:
      ValueError: if a size, or input_size in `init`, is not a positive integer, heads does not
        divide hidden_size, epsilon is not a positive number, or in a step if inputs are not
        floats [..., D].

    Example:
      >>> cell = LinearAttention(hidden_size=4, heads=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 5), jnp.ones((5, 3)))
      >>> y.shape, carry.s.shape, carry.z.shape
      ((5, 4), (5, 2, 2, 2), (5, 2, 2))
    """

    hidden_size: int
    _: KW_ONLY
    heads: int = 1
    key_size: int | None = None
    epsilon: float = 1e-6
    chunk_size: int = 64
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        hold_sizes(self)
        checks.hold_positive(self, "epsilon")

    def init(self, key: jax.Array, input_size: int) -> LinearAttentionParams:
        """Draws `LinearAttentionParams` for inputs [..., D]."""
        checks.positive_int("input_size", input_size)
        key_size, value_size = head_sizes(self)
        keys = jax.random.split(key, 3)
        draw = lambda i, size: draw_heads(self.w_init, keys[i], input_size, self.heads, size)
        return LinearAttentionParams(draw(0, key_size), draw(1, key_size), draw(2, value_size))

    def initial_carry(
        self, params: LinearAttentionParams, batch_size: int, key=None
    ) -> LinearAttentionCarry:
        """s = 0 [B, N, K, V] and z = 0 [B, N, K]."""
        shape = (batch_size, *params.w_k.shape[1:])
        dtype = accumulator(params.w_k.dtype)
        s = jnp.zeros((*shape, params.w_v.shape[2]), dtype)
        return LinearAttentionCarry(s, jnp.zeros(shape, dtype))

    def project(self, params: LinearAttentionParams, xs: jax.Array) -> Write:
        """Queries, keys, and values with a 1 behind them: xs [..., D] -> leaves [..., N, ...]."""
        q, k, v = (project_heads(xs, w) for w in params)
        return Write(positive(q), positive(k), append_ones(v), jnp.zeros_like(q[..., 0]))

    def pack(self, carry: LinearAttentionCarry) -> tuple[jax.Array, None]:
        """s with z as one more column, [B, N, K, V + 1]."""
        return jnp.concatenate([carry.s, carry.z[..., None]], axis=-1), None

    def unpack(self, memory: jax.Array, m: None) -> LinearAttentionCarry:
        """The carry of [B, N, K, V + 1]."""
        return LinearAttentionCarry(memory[..., :-1], memory[..., -1])

    def output(
        self, params: LinearAttentionParams, xs: jax.Array, reads: jax.Array, m: Any
    ) -> jax.Array:
        """The means [..., H] of sums [..., N, V + 1]."""
        means = reads[..., :-1] / jnp.maximum(reads[..., -1:], self.epsilon)
        return join_heads(means, params.w_v.dtype)


def positive(a: jax.Array) -> jax.Array:
    """elu(a) + 1: a + 1 where a > 0, else exp(a)."""
    return jnp.where(a > 0, a + 1, jnp.exp(jnp.minimum(a, 0)))
