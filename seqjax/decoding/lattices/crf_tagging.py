"""The best taggings of a conditional random field, and draws from it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax.core.noise import Noise, fold_in_rows
from seqjax.core.steps import swap_time
from seqjax.decoding.engine.rows import ASIDE
from seqjax.losses.crf import Chain, CRFParams, check_chain, forward
from seqjax.losses.log_numbers import LOG_ZERO


class Tagging(NamedTuple):
    """A tagging of each row, or its N best.

    Fields:
      tags: [B, T] or [B, N, T] int32, 0 where padded.
      scores: [B] or [B, N] floats, s(y) of `crf_loss`.
    """

    tags: jax.Array
    scores: jax.Array


@own_ranks
def crf_viterbi(
    params: CRFParams, emissions: Any, *, lengths: Any = None, mask: Any = None
) -> Tagging:
    """The best tagging of each row as a whole, which need not have the best tag at each step.

        y* = argmax s(y)    s as in `crf_loss`

    Args:
      params: `CRFParams` of K tags.
      emissions: [B, T, K] floats.
      lengths: [B] integers, 0..T; None means T. What padding holds changes nothing.
      mask: [B, T] bool, True = real, any pattern.

    Returns:
      `Tagging`; ties go to the lowest id, the last step's first. Rows without a step have the score
      0; where every tagging is forbidden it is -inf and the tags have no meaning.

    Raises:
      ValueError: as `crf_loss`.

    Example:
      >>> from seqjax.losses import CRFParams
      >>> params = CRFParams.zeros(2)._replace(transitions=jnp.array([[0.0, -jnp.inf], [0.0, 0.0]]))
      >>> emissions = jnp.array([[[1.0, 0.0], [0.0, 1.5]]])
      >>> best = crf_viterbi(params, emissions)
      >>> best.tags.tolist(), best.scores.tolist()
      ([[1, 1]], [1.5])

    References:
      Viterbi, Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding
      Algorithm, 1967. Lafferty, McCallum and Pereira 2001.
    """
    chain = check_chain(params, emissions, lengths, mask)
    found = forward(chain, jnp.max)
    # The tag before is found again from α: no table of pointers is stored.
    best = lambda scores, _: jax.lax.argmax(scores, 1, jnp.int32)
    tags = _backward(chain, found.every, best(found.last + chain.end, None), best, None)
    scores = jnp.where(jnp.any(chain.real, axis=1), found.scores(chain.end, jnp.max), 0)
    return Tagging(tags, jnp.where(scores < LOG_ZERO / 2, -jnp.inf, scores))


@own_ranks
def crf_n_best(
    params: CRFParams, emissions: Any, *, n: int, lengths: Any = None, mask: Any = None
) -> Tagging:
    """The N best taggings of each row, exactly, best first: Viterbi's recursion over lists.

        αₜ(j) = the N best of { αₜ₋₁(i)ₙ + transitions[i, j] } + emissions[t, j]

    For n-best lists that are ranked again, or for the margin between the two best.

    Args:
      params: `CRFParams` of K tags.
      emissions: [B, T, K] floats.
      n: N. Time and memory are N times those of `crf_viterbi`, and pointers are kept.
      lengths: [B] integers, 0..T; None means T. What padding holds changes nothing.
      mask: [B, T] bool, True = real, any pattern.

    Returns:
      `Tagging` with tags [B, N, T] and scores [B, N]; ties as in `crf_viterbi`. Where a row has
      fewer taggings that are not forbidden, the last scores are -inf and their tags mean nothing.

    Raises:
      ValueError: as `crf_loss`, or if n is not a positive integer.

    Example:
      >>> from seqjax.losses import CRFParams
      >>> best = crf_n_best(CRFParams.zeros(2), jnp.array([[[1.0, 0.0], [0.0, 1.5]]]), n=3)
      >>> best.tags.tolist(), best.scores.tolist()
      ([[[0, 1], [1, 1], [0, 0]]], [[2.5, 1.5, 1.0]])

    References:
      Viterbi 1967. Seshadri and Sundberg, List Viterbi Decoding Algorithms with Applications, 1994,
      section II, for the parallel form.
    """
    chain = check_chain(params, emissions, lengths, mask)
    count = checks.positive_int("n", n)
    rows, _, size = chain.emissions.shape
    only = jnp.arange(count) == 0  # a row begins with a single way to each tag
    slots = jnp.arange(size * count, dtype=jnp.int32).reshape(size, count)

    def step(scores, inputs):  # scores [B, K, N]
        emission, real, first = (x.reshape(rows, -1, 1) for x in inputs)
        moved = scores[..., None] + chain.transitions[:, None]  # [B, i, N, j]
        moved = jnp.swapaxes(moved.reshape(rows, -1, size), 1, 2)
        best, before = jax.lax.top_k(moved, count)  # [B, j, N], places in K N
        begun = jnp.where(only, chain.start[:, None], -jnp.inf)
        new = jnp.where(first, begun, best) + emission
        return jnp.where(real, new, scores), jnp.where(real & ~first, before, slots)

    def back(slot, inputs):  # slot [B, N], which of the K N ways
        before, real = inputs
        tags = jnp.where(real[:, None], slot // count, 0)
        return jnp.take_along_axis(before.reshape(rows, -1), slot, axis=1), tags

    begin = jnp.zeros((rows, size, count), chain.emissions.dtype)
    real = swap_time(chain.real)
    xs = (swap_time(chain.emissions), real, swap_time(chain.first))
    scores, before = jax.lax.scan(step, begin, xs)
    final = (scores + chain.end[:, None]).reshape(rows, -1)
    scores, slot = jax.lax.top_k(final, count)
    tags = jax.lax.scan(back, slot, (before, real), reverse=True)[1]  # [T, B, N]
    empty = ~jnp.any(chain.real, axis=1, keepdims=True)
    scores = jnp.where(empty, jnp.where(only, 0, -jnp.inf), scores)
    return Tagging(jnp.moveaxis(tags, 0, 2), jnp.where(scores < LOG_ZERO / 2, -jnp.inf, scores))


@own_ranks
def crf_sample(
    params: CRFParams,
    emissions: Any,
    *,
    key: jax.Array,
    lengths: Any = None,
    mask: Any = None,
) -> jax.Array:
    """Draws a tagging of each row from a conditional random field, exactly.

        y ~ exp s(y) / Z    the last tag from the forward sums, then each tag given the next

    Forward filtering, backward sampling.

    Args:
      params: `CRFParams` of K tags.
      emissions: [B, T, K] floats.
      key: a typed key, of which row b uses fold_in(key, b), or typed keys [B], one a row: a row's
        draws depend on its own key, steps and scores alone.
      lengths: [B] integers, 0..T; None means T. What padding holds changes nothing.
      mask: [B, T] bool, True = real, any pattern.

    Returns:
      Tags [B, T] int32, 0 where padded; without meaning where every tagging is forbidden.

    Raises:
      ValueError: as `crf_loss`, or if key is no typed key.

    Example:
      >>> from seqjax.losses import CRFParams
      >>> emissions = jnp.log(jnp.array([[[0.9, 0.1]]]))
      >>> keys = jax.random.split(jax.random.key(0), 1000)
      >>> params, many = CRFParams.zeros(2), jnp.broadcast_to(emissions, (1000, 1, 2))
      >>> print(f"{crf_sample(params, many, key=keys).mean():.1f}")
      0.1

    References:
      Scott, Bayesian Methods for Hidden Markov Models, 2002, section 2.1, for the recursion.
    """
    chain = check_chain(params, emissions, lengths, mask)
    rows, steps = chain.real.shape
    checks.key(key, rows)
    keys = Noise.from_key(key, rows).key
    found = forward(chain, jax.nn.logsumexp)

    def draw(scores, t):
        now = fold_in_rows(keys, jnp.broadcast_to(t, keys.shape))
        return jax.vmap(jax.random.categorical)(now, scores).astype(jnp.int32)

    times = jnp.arange(steps, dtype=jnp.int32)
    return _backward(chain, found.every, draw(found.last + chain.end, ASIDE), draw, times)


def _backward(chain: Chain, alphas: jax.Array, last: jax.Array, choose, xs: Any) -> jax.Array:
    """Tags [B, T] from the last one [B] back: choose(scores [B, K] of the tag before, x) -> [B]."""

    def step(tag, inputs):
        alpha, real, x = inputs  # alpha of the step before
        scores = alpha + chain.transitions.T[tag]
        before = jnp.where(real, choose(scores, x), tag)
        return before, jnp.where(real, tag, 0)

    earlier = jnp.pad(alphas, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    inputs = (*swap_time((earlier, chain.real)), xs)
    return swap_time(jax.lax.scan(step, last, inputs, reverse=True)[1])
