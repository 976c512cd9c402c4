"""Matrix memories over time, a chunk of steps at once.

    Sₜ = aₜ (I - βₜ kₜ kₜᵀ) Sₜ₋₁ + βₜ kₜ vₜᵀ   or   Sₜ = aₜ Sₜ₋₁ + kₜ vₜᵀ,   read as Sₜᵀ qₜ

Either is Sₜ = aₜ Sₜ₋₁ + kₜ uₜᵀ, where u = v without the delta rule, and with it solves a triangular
system over the steps of a chunk (the UT transform of a product of Householder-like factors). All
of a chunk then comes by products of matrices, and a loop carries S from chunk to chunk. Yang, Kautz
and Hatamizadeh 2024, eq. 3-9 and section 3.3.

Notation: N heads · K key size · V value size · C steps of a chunk · M chunks.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import trees


class Write(NamedTuple):
    """What steps read from memories and write to them.

    Fields:
      q: [..., N, K] queries.
      k: [..., N, K] keys.
      v: [..., N, V] values.
      log_decay: [..., N], log a.
      beta: [..., N] of the delta rule; None adds k vᵀ as it is.
      log_weight: [..., N], by whose exponential k vᵀ is to be weighted under a stabiliser; None
        where a memory has none.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    log_decay: jax.Array
    beta: Any = None
    log_weight: Any = None


def write_step(memory: jax.Array, write: Write) -> tuple[jax.Array, jax.Array]:
    """One step: S [B, N, K, V] -> the next S, and what the queries read from it, [B, N, V]."""
    memory = jnp.exp(write.log_decay)[..., None, None] * memory
    u = write.v
    if write.beta is not None:
        u = write.beta[..., None] * (u - jnp.einsum("bnk,bnkv->bnv", write.k, memory))
    memory = memory + write.k[..., None] * u[..., None, :]
    return memory, jnp.einsum("bnk,bnkv->bnv", write.q, memory)


def write_chunks(
    memory: jax.Array, write: Write, flags: Any, initial: Any, chunk_size: int
) -> tuple[jax.Array, jax.Array]:
    """`write_step` over leaves [B, T, ...] of a write, all finite.

    Args:
      memory: S [B, N, K, V] to start from.
      write: leaves [B, T, N, ...].
      flags: [B, T] bool or None; where True, S before step t is `initial`.
      initial: [B, N, K, V].
      chunk_size: C; the results do not depend on it.

    Returns:
      The last S [B, N, K, V], and what each step reads, [B, T, N, V].
    """
    length = write.q.shape[1]
    q, k, v, log_decay, beta = (into_chunks(a, chunk_size) for a in write[:5])
    cuts = into_chunks(flags, chunk_size)
    between, since = log_decays(log_decay, cuts)
    decay, old = jnp.exp(between), jnp.exp(since)[..., None]  # [M, B, N, C, C], [M, B, N, C, 1]
    scores = decay * jnp.einsum("...tk,...sk->...ts", q, k)
    # What a reset brings in counts as written at its step.
    new = None if cuts is None else decay @ jnp.where(cuts, jnp.exp(log_decay), 0)[..., None]
    u, w = v, None
    if beta is not None:
        recalled = 0 if new is None else new * (k @ initial)
        parts = beta[..., None] * jnp.concatenate([v - recalled, old * k], axis=-1)
        overlaps = beta[..., None] * decay * jnp.einsum("...tk,...sk->...ts", k, k)
        solved = solve_unit_triangular(overlaps, parts)
        u, w = solved[..., : v.shape[-1]], solved[..., v.shape[-1] :]  # u without S, minus w S
    reads, from_start = scores @ u, old * q
    lasting = decay[..., -1, :, None] * k
    written = jnp.einsum("...ck,...cv->...kv", lasting, u)
    if new is not None:
        reads = reads + new * (q @ initial)
        written = written + new[..., -1:, :] * initial
    if w is not None:
        from_start = from_start - scores @ w

    def body(memory, chunk):
        old, written, lasting, w = chunk
        after = old * memory + written
        if w is not None:
            after = after - jnp.einsum("...ck,...cv->...kv", lasting, w @ memory)
        return after, memory

    memory, starts = jax.lax.scan(body, memory, (old[..., -1:, :], written, lasting, w))
    return memory, out_of_chunks(reads + from_start @ starts, length)


