"""The LSTM with a matrix for a memory."""

from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate
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

LEAST_M = -80.0  # exp(80) is a float32; behind so large a divisor nothing is left


class MLSTMParams(NamedTuple):
    """The params of `MLSTM`, N heads with keys of size K and values of size V = H / N.

    Fields:
      w_q: [D, N, K] of the queries.
      w_k: [D, N, K] of the keys.
      w_v: [D, N, V] of the values.
      w_i: [D, N] of the input gates.
      w_f: [D, N] of the forget gates.
      w_o: [D, N, V] of the output gates.
      b_q: [N, K].
      b_k: [N, K].
      b_v: [N, V].
      b_i: [N].
      b_f: [N].
      b_o: [N, V].
    """

    w_q: jax.Array
    w_k: jax.Array
    w_v: jax.Array
    w_i: jax.Array
    w_f: jax.Array
    w_o: jax.Array
    b_q: jax.Array
    b_k: jax.Array
    b_v: jax.Array
    b_i: jax.Array
    b_f: jax.Array
    b_o: jax.Array


class MLSTMCarry(NamedTuple):
    """The state of an `MLSTM`, in at least float32; c and n are what they stand for times exp(-m).

    Fields:
      c: [B, N, K, V] memory, the paper's C transposed.
      n: [B, N, K] sum of keys.
      m: [B, N] logarithm of their scale.
    """

    c: jax.Array
    n: jax.Array
    m: jax.Array


@final
@dataclass(frozen=True)
class MLSTM(MatrixMemory):
    """Long short-term memory with a matrix for c. Beck et al. 2024, eq. 19-27.

        q, k, v = xₜ w_q + b_q, xₜ w_k / √K + b_k, xₜ w_v + b_v   for each head
        i, f, o = xₜ w_i + b_i, xₜ w_f + b_f, xₜ w_o + b_o
        Cₜ = φ(f) Cₜ₋₁ + exp(i) k vᵀ,   nₜ = φ(f) nₜ₋₁ + exp(i) k
        yₜ = σ(o) ⊙ Cₜᵀ q / max(|nₜᵀ q|, 1)

    C and n are held as C exp(-m) and n exp(-m), mₜ = max(log φ(f) + mₜ₋₁, i), so that no gate
    overflows; beside them the 1 becomes exp(-m). That is the paper's equation, not the variant
    that puts 1 beside what is held and so depends on m. The divisor is held at epsilon or more,
    which acts where |nᵀ q| is below a millionth of the scale of n, a rounding error; the authors'
    code adds epsilon. The paper's block has a causal convolution before q and k, a normalisation of
    each head and a gated projection around it.

    The carry is `MLSTMCarry`, c [B, N, K, V], n [B, N, K] and m [B, N].

    Attributes:
      hidden_size: H, a multiple of heads.
      heads: N.
      key_size: K; None means V = H / N.
      forget_gate: φ, "sigmoid" or "exponential".
      forget_bias: b_f at `init` goes evenly from the first to the second number over the heads;
        of one head it is the first.
      epsilon: the least divisor, on the scale exp(m).
      chunk_size: steps that `unroll` works at once; no part of the mathematics.
      w_init: initialiser of each matrix [D, N K], [D, H] or [D, N].

    Raises:
      ValueError: if a size, or input_size in `init`, is not a positive integer, heads does not
        divide hidden_size, forget_gate is neither of the two, forget_bias is not a pair of finite
        numbers, epsilon is not a positive number, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = MLSTM(hidden_size=4, heads=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 5), jnp.ones((5, 3)))
      >>> y.shape, carry.c.shape, carry.m.shape
      ((5, 4), (5, 2, 2, 2), (5, 2))
    """

    hidden_size: int
    _: KW_ONLY
    heads: int = 1
    key_size: int | None = None
    forget_gate: Literal["sigmoid", "exponential"] = "sigmoid"
    forget_bias: tuple[float, float] = (3.0, 6.0)
    epsilon: float = 1e-6
    chunk_size: int = 64
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        hold_sizes(self)
        checks.one_of("forget_gate", self.forget_gate, ("sigmoid", "exponential"))
        checks.hold_pair(self, "forget_bias")
        checks.hold_positive(self, "epsilon")

    def init(self, key: jax.Array, input_size: int) -> MLSTMParams:
        """Draws `MLSTMParams` for inputs [..., D]; biases are 0 but for b_f."""
        checks.positive_int("input_size", input_size)
        key_size, value_size = head_sizes(self)
        keys = jax.random.split(key, 6)
        draw = lambda i, size: draw_heads(self.w_init, keys[i], input_size, self.heads, size)
        zeros = lambda *shape: jnp.zeros((self.heads, *shape))
        return MLSTMParams(
            w_q=draw(0, key_size),
            w_k=draw(1, key_size),
            w_v=draw(2, value_size),
            w_i=draw(3, 1)[..., 0],
            w_f=draw(4, 1)[..., 0],
            w_o=draw(5, value_size),
            b_q=zeros(key_size),
            b_k=zeros(key_size),
            b_v=zeros(value_size),
            b_i=zeros(),
            b_f=jnp.linspace(*self.forget_bias, self.heads),
            b_o=zeros(value_size),
        )

    def initial_carry(self, params: MLSTMParams, batch_size: int, key=None) -> MLSTMCarry:
        """c = 0 [B, N, K, V], n = 0 [B, N, K] and m = 0 [B, N]."""
        heads, key_size = params.w_k.shape[1:]
        zeros = lambda *shape: jnp.zeros((batch_size, heads, *shape), accumulator(params.w_k.dtype))
        return MLSTMCarry(zeros(key_size, params.w_v.shape[2]), zeros(key_size), zeros())

    def project(self, params: MLSTMParams, xs: jax.Array) -> Write:
        """Queries, keys, values with a 1 behind them, and gates: [..., D] -> [..., N, ...]."""
        scale = params.w_k.shape[2] ** -0.5
        q = project_heads(xs, params.w_q, params.b_q)
        k = scale * project_heads(xs, params.w_k)
        k = k + params.b_k.astype(k.dtype)
        v = project_heads(xs, params.w_v, params.b_v)
        i = project_heads(xs, params.w_i, params.b_i)
        f = project_heads(xs, params.w_f, params.b_f)
        log_f = jax.nn.log_sigmoid(f) if self.forget_gate == "sigmoid" else f
        return Write(q, k, append_ones(v), log_f, log_weight=i)

    def pack(self, carry: MLSTMCarry) -> tuple[jax.Array, jax.Array]:
        """c with n as one more column, [B, N, K, V + 1], and m."""
        return jnp.concatenate([carry.c, carry.n[..., None]], axis=-1), carry.m

    def unpack(self, memory: jax.Array, m: jax.Array) -> MLSTMCarry:
        """The carry of [B, N, K, V + 1] and m [B, N]."""
        return MLSTMCarry(memory[..., :-1], memory[..., -1], m)

    def output(
        self, params: MLSTMParams, xs: jax.Array, reads: jax.Array, m: jax.Array
    ) -> jax.Array:
        """ys [..., H] of xs [..., D], sums [..., N, V + 1] and m [..., N]."""
        one = jnp.exp(-jnp.maximum(m, LEAST_M))[..., None]
        divisor = jnp.maximum(jnp.maximum(jnp.abs(reads[..., -1:]), one), self.epsilon)
        o = name_gate(jax.nn.sigmoid(project_heads(xs, params.w_o, params.b_o)), "o")
        return join_heads(o * reads[..., :-1] / divisor, params.w_v.dtype)
