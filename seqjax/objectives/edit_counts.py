"""Exact numbers of strings at each edit distance from a target."""

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal import checks
from seqjax.metrics.distances import check_tokens

LONGEST = 10  # of a target: 3 ** 10 profiles


def edit_log_counts(targets, lengths=None, *, vocab_size: int, max_len: int) -> jax.Array:
    """How many strings there are at each edit distance from a target, in logarithms.

        log #{y: |y| <= max_len, d(y, y*) = e}    for e = 0, 1, ..., max(T, L)

    There is no closed form. But the rows of the table of edit distances, read along a string, are
    the states of an automaton (neighbours differ by -1, 0 or 1). A uniformly drawn string walks
    through it as a Markov chain, and the distribution of the last row at each length gives all
    counts, exact but for rounding. They normalise `payoff_log_probs`, tell the expected number of
    edits at a temperature, and test `sample_edits`. It takes O(L T 3ᵀ) operations and O(T 3ᵀ)
    memory a row: for targets of up to 10 tokens.

    Args:
      targets: [B, T] integers, T <= 10, ids in 0..V-1.
      lengths: [B] tokens of each, 0..T; None means T.
      vocab_size: V.
      max_len: L, the longest strings counted; V ** -L has to be a normal float.

    Returns:
      [B, max(T, L) + 1] floats, -inf where there is no string at that distance.

    Raises:
      ValueError: if an argument does not fit, or T is above 10.

    Example:
      >>> counts = edit_log_counts(jnp.array([[0, 1]]), vocab_size=2, max_len=3)
      >>> jnp.exp(counts).round().tolist()  # of 15 strings
      [[1.0, 8.0, 6.0, 0.0]]

    References:
      Wagner and Fischer, The string-to-string correction problem, 1974, for the table.
    """
    targets, lengths = check_tokens("targets", targets, "lengths", lengths)
    checks.require(
        targets.ndim == 2 and targets.shape[1] <= LONGEST,
        f"targets has shape {targets.shape}; expected [B, T] with T of at most {LONGEST}: there "
        "are 3 ** T rows of a table of edit distances. Cut the padding, or count a sample's.",
    )
    checks.positive_int("vocab_size", vocab_size)
    size = checks.positive_int("max_len", max_len)
    one = lambda target, length: _count(target, length, vocab_size, size)
    return lax.map(lambda row: one(*row), (targets, lengths))


def _count(target: jax.Array, length: jax.Array, vocab_size: int, size: int) -> jax.Array:
    """log counts [max(T, L) + 1] of one target [T] of `length` tokens."""
    width = target.shape[0]
    after, weights = _moves(target, length, vocab_size)  # [N, T + 1], [T + 1]
    rises = _rises(width)  # [N, T]
    within = jnp.arange(width, dtype=jnp.int32) < length
    climbed = jnp.sum(jnp.where(within, rises, 0), axis=1, dtype=jnp.int32)  # row[m] - row[0]
    far = max(width, size) + 1

    def at(share, number):
        """log of how many strings of this length lie at each distance."""
        shares = jax.ops.segment_sum(share, climbed + number, num_segments=far)
        return jnp.log(shares) + number.astype(share.dtype) * jnp.log(float(vocab_size))

    def further(share, number):
        moved = (share[:, None] * weights).reshape(-1)
        share = jax.ops.segment_sum(moved, after.reshape(-1), num_segments=share.size)
        return share, at(share, number)

    start = jnp.zeros(3**width, weights.dtype).at[-1].set(1.0)  # 0, 1, 2, ...: it only rises
    first = at(start, jnp.int32(0))
    _, rest = lax.scan(further, start, jnp.arange(1, size + 1, dtype=jnp.int32))
    return jax.nn.logsumexp(jnp.concatenate([first[None], rest]), axis=0)


def _rises(width: int) -> jax.Array:
    """[3ᵀ, T] in -1, 0, 1: how a row of the table changes from place to place, by its number."""
    numbers = jnp.arange(3**width, dtype=jnp.int32)[:, None]
    return numbers // 3 ** jnp.arange(width, dtype=jnp.int32) % 3 - 1


def _moves(target: jax.Array, length: jax.Array, vocab_size: int):
    """Where a token leads, from each row to which [3ᵀ, T + 1], and how probable it is [T + 1].

    Token t < T is the target's t-th where it stands there first; the last is all that are not in
    the target.
    """
    width = target.shape[0]
    places = jnp.arange(width, dtype=jnp.int32)
    real = places < length
    same = (target[:, None] == target) & real & real[:, None]  # [token, place]
    first = real & ~jnp.any(same & (places < places[:, None]), axis=1)
    kinds = jnp.append(first, True)
    match = jnp.concatenate([same, jnp.zeros((1, width), bool)])
    others = vocab_size - jnp.sum(first)
    weights = jnp.where(kinds, jnp.append(jnp.ones(width, others.dtype), others), 0)

    row = jnp.cumsum(_rises(width), axis=1, dtype=jnp.int32)[
        :, None
    ]  # [N, 1, T], row[0] = 0 left out
    before = jnp.concatenate([jnp.zeros_like(row[..., :1]), row[..., :-1]], axis=-1)
    entered = jnp.minimum(row + 1, before + 1 - match.astype(row.dtype))  # [N, T + 1, T]
    begin = jnp.ones((*entered.shape[:-1], 1), row.dtype)
    entered = jnp.concatenate([begin, entered], axis=-1)
    along = jnp.arange(width + 1, dtype=row.dtype)
    new = lax.cummin(entered - along, axis=2) + along
    rises = jnp.diff(new, axis=-1) + 1
    number = jnp.sum(rises * 3 ** jnp.arange(width, dtype=row.dtype), axis=-1, dtype=jnp.int32)
    return number, weights.astype(float) / vocab_size
