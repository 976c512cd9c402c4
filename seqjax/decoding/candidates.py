"""The best extensions of the live hypotheses, found without sorting a vocabulary."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax.decoding.carries import pick

BLOCK = 128


class Extensions(NamedTuple):
    """The best C extensions of each row, best first, and the K of them that live on."""

    parents: jax.Array  # [R, C]: which of the row's K hypotheses is extended
    tokens: jax.Array  # [R, C]
    log_probs: jax.Array  # [R, C]: -inf where there is no such extension
    live: jax.Array  # [R, K]: the best that do not end, by their place among the C
    live_log_probs: jax.Array  # [R, K]: -inf where there are fewer than K


class Offers(NamedTuple):
    """The best M tokens of each hypothesis, best first, ties to the lowest id."""

    tokens: jax.Array  # [R, K, M]
    log_probs: jax.Array  # [R, K, M]: of the token alone


def top_k(x: jax.Array, k: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The k largest of x [..., V], best first, ties to the lowest id; their ids; the maximum.

    A wide row is cut into blocks. Its k largest lie in the k blocks with the largest maxima, so
    that one pass over V finds the blocks and what is left to order is k blocks. Nothing of the
    size of x is written where a block length near 128 divides V.
    """
    one_zero = lambda a: jnp.where(a == 0, 0, a)  # a sort would rank 0.0 above -0.0
    vocab = x.shape[-1]
    length = _block_length(vocab)
    if -(-vocab // length) < 2 * k:
        best, ids = _order(one_zero(x), k)
        return best, ids, jnp.max(best, axis=-1)
    peaks = one_zero(_peaks(x, length))
    _, chosen = _order(peaks, k)  # [..., k]
    chosen = length * jnp.sort(chosen, axis=-1)[..., None]  # in the order of ids, for ties
    ids = jnp.minimum(chosen, vocab - length) + jnp.arange(length, dtype=jnp.int32)
    flat = lambda a: a.reshape(*a.shape[:-2], k * length)
    values = one_zero(jnp.take_along_axis(x, flat(ids), axis=-1, mode="promise_in_bounds"))
    # The last block is moved back to be whole; what it shares with its neighbour counts once.
    values = jnp.where(flat(ids >= chosen), values, -jnp.inf)
    best, order = _order(values, k)
    ids = jnp.take_along_axis(flat(ids), order, axis=-1, mode="promise_in_bounds")
    return best, ids, jnp.max(peaks, axis=-1)


def _block_length(vocab: int) -> int:
    """The divisor of V nearest to BLOCK between half and twice of it, or else BLOCK itself."""
    lengths = [n for n in range(BLOCK // 2, 2 * BLOCK + 1) if vocab % n == 0]
    return min(lengths, key=lambda n: abs(n - BLOCK), default=BLOCK)


def _peaks(x: jax.Array, length: int) -> jax.Array:
    """The maximum of each block of x [..., V], the last of which may be short."""
    whole = x.shape[-1] // length * length
    peaks = jnp.max(x[..., :whole].reshape(*x.shape[:-1], -1, length), axis=-1)
    if whole == x.shape[-1]:
        return peaks
    rest = jnp.max(x[..., whole:], axis=-1, keepdims=True)
    return jnp.concatenate([peaks, rest], axis=-1)


def _order(x: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """lax.top_k; a slice of its result, taken by the caller, would make XLA sort all of x."""
    return lax.optimization_barrier(lax.top_k(x, k))


def extend(
    log_probs: jax.Array,
    logits: jax.Array,
    ends: tuple[int, ...],
    *,
    normalise: bool = True,
    forced: jax.Array | None = None,
) -> Extensions:
    """The best (1 + E) K extensions of hypotheses with log_probs [R, K], given logits [R, K, V].

    With E ending tokens so many suffice: at most E K end, so that K are left. Each hypothesis
    offers its own best first: K that go on and E that end. Thus nothing of the vocabulary's size
    is added to, written or ordered over K, and near-equal logits keep their order when a sum
    rounds them equal. `forced` [R] is the only token allowed where it is not -1.
    """
    offers = _offers(logits, ends, log_probs.shape[1] + len(ends), normalise, forced)
    return _choose(log_probs, offers, ends)


def extend_groups(
    log_probs: jax.Array, logits: jax.Array, groups: int, diversity: Any, ends, *, normalise, forced
) -> Extensions:
    """`extend` for rows [B * G], the G groups of a row one after another.

    A token loses `diversity` in rank for each hypothesis of an earlier group that now goes on with
    it. They are fewer than K in all, so that K more offers hold the best whatever is lost, and the
    vocabulary is read once for all groups.
    """
    rows, size = log_probs.shape
    beam_size, batch = groups * size, rows // groups
    offers = _offers(logits, ends, beam_size + len(ends), normalise, forced)

    def one(taken, group):  # [B, K]: the tokens of the groups before
        log_probs, offers = group
        times = jnp.sum(offers.tokens[..., None] == taken[:, None, None], axis=-1)  # [B, K / G, M]
        lost = jnp.asarray(diversity, logits.dtype) * times.astype(logits.dtype)
        found = _choose(log_probs, offers, ends, lost)
        live = jnp.where(found.live_log_probs > -jnp.inf, pick(found.tokens, found.live), -1)
        return jnp.concatenate([taken[:, size:], live], axis=1), found

    apart = lambda x: jnp.swapaxes(x.reshape(batch, groups, *x.shape[1:]), 0, 1)
    each = jax.tree.map(apart, (log_probs, offers))  # leaves [G, B, ...]
    _, found = lax.scan(one, jnp.full((batch, beam_size), -1, jnp.int32), each)
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(rows, *x.shape[2:]), found)


def is_end(tokens: jax.Array, ends: tuple[int, ...]) -> jax.Array:
    """Whether each token ends its sequence."""
    return jnp.any(tokens[..., None] == jnp.array(ends, tokens.dtype), axis=-1)


def _offers(logits, ends, count: int, normalise: bool, forced) -> Offers:
    """The best M = min(count, V) tokens of each hypothesis, given logits [R, K, V]."""
    best, tokens, top = top_k(logits, min(count, logits.shape[-1]))
    top = top[..., None]
    empty = top == -jnp.inf
    first = jnp.arange(best.shape[-1], dtype=jnp.int32) == 0
    # A row that allows nothing allows the first ending token, as everywhere in decoding.
    best = jnp.where(empty & first, 0, best)
    tokens = jnp.where(empty & first, ends[0], tokens)
    top = jnp.where(empty | (not normalise), 0, top)
    normaliser = jnp.zeros_like(top)
    if normalise:
        total = jnp.sum(jnp.exp(logits - top), axis=-1, keepdims=True)  # >= 1, 0 where empty
        normaliser = jnp.log(jnp.where(empty, 1, total))
    log_p = lambda x: x - top - normaliser
    if forced is None:
        return Offers(tokens, log_p(best))
    only = forced[:, None, None]  # [R, 1, 1]
    fixed = jnp.broadcast_to(jnp.maximum(only, 0), top.shape)
    given = log_p(jnp.take_along_axis(logits, fixed, axis=-1, mode="promise_in_bounds"))
    given = jnp.where(empty, jnp.where(fixed == ends[0], 0, -jnp.inf), given)
    given = jnp.where(first, given, -jnp.inf)
    choose = lambda free, given: jnp.where(only < 0, free, given)
    return Offers(choose(tokens, fixed), choose(log_p(best), given))


def _choose(log_probs: jax.Array, offers: Offers, ends, lost: Any = None) -> Extensions:
    """The best of what hypotheses with log_probs [R, K] offer, ranked without `lost` [R, K, M]."""
    rows, size, width = offers.tokens.shape
    # Whatever a place without a hypothesis computes, NaN included, stays out.
    there = (log_probs > -jnp.inf) | jnp.isnan(log_probs)
    total = lambda p: jnp.where(there[..., None], log_probs[..., None] + p, -jnp.inf)
    flat = lambda x: x.reshape(rows, size * width)
    totals = flat(total(offers.log_probs))
    count = min((1 + len(ends)) * size, size * width)
    if lost is not None:
        _, order = _order(flat(total(offers.log_probs - lost)), count)
        best = pick(totals, order)
    elif size > 1:
        best, order = _order(totals, count)
    else:  # what a single hypothesis offers is in order
        best, order = totals, jnp.broadcast_to(jnp.arange(count, dtype=jnp.int32), totals.shape)
    parents, tokens = lax.div(order, jnp.int32(width)), pick(flat(offers.tokens), order)
    return Extensions(parents, tokens, best, *_live(tokens, best, ends, size))


def _live(tokens: jax.Array, log_probs: jax.Array, ends, size: int):
    """The places of the best K extensions that do not end [R, K], and their log-probabilities."""
    goes_on = ~is_end(tokens, ends) & (log_probs != -jnp.inf)
    places = jnp.arange(tokens.shape[1], dtype=jnp.int32)
    earlier = goes_on[:, None] & (places < places[:, None])  # [R, C, C]
    rank = jnp.sum(earlier, axis=-1, dtype=jnp.int32)
    nth = jnp.arange(size, dtype=jnp.int32)[:, None]
    chosen = goes_on[:, None] & (rank[:, None] == nth)  # [R, K, C]
    live = jnp.sum(jnp.where(chosen, places, 0), axis=-1, dtype=jnp.int32)
    there = jnp.any(chosen, axis=-1)
    return live, jnp.where(there, pick(log_probs, live), -jnp.inf)
