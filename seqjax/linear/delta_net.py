"""Memories that replace what they hold under a key: DeltaNet and gated DeltaNet."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate
from seqjax.core.products import accumulator
from seqjax.initializers.weights import GlorotUniform, Initializer
from seqjax.linear.chunks import Write
from seqjax.linear.matrix_memory import (
    MatrixMemory,
    draw_heads,
    head_sizes,
    hold_sizes,
    join_heads,
    project_heads,
)

EPSILON = 1e-6


class DeltaNetParams(NamedTuple):
    """The params of `DeltaNet`, N heads with keys of size K and values of size V = H / N.

    Fields:
      w_q: [D, N, K] of the queries.
      w_k: [D, N, K] of the keys.
      w_v: [D, N, V] of the values.
      w_beta: [D, N] of the writing strengths.
      b_beta: [N].
      w_a: [D, N] of the decays; None, as the next two, unless gated.
      b_a: [N].
      log_rate: [N].
    """

    w_q: jax.Array
    w_k: jax.Array
    w_v: jax.Array
    w_beta: jax.Array
    b_beta: jax.Array
    w_a: jax.Array | None
    b_a: jax.Array | None
    log_rate: jax.Array | None


class DeltaNetCarry(NamedTuple):
    """The state of `DeltaNet`, in at least float32.

    Fields:
      s: [B, N, K, V] memory, with sᵀ k the value it holds under a key: the transpose of the
        papers' S, which is V by K.
    """

    s: jax.Array


@final
@dataclass(frozen=True)
class DeltaNet(MatrixMemory):
    """Fast weights programmed by the delta rule, and with a forget gate.

        q, k, v = xₜ w_q / |xₜ w_q|, xₜ w_k / |xₜ w_k|, xₜ w_v   for each head
        β = σ(xₜ w_β + b_β),   log a = -exp(log_rate) softplus(xₜ w_a + b_a)
        Sₜ = a (I - β k kᵀ) Sₜ₋₁ + β k vᵀ,   yₜ = Sₜᵀ q

    A step moves the value held under k by the share β towards v: one step of gradient descent on
    |Sᵀ k - v|² / 2. Schlag, Irie and Schmidhuber 2021, section 4.2, with a = 1; gated: Yang, Kautz
    and Hatamizadeh 2024, eq. 10, with the parametrisation of a by Dao and Gu 2024 (Mamba 2).
    Keys have norm 1 (to 1e-6 in its square), so that I - β k kᵀ has the eigenvalue 1 - β; and
    queries. With negative_eigenvalues β is 2σ(...) and that eigenvalue comes from (-1, 1): Grazzi
    et al. 2024, who show that in finite precision no such network tells parity without it. The
    papers' layers have a feature map, or a convolution and SiLU, before q, k and v, and a norm, a
    gate and one more product after.

    The carry is `DeltaNetCarry`, s [B, N, K, V].

    Attributes:
      hidden_size: H, a multiple of heads.
      heads: N.
      key_size: K; None means V = H / N.
      gated: whether the memory decays.
      negative_eigenvalues: whether β comes from (0, 2).
      chunk_size: steps that `unroll` works at once; no part of the mathematics.
      w_init: initialiser of each matrix [D, N K], [D, H] or [D, N].

    Raises:
      ValueError: if a size, or input_size in `init`, is not a positive integer, heads does not
        divide hidden_size, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = DeltaNet(hidden_size=4, heads=2, gated=True)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 5), jnp.ones((5, 3)))
      >>> y.shape, carry.s.shape
      ((5, 4), (5, 2, 2, 2))
    """

    hidden_size: int
    _: KW_ONLY
    heads: int = 1
    key_size: int | None = None
    gated: bool = False
    negative_eigenvalues: bool = False
    chunk_size: int = 64
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        hold_sizes(self)

    def init(self, key: jax.Array, input_size: int) -> DeltaNetParams:
        """Draws `DeltaNetParams` for inputs [..., D].

        As in Mamba 2, -log a at x = 0 is a rate, uniform in [1, 16], times a step length,
        log-uniform in [0.001, 0.1].
        """
        checks.positive_int("input_size", input_size)
        key_size, value_size = head_sizes(self)
        keys = jax.random.split(key, 7)
        draw = lambda i, size: draw_heads(self.w_init, keys[i], input_size, self.heads, size)
        w_a = b_a = log_rate = None
        if self.gated:
            shape, bounds = (self.heads,), (math.log(1e-3), math.log(1e-1))
            steps = jnp.exp(jax.random.uniform(keys[5], shape, minval=bounds[0], maxval=bounds[1]))
            rates = jax.random.uniform(keys[6], shape, minval=1.0, maxval=16.0)
            w_a, b_a, log_rate = draw(4, 1)[..., 0], jnp.log(jnp.expm1(steps)), jnp.log(rates)
        return DeltaNetParams(
            w_q=draw(0, key_size),
            w_k=draw(1, key_size),
            w_v=draw(2, value_size),
            w_beta=draw(3, 1)[..., 0],
            b_beta=jnp.zeros(self.heads),
            w_a=w_a,
            b_a=b_a,
            log_rate=log_rate,
        )

    def initial_carry(self, params: DeltaNetParams, batch_size: int, key=None) -> DeltaNetCarry:
        """s = 0, [B, N, K, V]."""
        shape = (batch_size, *params.w_k.shape[1:], params.w_v.shape[2])
        return DeltaNetCarry(jnp.zeros(shape, accumulator(params.w_k.dtype)))

    def project(self, params: DeltaNetParams, xs: jax.Array) -> Write:
        """Unit queries and keys, values, decays and strengths: [..., D] -> [..., N, ...]."""
        q, k, v = (project_heads(xs, w) for w in params[:3])
        beta = project_heads(xs, params.w_beta, params.b_beta)
        beta = name_gate(jax.nn.sigmoid(beta), "beta")
        log_decay = jnp.zeros_like(beta)
        if params.log_rate is not None and params.w_a is not None:
            rate = jnp.exp(params.log_rate.astype(beta.dtype))
            log_decay = -rate * jax.nn.softplus(project_heads(xs, params.w_a, params.b_a))
        if self.negative_eigenvalues:
            beta = 2 * beta
        return Write(unit(q), unit(k), v, log_decay, beta)

    def pack(self, carry: DeltaNetCarry) -> tuple[jax.Array, None]:
        """s [B, N, K, V]."""
        return carry.s, None

    def unpack(self, memory: jax.Array, m: None) -> DeltaNetCarry:
        """The carry of s [B, N, K, V]."""
        return DeltaNetCarry(memory)

    def output(self, params: DeltaNetParams, xs: jax.Array, reads: jax.Array, m: Any) -> jax.Array:
        """The values read, [..., N, V], side by side, [..., H]."""
        return join_heads(reads, params.w_v.dtype)


def unit(a: jax.Array) -> jax.Array:
    """Vectors [..., K] with norm 1; 0 stays 0."""
    return a * jax.lax.rsqrt(jnp.sum(jnp.square(a), axis=-1, keepdims=True) + EPSILON)
