"""The LSTM with exponential gates and a normaliser."""

from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import name_gate
from seqjax.core.products import Affine, accumulator, add_bias, dot
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.weights import GlorotUniform, Initializer, Orthogonal, blocks


class SLSTMParams(NamedTuple):
    """The params of `SLSTM`; gates in the order i, f, g, o, N heads of d = H / N units.

    Fields:
      w_x: [D, 4H] of the inputs.
      w_h: [N, d, 4d] of the state, one block a head.
      b: [4H].
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


class SLSTMCarry(NamedTuple):
    """The state of an `SLSTM`; c and n are what they stand for times exp(-m).

    Fields:
      h: [B, H] hidden state, in the dtype of the params.
      c: [B, H] memory, in at least float32.
      n: [B, H] normaliser, likewise: 0 where the memory is empty, else at least 1.
      m: [B, H] logarithm of their scale, likewise; without meaning where n is 0.
    """

    h: jax.Array
    c: jax.Array
    n: jax.Array
    m: jax.Array


@final
@dataclass(frozen=True)
class SLSTM(RecurrentCell):
    """Long short-term memory with exponential gates. Beck et al. 2024, eq. 8-17.

        i, f, g, o = xₜ w_x + hₜ₋₁ w_h + b
        cₜ = φ(f) ⊙ cₜ₋₁ + exp(i) ⊙ tanh(g),   nₜ = φ(f) ⊙ nₜ₋₁ + exp(i)
        hₜ = σ(o) ⊙ cₜ / nₜ,   yₜ = hₜ

    c / n is a weighted mean of all tanh(g) so far: adding a constant to every i changes nothing.
    c and n are stored as c exp(-m) and n exp(-m), where

        mₜ = max(log φ(f) + mₜ₋₁, i),   and mₜ = i where the memory is empty (nₜ₋₁ = 0)

    unit by unit, so that no gate overflows. One of the two weights exp(log φ(f) + mₜ₋₁ - mₜ) and
    exp(i - mₜ) is then 1, which keeps n at 1 or more, and the division by max(n, 1) acts on carries
    made by hand alone. An empty memory weighs nothing: c, n and m of it get no gradient.

    w_h is block-diagonal: a head's units see each other's states only. The paper's block has
    a causal convolution before i and f, a normalisation of each head and a gated MLP around it.

    The carry is `SLSTMCarry`, its leaves [B, H].

    Attributes:
      hidden_size: H, a multiple of heads.
      heads: N.
      forget_gate: φ, "sigmoid" or "exponential".
      forget_bias: b's forget gate at `init` goes evenly from the first to the second number over
        the units of each head. Under φ = exp a positive one lets the past outgrow the present.
      w_x_init: initialiser of each gate's [D, H] block of w_x.
      w_h_init: initialiser of each gate's [d, d] block of a head of w_h.

    Raises:
      ValueError: if hidden_size, heads, or input_size in `init`, is not a positive integer, heads
        does not divide hidden_size, forget_gate is neither of the two, forget_bias is not a pair
        of finite numbers, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = SLSTM(hidden_size=4, heads=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 5), jnp.ones((5, 3)))
      >>> y.shape, carry.n.shape, bool((carry.n == 1).all())
      ((5, 4), (5, 4), True)
    """

    hidden_size: int
    _: KW_ONLY
    heads: int = 1
    forget_gate: Literal["sigmoid", "exponential"] = "sigmoid"
    forget_bias: tuple[float, float] = (3.0, 6.0)
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size", "heads")
        checks.divides("heads", self.heads, "hidden_size", self.hidden_size)
        checks.one_of("forget_gate", self.forget_gate, ("sigmoid", "exponential"))
        checks.hold_pair(self, "forget_bias")

    def init(self, key: jax.Array, input_size: int) -> SLSTMParams:
        """Draws `SLSTMParams` for inputs [..., D]; b is 0 but for the forget gate's block."""
        checks.positive_int("input_size", input_size)
        key_x, key_h = jax.random.split(key)
        units = self.hidden_size // self.heads
        keys = jax.random.split(key_h, self.heads)
        forget = jnp.tile(jnp.linspace(*self.forget_bias, units), self.heads)
        zeros = jnp.zeros_like(forget)
        return SLSTMParams(
            w_x=blocks(self.w_x_init, key_x, (input_size, self.hidden_size), 4),
            w_h=jnp.stack([blocks(self.w_h_init, k, (units, units), 4) for k in keys]),
            b=jnp.concatenate([zeros, forget, zeros, zeros]),
        )

    def initial_carry(self, params: SLSTMParams, batch_size: int, key=None) -> SLSTMCarry:
        """h = 0 and an empty memory, all [B, H]."""
        shape = (batch_size, params.b.shape[0] // 4)
        zeros = jnp.zeros(shape, accumulator(params.w_h.dtype))
        return SLSTMCarry(jnp.zeros(shape, params.w_h.dtype), zeros, zeros, zeros)

    def project(self, params: SLSTMParams, xs: jax.Array) -> jax.Array:
        """x w_x + b, head by head: xs [..., D] -> [..., N, 4d]."""
        heads, units = params.w_h.shape[:2]

        def by_head(a):
            return jnp.swapaxes(a.reshape(-1, 4, heads, units), 1, 2).reshape(a.shape)

        zs = add_bias(dot("xs", xs, by_head(params.w_x)), by_head(params.b))
        return zs.reshape(*xs.shape[:-1], heads, 4 * units)

    def recur(
        self, params: SLSTMParams, carry: SLSTMCarry, z: jax.Array, affine: Affine
    ) -> SLSTMCarry:
        """The next state, leaves [B, H], given z [B, N, 4d]."""
        heads, units = params.w_h.shape[:2]
        hs = jnp.split(carry.h, heads, axis=1)
        gates = [affine(hs[n], params.w_h[n], z[:, n]) for n in range(heads)]
        gates = jnp.stack(gates, axis=1).reshape(-1, heads, 4, units)
        i, f, g, o = (gates[:, :, gate].reshape(carry.c.shape) for gate in range(4))
        log_f = jax.nn.log_sigmoid(f) if self.forget_gate == "sigmoid" else f
        kept = jnp.where(carry.n == 0, -jnp.inf, log_f + carry.m)
        m = jnp.where(kept > i, kept, i)
        keep, write = jnp.exp(kept - m), jnp.exp(i - m)
        c = keep * carry.c + write * jnp.tanh(g)
        n = keep * carry.n + write
        h = name_gate(jax.nn.sigmoid(o), "o") * c / jnp.maximum(n, 1)
        return SLSTMCarry(h.astype(carry.h.dtype), c, n, m)

    def output(self, params: SLSTMParams, carry: SLSTMCarry) -> jax.Array:
        """h [B, H], the output."""
        return carry.h