def running_maxima(
    m: jax.Array, write: Write, flags: Any, initial: Any, chunk_size: int
) -> tuple[jax.Array, jax.Array]:
    """The stabilisers before and after each step, mₜ = max(log aₜ + mₜ₋₁, log_weightₜ).

    m and initial are [B, N], leaves of the write [B, T, N, ...], flags [B, T] or None; both
    results are [B, T, N].
    """
    before_reset = lambda ms: jnp.concatenate([m[:, None], ms[:, :-1]], axis=1)
    log_weight, renew = write.log_weight, lambda ms: ms
    if flags is not None:
        renew = lambda ms: jnp.where(flags[..., None], initial[:, None], ms)
        begun = larger(write.log_decay + initial[:, None], log_weight)
        log_weight = jnp.where(flags[..., None], begun, log_weight)
    log_decay, log_weight, cuts = (
        into_chunks(a, chunk_size) for a in (write.log_decay, log_weight, flags)
    )
    between, since = log_decays(log_decay, cuts)
    scores = between + log_weight[..., None, :]
    chosen = jnp.argmax(scores, axis=-1)[..., None] == jnp.arange(scores.shape[-1])
    best = jnp.sum(jnp.where(chosen, scores, 0), axis=-1)

    def body(m, chunk):
        since, best = chunk
        return larger(since + m, best), m

    _, starts = jax.lax.scan(body, m, (since[..., -1], best[..., -1]))
    ms = larger(since + starts[..., None], best)
    ms = out_of_chunks(ms, write.q.shape[1])
    return renew(before_reset(ms)), ms


def solve_unit_triangular(a: jax.Array, b: jax.Array) -> jax.Array:
    """x with (I + L) x = b, where L is what a [..., C, C] has below its diagonal; b is [..., C, N].

    Row by row for all matrices at once. `jax.lax.linalg.triangular_solve` calls LAPACK for each
    small matrix on a CPU, whose threads may get in one another's way (measured: 300 ms for 128
    matrices of 40 x 40 on a busy machine, this 2).
    """
    lower = jnp.tril(a, -1)

    def rows(lower, b, reverse):
        def body(x, inputs):
            i, row, b = inputs  # the rows of x that are not solved yet are 0
            new = b - jnp.einsum("...s,...sn->...n", row, x)
            return jax.lax.dynamic_update_index_in_dim(x, new, i, x.ndim - 2), None

        inputs = jnp.arange(b.shape[-2]), jnp.moveaxis(lower, -2, 0), jnp.moveaxis(b, -2, 0)
        start = trees.vary_like(jnp.zeros_like(b), (lower, b))
        return jax.lax.scan(body, start, inputs, reverse=reverse)[0]

    return jax.lax.custom_linear_solve(
        lambda x: x + lower @ x,
        b,
        solve=lambda _, b: rows(lower, b, reverse=False),
        transpose_solve=lambda _, b: rows(jnp.swapaxes(lower, -1, -2), b, reverse=True),
    )


def larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """The maximum. Its gradient chooses as it did, by a > b.

    That of `jnp.maximum` and `jnp.max` asks which number equals the result. A compiler may compute
    numbers anew, rounded otherwise, and then none does: a gradient of 0, or of 1 / 0.
    """
    return jnp.where(a > b, a, b)


def log_decays(log_decay: jax.Array, cuts: Any) -> tuple[jax.Array, jax.Array]:
    """Sums of log_decay [..., C] from after step s to step t, [..., C, C], and from the start.

    -inf where s > t, and across a cut [..., C]. A sum of its own for every s: differences of
    running sums would lose small decays behind a large one.
    """
    if cuts is not None:
        log_decay = jnp.where(cuts, -jnp.inf, log_decay)
    steps = jnp.arange(log_decay.shape[-1])
    after = steps[:, None] > steps
    sums = jnp.cumsum(jnp.where(after, log_decay[..., None], 0), axis=-2)
    causal = steps[:, None] >= steps
    return jnp.where(causal, sums, -jnp.inf), jnp.cumsum(log_decay, axis=-1)


def into_chunks(a: Any, chunk_size: int) -> Any:
    """[B, T, N, ...] -> [M, B, N, C, ...], zeros behind T; [B, T] -> [M, B, 1, C]; None stays."""
    if a is None:
        return None
    a = a[:, :, None] if a.ndim == 2 else a
    length = a.shape[1]
    size = min(chunk_size, length)
    if length % size:
        a = jnp.pad(a, [(0, 0), (0, -length % size)] + [(0, 0)] * (a.ndim - 2))
    a = a.reshape(a.shape[0], -1, size, *a.shape[2:])
    return jnp.moveaxis(a, (1, 0, 3, 2), (0, 1, 2, 3))


def out_of_chunks(a: jax.Array, length: int) -> jax.Array:
    """[M, B, N, C, ...] -> [B, T, N, ...], for T of at most M C."""
    a = jnp.moveaxis(a, (1, 0, 3, 2), (0, 1, 2, 3))
    return a.reshape(a.shape[0], -1, *a.shape[3:])[:, :length]
