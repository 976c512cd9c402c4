"""Linear-chain conditional random fields: distributions over whole taggings."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax.core.ids import check_ids
from seqjax.core.lengths import check_lengths, within
from seqjax.core.scan import check_flags
from seqjax.core.steps import swap_time, zero_rows
from seqjax.losses.labels import (
    check_floats,
    check_integers,
    to_rank,
)
from seqjax.losses.log_numbers import LOG_ZERO


class CRFParams(NamedTuple):
    """Scores of tags that follow each other, in nats; -inf forbids.

    Learn them from zeros; add those of `tag_rules` where taggings must be valid.

    Fields:
      transitions: [K, K], at [i, j] of tag j after tag i.
      start: [K] of the first tag.
      end: [K] of the last tag.

    Raises:
      ValueError: in `zeros`, for less than one tag.
    """

    transitions: jax.Array
    start: jax.Array
    end: jax.Array

    @classmethod
    def zeros(cls, num_tags: int, dtype: Any = None) -> "CRFParams":
        """All scores 0 for K tags: an independent softmax at every step."""
        size = checks.positive_int("num_tags", num_tags)
        return cls(jnp.zeros((size, size), dtype), jnp.zeros(size, dtype), jnp.zeros(size, dtype))


class Marginals(NamedTuple):
    """Posterior probabilities of tags.

    Fields:
      tags: [B, T, K], of each tag at each step, 0 where padded.
      pairs: [B, K, K], at [i, j] the expected number of times that j follows i in a row.
    """

    tags: jax.Array
    pairs: jax.Array


def crf_loss(
    params: CRFParams, emissions: Any, tags: Any, *, lengths: Any = None, mask: Any = None
) -> jax.Array:
    """-log of the probability of each row's tags as a whole, in nats.

        s(y) = start[y₁] + Σₜ emissionsₜ[yₜ] + Σₜ transitions[yₜ, yₜ₊₁] + end[y_T]
        loss = log Z - s(y)    Z = Σ exp s(y') over all taggings y'

    The exact likelihood; its gradient is the model's marginals less the counts in y. Use it where
    neighbouring tags constrain each other (named entities, segments). Where tags are independent
    given the inputs, `cross_entropy` learns the same for less; where the sum over taggings is
    wanted but not the tags themselves, use `ctc_loss`.

    Args:
      params: `CRFParams` of K tags.
      emissions: [B, T, K] floats, a score of each tag at each step. Half precision is computed in
        float32.
      tags: [B, T] integers in 0..K-1; anything in padding.
      lengths: [B] integers, 0..T; None means T. What padding holds, NaN included, changes neither
        a value nor a gradient.
      mask: [B, T] bool, True = real, any pattern: the steps around a gap become neighbours. Given
        lengths too, a step is real by both.

    Returns:
      [B] nats, at least 0, and 0 for rows without a step. +inf, with zero gradient, where the tags
      themselves are forbidden; NaN, inside `jit`, where a tag is out of range.

    Raises:
      ValueError: if shapes or dtypes do not fit, or, where values are known, a length or a tag is
        out of range. Inside `jit` a caller wrapped in `checkify.checkify` gets these errors.

    Example:
      >>> loss = crf_loss(CRFParams.zeros(3), jnp.zeros((1, 2, 3)), jnp.array([[0, 2]]))
      >>> print(f"{jnp.exp(-loss[0]):.3f}")  # 9 taggings, all as good
      0.111

    References:
      Lafferty, McCallum and Pereira, Conditional Random Fields: Probabilistic Models for Segmenting
      and Labeling Sequence Data, 2001. Lample et al., Neural Architectures for Named Entity
      Recognition, 2016, section 2.2, for emissions of a recurrent network.
    """
    chain = check_chain(params, emissions, lengths, mask)
    shape, size = chain.real.shape, chain.emissions.shape[-1]
    tags = check_integers("tags", tags, shape, "emissions without its last axis")
    bad = chain.real & ((tags < 0) | (tags >= size))
    check_ids("tags", tags, bad, f"expected ids in 0..{size - 1}, the last axis of emissions.")
    tags = jnp.where(chain.real & ~bad, tags, 0)
    score, total = _score(chain, tags), _log_total(chain)
    impossible = score < LOG_ZERO / 2
    loss = jnp.where(impossible, 0, total - score)
    loss = loss - jax.lax.stop_gradient(jnp.minimum(loss, 0))  # rounding goes below 0
    return jnp.where(jnp.any(bad, axis=1), jnp.nan, jnp.where(impossible, jnp.inf, loss))


def crf_log_partition(
    params: CRFParams, emissions: Any, *, lengths: Any = None, mask: Any = None
) -> jax.Array:
    """log Z of `crf_loss`: of the sum over all taggings of a row of exp of their score.

    One pass over time. Its gradient by the emissions is the marginals of the tags.

    Args:
      params: `CRFParams` of K tags.
      emissions: [B, T, K] floats.
      lengths: [B] integers, 0..T; None means T.
      mask: [B, T] bool, True = real.

    Returns:
      [B] nats; 0 for rows without a step, -inf where every tagging is forbidden.

    Raises:
      ValueError: as `crf_loss`.

    Example:
      >>> total = crf_log_partition(CRFParams.zeros(3), jnp.zeros((1, 4, 3)))
      >>> print(f"{jnp.exp(total[0]):.1f}")
      81.0

    References:
      Lafferty, McCallum and Pereira 2001.
    """
    total = _log_total(check_chain(params, emissions, lengths, mask))
    return jnp.where(total < LOG_ZERO / 2, -jnp.inf, total)


def crf_marginals(
    params: CRFParams, emissions: Any, *, lengths: Any = None, mask: Any = None
) -> Marginals:
    """The probability of each tag at each step, given the whole row, and the expected transitions.

    They are the gradient of log Z by the emissions and the transitions: forward and backward pass.

    Args:
      params: `CRFParams` of K tags.
      emissions: [B, T, K] floats.
      lengths: [B] integers, 0..T; None means T.
      mask: [B, T] bool, True = real.

    Returns:
      `Marginals`: tags [B, T, K] sum to 1 at every real step, pairs [B, K, K] to the number of
      transitions. Without meaning where every tagging is forbidden.

    Raises:
      ValueError: as `crf_loss`.

    Example:
      >>> emissions = jnp.log(jnp.array([[[0.9, 0.1], [0.5, 0.5]]]))
      >>> [f"{p:.3f}" for p in crf_marginals(CRFParams.zeros(2), emissions).tags[0, 0]]
      ['0.900', '0.100']

    References:
      Lafferty, McCallum and Pereira 2001.
    """
    chain = check_chain(params, emissions, lengths, mask)
    rows = chain.real.shape[0]
    pairs = jnp.broadcast_to(chain.transitions, (rows, *chain.transitions.shape))

    def total(emissions, pairs):
        return jnp.sum(_log_total(chain._replace(emissions=emissions, transitions=pairs)))

    return Marginals(*jax.grad(total, argnums=(0, 1))(chain.emissions, pairs))


class Chain(NamedTuple):
    """A checked chain, without infinities and with zeros in padding."""

    emissions: jax.Array  # [B, T, K]
    transitions: jax.Array  # [K, K], or [B, K, K]
    start: jax.Array  # [K]
    end: jax.Array  # [K]
    real: jax.Array  # [B, T]

    @property
    def first(self) -> jax.Array:
        """[B, T] bool: the first real step of each row."""
        return self.real & (jnp.cumsum(self.real, axis=1, dtype=jnp.int32) == 1)


class Forward(NamedTuple):
    """Scores of all ways to each tag, kept near 0, where float32 has the most digits."""

    last: jax.Array  # [B, K] of the last step, less the level
    every: jax.Array  # [B, T, K] of every step, each less some number a row
    level: jax.Array  # [B] an integer

    def scores(self, end: jax.Array, join: Callable[..., jax.Array]) -> jax.Array:
        """The scores of whole rows [B], joined over the last tag."""
        return self.level + join(self.last + end[None], axis=-1)


def forward(chain: Chain, join: Callable[..., jax.Array]) -> Forward:
    """Runs over the steps; `join(scores, axis)` reduces over the tag before, to a sum or a max."""

    def step(carry, inputs):
        alpha, level = carry
        emission, real, first = inputs
        moved = join(alpha[:, :, None] + to_rank(chain.transitions, 3), axis=1)
        new = jnp.where(first[:, None], chain.start[None], moved) + emission
        up = jnp.floor(jnp.max(new, axis=1))
        alpha = jnp.where(real[:, None], new - up[:, None], alpha)
        return (alpha, jnp.where(real, level + up, level)), alpha

    emissions = chain.emissions
    begin = jnp.zeros((emissions.shape[0], emissions.shape[2]), emissions.dtype)
    begin = trees.vary_like((begin, begin[:, 0]), chain)
    xs = swap_time((emissions, chain.real, chain.first))
    step = jax.checkpoint(step, prevent_cse=False)  # else [B, K, K] is stored at every step
    (last, level), every = jax.lax.scan(step, begin, xs)
    return Forward(last, swap_time(every), level)


def _log_total(chain: Chain) -> jax.Array:
    """log Z [B], about `LOG_ZERO` or less for log 0."""
    total = forward(chain, jax.nn.logsumexp).scores(chain.end, jax.nn.logsumexp)
    return jnp.where(jnp.any(chain.real, axis=1), total, 0)


def _score(chain: Chain, tags: jax.Array) -> jax.Array:
    """s(y) [B] of tags [B, T]."""
    emitted = jnp.take_along_axis(chain.emissions, tags[..., None], axis=-1)[..., 0]

    def step(before, inputs):
        tag, real, first = inputs
        moved = jnp.where(first, chain.start[tag], chain.transitions[before, tag])
        return jnp.where(real, tag, before), jnp.where(real, moved, 0)

    begin = trees.vary_like(jnp.zeros(tags.shape[0], jnp.int32), (chain, tags))
    last, moved = jax.lax.scan(step, begin, swap_time((tags, chain.real, chain.first)))
    whole = jnp.sum(zero_rows(chain.real, emitted), axis=1) + jnp.sum(moved, axis=0)
    return jnp.where(jnp.any(chain.real, axis=1), whole + chain.end[last], 0)


def check_chain(params: CRFParams, emissions: Any, lengths: Any, mask: Any) -> Chain:
    """The arguments of every function here; raises where they do not fit."""
    emissions = check_floats("emissions", emissions, "B T K")
    batch_size, steps, size = emissions.shape
    checks.require(
        isinstance(params, CRFParams),
        f"params is {type(params).__name__}; expected CRFParams(transitions, start, end).",
    )
    shapes = tuple(jnp.shape(x) for x in params)
    checks.require(
        shapes == ((size, size), (size,), (size,)),
        f"params has shapes {shapes}; expected [K, K], [K] and [K] with K = {size}, the last axis "
        "of emissions.",
    )
    real = within(check_lengths("lengths", lengths, "emissions", emissions.shape), steps)
    mask = check_flags("mask", mask, batch_size, steps)
    real = real if mask is None else real & mask
    # The bound also has a gradient of 0 at what is forbidden.
    bounded = lambda x: jnp.maximum(jnp.asarray(x).astype(emissions.dtype), LOG_ZERO)
    transitions, start, end = map(bounded, params)
    return Chain(bounded(zero_rows(real, emissions)), transitions, start, end, real)
