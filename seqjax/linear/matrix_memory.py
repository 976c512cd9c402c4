"""Cells whose state is a matrix a head, in both forms."""

import abc
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.core.cell import ALL
from seqjax.core.products import add_bias, dot
from seqjax.core.run import run_steps
from seqjax.core.steps import Steps, zero_rows
from seqjax.initializers.weights import Initializer
from seqjax.linear.chunks import Write, larger, running_maxima, write_chunks, write_step


class MatrixMemory(Spec, abc.ABC):
    """A cell with heads whose state S is a matrix, written by keys and values, read by queries.

        Sₜ = aₜ (I - βₜ kₜ kₜᵀ) Sₜ₋₁ + βₜ kₜ vₜᵀ   or   Sₜ = aₜ Sₜ₋₁ + kₜ vₜᵀ
        yₜ = output(Sₜᵀ qₜ)

    Nothing of a step's write depends on the state, so that `unroll` works a chunk of steps at once,
    in products of matrices; its numbers are those of `step` to rounding, at any chunk size. With a
    log_weight in the write, k vᵀ has the weight exp(log_weight) and S is held as S exp(-m), the
    stabiliser mₜ = max(log aₜ + mₜ₋₁, log_weightₜ). Yang, Kautz and Hatamizadeh
    2024, eq. 3-9 and section 3.3.

    Where an input that is no padding, or a carry, is not finite, everything is NaN from there to
    the row's next reset, and nothing else is.
    """

    chunk_size: int

    @abc.abstractmethod
    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws params for inputs [..., input_size]."""

    @abc.abstractmethod
    def initial_carry(self, params: Any, batch_size: int, key: jax.Array | None = None) -> Any:
        """The carry before the first step, leaves [B, N, ...]."""

    @abc.abstractmethod
    def project(self, params: Any, xs: jax.Array) -> Write:
        """What steps write and read: xs [..., D] -> leaves [..., N, ...]."""

    @abc.abstractmethod
    def pack(self, carry: Any) -> tuple[jax.Array, Any]:
        """S [B, N, K, V] and m [B, N], None where there is none, of a carry."""

    @abc.abstractmethod
    def unpack(self, memory: jax.Array, m: Any) -> Any:
        """The carry of S [B, N, K, V] and m [B, N] or None."""

    @abc.abstractmethod
    def output(self, params: Any, xs: jax.Array, reads: jax.Array, m: Any) -> jax.Array:
        """ys [..., H] of xs [..., D], reads [..., N, V] and m [..., N] or None."""

    @final
    def step(self, params: Any, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        """One step: (carry, x [B, D]) -> (carry, y [B, H])."""
        memory, before = self.pack(carry)
        write, m = self.project(params, x), before
        if before is not None:
            m = larger(write.log_decay + before, write.log_weight)
            write = stabilise(write, before, m)
        memory, read = write_step(memory, write)
        return self.unpack(memory, m), self.output(params, x, read, m)

    @final
    def unroll(
        self, params: Any, carry: Any, xs: jax.Array, steps: Steps = ALL
    ) -> tuple[Any, jax.Array]:
        """Over time: (carry, xs [B, T, D], which steps) -> (carry, ys [B, T, H])."""
        checks.vectors(xs)
        if xs.shape[1] == 0:
            return run_steps(self, params, carry, xs, steps)
        real = jnp.ones(xs.shape[:2], bool) if steps.mask is None else steps.mask
        keep, lost = real & finite_rows(xs, 2), ~finite_rows(carry, 1)
        flags = steps.reset
        initial = carry if flags is None else steps.initial
        spoilt = spoilt_steps(real & ~keep, lost, flags)
        xs = zero_rows(keep, xs)
        write = keep_writes(keep, self.project(params, xs))
        (memory, m), (anew, m_anew) = self.pack(zero_rows(~lost, carry)), self.pack(initial)
        ms = None
        if m is not None:
            before, ms = running_maxima(m, write, flags, m_anew, self.chunk_size)
            write, m = stabilise(write, before, ms), ms[:, -1]
        memory, reads = write_chunks(memory, write, flags, anew, self.chunk_size)
        ys = self.output(params, xs, reads, ms)
        carry = nan_rows(spoilt[:, -1], self.unpack(memory, m))
        return carry, zero_rows(real, nan_rows(spoilt, ys))


def stabilise(write: Write, before: jax.Array, m: jax.Array) -> Write:
    """The write to S exp(-m), given m [..., N] before and after each step."""
    weight = jnp.exp(write.log_weight - m)[..., None]
    return write._replace(v=weight * write.v, log_decay=write.log_decay + before - m)


def keep_writes(keep: jax.Array, write: Write) -> Write:
    """Writes [B, T, N, ...] that change nothing where keep [B, T] is False."""
    kept = zero_rows(keep, write)
    if write.log_weight is None:
        return kept
    return kept._replace(log_weight=jnp.where(keep[..., None], write.log_weight, -jnp.inf))


def finite_rows(tree: Any, axes: int) -> jax.Array:
    """Whether all numbers of a row are finite, by the first `axes` axes of all leaves."""
    rows = [jnp.isfinite(a).all(tuple(range(axes, a.ndim))) for a in jax.tree.leaves(tree)]
    return jnp.stack(rows).all(0)


def spoilt_steps(bad: jax.Array, lost: jax.Array, flags: Any) -> jax.Array:
    """Where the state is lost, [B, T]: bad [B, T] steps and lost [B] rows, to the next reset."""
    steps = jnp.arange(bad.shape[1])
    last = lambda found, never: jax.lax.cummax(jnp.where(found, steps, never), axis=1)
    last_bad = last(bad, jnp.where(lost, -1, -3)[:, None])
    return last_bad >= (-2 if flags is None else last(flags, -2))


def nan_rows(flags: jax.Array, tree: Any) -> Any:
    """NaN where flags [...] select, along the leading axes of every leaf."""
    expand = lambda a: flags.reshape(flags.shape + (1,) * (a.ndim - flags.ndim))
    return jax.tree.map(lambda a: jnp.where(expand(a), jnp.nan, a), tree)


def project_heads(xs: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """x w + b a head: xs [..., D], w [D, N, ...], b [N, ...] -> [..., N, ...].

    Raises:
      ValueError: if xs is not floats [..., D].
    """
    product = dot("xs", xs, w.reshape(w.shape[0], -1))
    return add_bias(product.reshape(*xs.shape[:-1], *w.shape[1:]), b)


def draw_heads(
    w_init: Initializer, key: jax.Array, input_size: int, heads: int, size: int
) -> jax.Array:
    """Weights [D, N, size], drawn as one matrix [D, N size]."""
    return w_init(key, (input_size, heads * size)).reshape(input_size, heads, size)


def hold_sizes(spec: Any) -> None:
    """Checks the sizes of a spec: hidden_size H = N V, heads N, key_size K or None, chunk_size."""
    checks.hold_ints(spec, "hidden_size", "heads", "chunk_size")
    checks.divides("heads", spec.heads, "hidden_size", spec.hidden_size)
    if spec.key_size is not None:
        checks.hold_ints(spec, "key_size")


def head_sizes(spec: Any) -> tuple[int, int]:
    """K and V of a spec: the sizes of a head's keys and values."""
    value_size = spec.hidden_size // spec.heads
    return spec.key_size or value_size, value_size


def join_heads(heads: jax.Array, dtype: Any) -> jax.Array:
    """[..., N, V] -> [..., H], in this dtype."""
    return heads.reshape(*heads.shape[:-2], -1).astype(dtype)


def append_ones(v: jax.Array) -> jax.Array:
    """[..., V] -> [..., V + 1]: values by which a memory sums its keys as well."""
    return jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
