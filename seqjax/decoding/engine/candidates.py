"""The best extensions of the live hypotheses, found without sorting a vocabulary."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax.decoding.engine.rows import pick

NARROW = 512  # a vocabulary below this is ordered whole


class Candidates(NamedTuple):
    """The best C extensions of each row by log-probability, best first."""

    parents: jax.Array  # [R, C]: which of the row's k hypotheses is extended
    tokens: jax.Array  # [R, C]
    log_probs: jax.Array  # [R, C]: -inf where there is no such extension


class Extensions(NamedTuple):
    """The best C extensions of each row, best first, and the k of them that live on."""

    parents: jax.Array  # [R, C]
    tokens: jax.Array  # [R, C]
    log_probs: jax.Array  # [R, C]
    live: jax.Array  # [R, k]: the best that do not end, by their place among the C
    live_log_probs: jax.Array  # [R, k]: -inf where there are fewer than k


class Distributions(NamedTuple):
    """What makes logits into log-probabilities, of M hypotheses a row: leaves [R, M]."""

    begun: jax.Array  # their log-probabilities, -inf where there is none
    top: jax.Array  # the largest logit, or 0
    normaliser: jax.Array  # log Σ exp(logits - top), or 0
    empty: jax.Array  # whether every logit is -inf, so that the end alone is allowed

    def allowed(self, logits: jax.Array, is_end: jax.Array, is_forced: Any) -> jax.Array:
        """Logits [R, M, W] as they count; a hypothesis that allows nothing allows its end."""
        logits = jnp.where(self.empty[..., None], jnp.where(is_end, 0, -jnp.inf), logits)
        return logits if is_forced is None else jnp.where(is_forced, logits, -jnp.inf)

    def log_probs(self, logits: jax.Array) -> jax.Array:
        """Log-probabilities of extensions, given their allowed logits [R, M, W]."""
        begun, top, normaliser, _ = (x[..., None] for x in self)
        # Whatever a place without a hypothesis computes, NaN included, stays out.
        there = (begun > -jnp.inf) | jnp.isnan(begun)
        return jnp.where(there, begun + (logits - top - normaliser), -jnp.inf)


def extend(
    log_probs: jax.Array,
    logits: jax.Array,
    ends: tuple[int, ...],
    *,
    normalise: bool = True,
    forced: jax.Array | None = None,
) -> Extensions:
    """The best (1 + E) k extensions of hypotheses with log_probs [R, k], given logits [R, k, V].

    With E ending tokens so many suffice: at most E k end, so that k are left. `forced` [R] is the
    only token allowed where it is not -1.
    """
    count = (1 + len(ends)) * log_probs.shape[1]
    found = _best(log_probs, logits, ends, count, normalise, forced)
    return _extensions(found, ends, log_probs.shape[1])


def extend_groups(
    log_probs: jax.Array, logits: jax.Array, groups: int, diversity: Any, ends, *, normalise, forced
) -> Extensions:
    """`extend` for rows [B * G], the G groups of a row one after another, of k hypotheses each.

    A token loses `diversity` in rank for each hypothesis of an earlier group that now takes it.
    There are fewer than K such tokens, each a loss to k extensions at most, so that the best
    k (K + E) of a group contain what is best after any loss: the vocabulary is read once for all.
    """
    rows, size = log_probs.shape
    beam_size, batch = groups * size, rows // groups
    count = size * (beam_size + len(ends))
    found = _best(log_probs, logits, ends, count, normalise, forced)
    # In the order of parents and ids, for ties.
    order = jnp.argsort(found.parents * logits.shape[-1] + found.tokens, axis=1)
    found = pick(found, order)

    def one(taken, found):  # taken [B, K]: the tokens of the groups before, or -1
        times = jnp.sum(found.tokens[..., None] == taken[:, None], axis=-1)  # [B, C]
        lost = jnp.asarray(diversity, logits.dtype) * times.astype(logits.dtype)
        _, order = _order(found.log_probs - lost, min((1 + len(ends)) * size, lost.shape[1]))
        best = _extensions(pick(found, order), ends, size)
        live = jnp.where(best.live_log_probs > -jnp.inf, pick(best.tokens, best.live), -1)
        return jnp.concatenate([taken[:, size:], live], axis=1), best

    apart = lambda x: jnp.swapaxes(x.reshape(batch, groups, *x.shape[1:]), 0, 1)
    none = jnp.full((batch, beam_size), -1, jnp.int32)
    _, best = lax.scan(one, none, jax.tree.map(apart, found))  # leaves [G, B, ...]
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(rows, *x.shape[2:]), best)


def in_memory(x: Any) -> Any:
    """x itself, which XLA computes once and keeps: what reads it is not fused with what makes it.

    Both uses here are measured by `python -m benchmarks.decode --vocab-sizes 32000`.
    """
    return lax.optimization_barrier(x)


def is_end(tokens: jax.Array, ends: tuple[int, ...]) -> jax.Array:
    """Whether each token ends its sequence."""
    return jnp.any(tokens[..., None] == jnp.array(ends, tokens.dtype), axis=-1)


def _best(log_probs, logits, ends, count: int, normalise: bool, forced) -> Candidates:
    """The best of all k V extensions of each row, `count` or as many as there are.

    Equal ones go to the better parent, then to the lowest id. A single hypothesis ranks by its
    logits, which keep their order where a sum would round them equal.

    A wide vocabulary is cut into blocks. The best C extensions of a row lie in the C blocks with
    the best maxima, for no sum reverses an order: one pass over V finds the blocks, another the
    normaliser, and C blocks are left to order. Nothing of the size of the logits is written where
    a block length near √(k V / C) divides V.
    """
    size, vocab = logits.shape[1:]
    count = min(count, size * vocab)
    length = _block_length(vocab, -(-count // size))
    # Else the maximum of the maxima would become another pass over all logits.
    peaks = in_memory(_peaks(logits, length))  # [R, k, J]
    every = _distributions(log_probs, logits, jnp.max(peaks, axis=-1), normalise)
    only = None if forced is None else forced[:, None, None]

    def best(some: Distributions, x, ids, end: int, wanted, number: int):
        """The ranks of the best in x [R, M, W], best first, and their places in M * W."""
        x = some.allowed(x, ids == end, None if wanted is None else (wanted < 0) | (ids == wanted))
        return _order(x if size == 1 else some.log_probs(x), number)

    number = peaks.shape[2]
    blocks = jnp.arange(number, dtype=jnp.int32)
    block = None if only is None else only // length  # -1 stays -1
    first = min(count, size * number)
    ranks, places = best(every, peaks, blocks, ends[0] // length, block, first)
    flat = lambda x: x.reshape(x.shape[0], -1)
    if length == 1:
        parents, tokens = places // vocab, places % vocab
    else:
        places = jnp.sort(places)  # in the order of parents and ids, for ties
        parents, starts = places // number, length * (places % number)
        # The last block is moved back to be whole; what it shares with its neighbour counts once.
        ids = jnp.minimum(starts, vocab - length)[..., None] + jnp.arange(length, dtype=jnp.int32)
        own = ids >= starts[..., None]
        x = pick(flat(logits), flat(parents[..., None] * vocab + ids)).reshape(ids.shape)
        x, ids = jnp.where(own, x, -jnp.inf), jnp.where(own, ids, -1)
        ranks, places = best(pick(every, parents), x, ids, ends[0], only, count)
        parents, tokens = pick(parents, places // length), jnp.maximum(pick(flat(ids), places), 0)
    if size == 1:  # there is a single distribution, and ranks are logits
        ranks = jnp.where(ranks == -jnp.inf, ranks, every.log_probs(ranks[:, None])[:, 0])
    return Candidates(parents, tokens, ranks)


def _extensions(found: Candidates, ends: tuple[int, ...], size: int) -> Extensions:
    return Extensions(*found, *_live(found.tokens, found.log_probs, ends, size))


def _distributions(log_probs, logits, top, normalise: bool) -> Distributions:
    if not normalise:  # a hypothesis that the step gives nothing but -inf falls out
        zeros = jnp.zeros_like(top)
        return Distributions(log_probs, zeros, zeros, jnp.zeros(top.shape, bool))
    empty = top == -jnp.inf
    top = jnp.where(empty, 0, top)
    total = jnp.sum(jnp.exp(logits - top[..., None]), axis=-1)  # >= 1, 0 where empty
    return Distributions(log_probs, top, jnp.log(jnp.where(empty, 1, total)), empty)


def _block_length(vocab: int, ways: int) -> int:
    """The divisor of V nearest to √(V / ways) between half and twice of it, or else about that."""
    near = math.isqrt(vocab // ways)
    if vocab < NARROW or near < 4:
        return 1
    lengths = [n for n in range(near // 2, 2 * near + 1) if vocab % n == 0]
    return min(lengths, key=lambda n: abs(n - near), default=near)


def _peaks(x: jax.Array, length: int) -> jax.Array:
    """The maximum of each block of x [..., V], the last of which may be short."""
    whole = x.shape[-1] // length * length
    peaks = jnp.max(x[..., :whole].reshape(*x.shape[:-1], -1, length), axis=-1)
    if whole == x.shape[-1]:
        return peaks
    rest = jnp.max(x[..., whole:], axis=-1, keepdims=True)
    return jnp.concatenate([peaks, rest], axis=-1)


def _order(x: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The `count` largest of x [R, ...], best first, and their places; ties go to the first."""
    flat = x.reshape(x.shape[0], -1)
    flat = jnp.where(flat == 0, 0, flat)  # 0.0 would rank above -0.0
    # Else a slice of the result, taken by the caller, would make XLA sort all of x.
    return in_memory(lax.top_k(flat, count))


def _live(tokens: jax.Array, log_probs: jax.Array, ends, size: int):
    """The places of the best k extensions that do not end [R, k], and their log-probabilities."""
    goes_on = ~is_end(tokens, ends) & (log_probs != -jnp.inf)
    places = jnp.arange(tokens.shape[1], dtype=jnp.int32)
    earlier = goes_on[:, None] & (places < places[:, None])  # [R, C, C]
    rank = jnp.sum(earlier, axis=-1, dtype=jnp.int32)
    nth = jnp.arange(size, dtype=jnp.int32)[:, None]
    chosen = goes_on[:, None] & (rank[:, None] == nth)  # [R, k, C]
    live = jnp.sum(jnp.where(chosen, places, 0), axis=-1, dtype=jnp.int32)
    there = jnp.any(chosen, axis=-1)
    return live, jnp.where(there, pick(log_probs, live), -jnp.inf)
