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
    handicap: jax.Array | None = None,
    forced: jax.Array | None = None,
) -> Extensions:
    """The best (1 + E) K extensions of hypotheses with log_probs [R, K], given logits [R, K, V].

    With E ending tokens so many suffice: at most E K end, so that K are left. Each hypothesis
    offers its own best first: K that go on and E that end. Thus nothing of the vocabulary's size
    is added to, written or ordered over K, and near-equal logits keep their order when a sum
    rounds them equal. `handicap` [R, V] is taken off for the ranking alone; `forced` [R] is the
    only token allowed where it is not -1.
    """
    size, vocab = logits.shape[1:]
    offers = min(size + len(ends), vocab)
    ranks, tokens, log_p = _offers(logits, ends, offers, normalise, handicap, forced)
    # Whatever a place without a hypothesis computes, NaN included, stays out.
    there = (log_probs > -jnp.inf) | jnp.isnan(log_probs)
    total = lambda p: jnp.where(there[..., None], log_probs[..., None] + p, -jnp.inf)
    flat = lambda a: a.reshape(a.shape[0], -1)
    count = min((1 + len(ends)) * size, size * offers)
    best, order = _order(flat(total(ranks)), count) if size > 1 else _as_they_are(total(ranks))
    best = best if handicap is None else pick(flat(total(log_p)), order)
    parents, tokens = lax.div(order, jnp.int32(offers)), pick(flat(tokens), order)
    return Extensions(parents, tokens, best, *_live(tokens, best, ends, size))


def extend_groups(
    log_probs: jax.Array, logits: jax.Array, groups: int, diversity: Any, ends, *, forced, **how
) -> Extensions:
    """`extend` for rows [B * G], the G groups of a row one after another.

    A token is handicapped by `diversity` times the hypotheses of earlier groups that now go on
    with it.
    """
    batch, vocab = log_probs.shape[0] // groups, logits.shape[-1]
    rows = jnp.arange(batch, dtype=jnp.int32)[:, None]
    diversity = jnp.asarray(diversity, logits.dtype)

    def one(counts, group):
        split = lambda x: x.reshape(-1, groups, *x.shape[1:])
        mine = lambda x: lax.dynamic_index_in_dim(split(x), group, axis=1, keepdims=False)
        given = None if forced is None else mine(forced)
        here: dict[str, Any] = dict(handicap=diversity * counts, forced=given)
        found = extend(mine(log_probs), mine(logits), ends, **here, **how)
        alive = (found.live_log_probs > -jnp.inf).astype(counts.dtype)
        return counts.at[rows, pick(found.tokens, found.live)].add(alive), found

    none = jnp.zeros((batch, vocab), logits.dtype)
    _, found = lax.scan(one, none, jnp.arange(groups, dtype=jnp.int32))  # leaves [G, B, ...]
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), found)


def is_end(tokens: jax.Array, ends: tuple[int, ...]) -> jax.Array:
    """Whether each token ends its sequence."""
    return jnp.any(tokens[..., None] == jnp.array(ends, tokens.dtype), axis=-1)


def _as_they_are(best: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What a single hypothesis offers [R, 1, C] is in order."""
    best = best[:, 0]
    order = jnp.arange(best.shape[1], dtype=jnp.int32)
    return best, jnp.broadcast_to(order, best.shape)


def _offers(logits, ends, offers: int, normalise: bool, handicap, forced):
    """Each hypothesis's best tokens, best first: ranks, tokens and log-probabilities [R, K, M]."""
    shown = logits if handicap is None else logits - handicap[:, None]
    best, tokens, top = top_k(shown, offers)
    top = jnp.max(logits, axis=-1, keepdims=True) if handicap is not None else top[..., None]
    empty = top == -jnp.inf
    first = jnp.arange(offers, dtype=jnp.int32) == 0
    # A row that allows nothing allows the first ending token, as everywhere in decoding.
    best = jnp.where(empty & first, 0, best)
    tokens = jnp.where(empty & first, ends[0], tokens)
    top = jnp.where(empty | (not normalise), 0, top)
    normaliser = jnp.zeros_like(top)
    if normalise:
        total = jnp.sum(jnp.exp(logits - top), axis=-1, keepdims=True)  # >= 1, 0 where empty
        normaliser = jnp.log(jnp.where(empty, 1, total))
    log_p = lambda x: x - top - normaliser
    look_up = lambda ids: jnp.take_along_axis(logits, ids, axis=-1, mode="promise_in_bounds")
    ranks = actual = log_p(best)
    if handicap is not None:
        actual = jnp.where(empty, ranks, log_p(look_up(tokens)))
    if forced is None:
        return ranks, tokens, actual
    only = forced[:, None, None]  # [R, 1, 1]
    fixed = jnp.broadcast_to(jnp.maximum(only, 0), (*logits.shape[:2], 1))
    given = jnp.where(empty, jnp.where(fixed == ends[0], 0, -jnp.inf), log_p(look_up(fixed)))
    choose = lambda free, given: jnp.where(only < 0, free, given)
    given = jnp.where(first, given, -jnp.inf)
    return choose(ranks, given), choose(tokens, fixed), choose(actual, given)


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
