"""Softmax over a large vocabulary, estimated from a sample of its classes."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks
from seqjax.core.ids import check_ids
from seqjax.core.products import dot
from seqjax.core.steps import zero_rows
from seqjax.losses.labels import check_integers, to_rank, widened


class Proposal(NamedTuple):
    """A distribution over V classes from which a draw costs the same for any V.

    Made by `make_proposal`. A class is drawn evenly, and replaced by its alias with probability
    1 - keep: the alias method.

    Fields:
      log_probs: [V] float32, log q in nats, -inf for classes that are never drawn.
      keep: [V] float32.
      alias: [V] int32.
    """

    log_probs: jax.Array
    keep: jax.Array
    alias: jax.Array

    def draw(self, key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Independent classes of a shape, int32, with replacement."""
        place, coin = jax.random.split(key)
        drawn = jax.random.randint(place, shape, 0, len(self.keep), jnp.int32)
        kept = jax.random.uniform(coin, shape, self.keep.dtype) < self.keep[drawn]
        return jnp.where(kept, drawn, self.alias[drawn])


def make_proposal(weights: Any) -> Proposal:
    """A distribution proportional to weights, such as counts in a corpus, or counts ** 0.75.

    The tables are made once, on the host, in float64.

    Args:
      weights: [V] numbers of at least 0, not all 0.

    Returns:
      A `Proposal` of V classes.

    Raises:
      ValueError: if weights is not [V], holds a negative number, NaN or an infinity, or all are 0.

    Example:
      >>> proposal = make_proposal([6, 3, 1])
      >>> [f"{p:.1f}" for p in jnp.exp(proposal.log_probs)]
      ['0.6', '0.3', '0.1']

    References:
      Walker, An Efficient Method for Generating Discrete Random Variables with General
      Distributions, 1977.
    """
    weights = np.asarray(weights, np.float64)
    checks.require(
        weights.ndim == 1 and weights.size > 0,
        f"weights has shape {weights.shape}; expected one number a class, [V].",
    )
    checks.require(
        bool(np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0),
        f"weights has values from {weights.min()} to {weights.max()}; expected finite numbers of "
        "at least 0, not all 0.",
    )
    probs = weights / weights.sum()
    keep, alias = _alias_table(probs)
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)
    floats = lambda x: jnp.asarray(x, jnp.float32)
    return Proposal(floats(log_probs), floats(keep), jnp.asarray(alias, jnp.int32))


def _alias_table(probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of mass 1 / V, each shared by its own class and one other."""
    size = len(probs)
    keep, alias = probs * size, np.arange(size)
    small, large = (list(np.flatnonzero(x)) for x in (keep < 1, keep >= 1))
    while small and large:
        lower, upper = small.pop(), large[-1]
        alias[lower] = upper
        keep[upper] -= 1 - keep[lower]
        if keep[upper] < 1:
            small.append(large.pop())
    keep[np.array(small + large, int)] = 1  # what rounding leaves over
    return keep, alias


def sampled_softmax_losses(
    hidden: Any,
    weights: Any,
    targets: Any,
    proposal: Proposal,
    *,
    key: jax.Array,
    num_samples: int,
    bias: Any = None,
    mask: Any = None,
) -> jax.Array:
    """Cross-entropy whose sum over the vocabulary is estimated from S sampled classes, in nats.

        o = W h + b    Ẑ = exp(oᵧ) + 1/S Σₛ [jₛ ≠ y] exp(oⱼ) / q(j),  jₛ ~ q    loss = log Ẑ - oᵧ

    Dividing by q is the correction by log q: E[Ẑ] = Z, the true sum, without bias for any S and any
    q that gives every class a chance. log Ẑ is not log Z: by Jensen's inequality the loss is too
    low in expectation, by about Var(Ẑ) / 2 Z², and its gradient is biased to the same order,
    O(1 / S); both vanish as S grows or where q(j) is proportional to exp(oⱼ) off the target. Use it
    to train with a vocabulary too large for all its logits. Do not report it, nor a perplexity from
    it: evaluate with `cross_entropy`.

    Args:
      hidden: [..., D] floats.
      weights: [V, D], a row a class, as those of an embedding.
      targets: [...] integers in 0..V-1.
      proposal: q over the V classes, of `make_proposal`: near the classes' own frequencies.
      key: a typed key, another one each call. All positions of a call share its S draws.
      num_samples: S, with replacement.
      bias: [V], or None.
      mask: [...] bool, True = real; None means that every position is.

    Returns:
      [...] nats, exactly 0 where masked. Only 1 + S rows of the weights have a gradient.

    Raises:
      ValueError: if shapes or dtypes do not fit, key is no typed key, or a real target is outside
        the vocabulary and its value is known; inside `jit` such a target makes its loss NaN.

    Example:
      >>> hidden, weights = jnp.zeros((1, 2)), jnp.zeros((1000, 2))
      >>> q, key = make_proposal(jnp.ones(1000)), jax.random.key(0)
      >>> loss = sampled_softmax_losses(hidden, weights, jnp.array([3]), q, key=key, num_samples=5)
      >>> print(f"{jnp.exp(loss[0]):.1f}")  # of 1 + 1000, or less where 3 itself was drawn
      1001.0

    References:
      Bengio and Senécal, Adaptive Importance Sampling to Accelerate Training of a Neural
      Probabilistic Language Model, 2008. Jean, Cho, Memisevic and Bengio, On Using Very Large
      Target Vocabulary for Neural Machine Translation, 2015. Blanc and Rendle, Adaptive Sampled
      Softmax with Kernel Based Sampling, 2018, for the distribution without bias.
    """
    hidden, weights = jnp.asarray(hidden), jnp.asarray(weights)
    checks.require(
        hidden.ndim >= 1 and weights.ndim == 2 and hidden.shape[-1] == weights.shape[1],
        f"hidden has shape {hidden.shape} and weights {weights.shape}; expected [..., D] and "
        "[V, D], a row a class.",
    )
    size = weights.shape[0]
    checks.require(
        proposal.log_probs.shape == (size,),
        f"proposal is over {proposal.log_probs.shape[0]} classes but weights has {size} rows; "
        "expected as many.",
    )
    checks.key(key)
    count = checks.positive_int("num_samples", num_samples)
    hidden, targets, bad = check_positions(hidden, targets, mask, size)
    targets = jnp.where(bad, 0, targets)
    drawn = proposal.draw(key, (count,))
    rows = weights[targets].astype(hidden.dtype)
    own = jnp.sum(widened(hidden) * widened(rows), axis=-1)
    others = dot("hidden", hidden, weights[drawn].T)  # [..., S]
    if bias is not None:
        bias = jnp.asarray(bias).astype(own.dtype)
        own, others = own + bias[targets], others + to_rank(bias[drawn], others.ndim)
    expected = proposal.log_probs[drawn] + math.log(count)  # log S q
    others = others - to_rank(expected.astype(others.dtype), others.ndim)
    others = jnp.where(to_rank(drawn, others.ndim) == targets[..., None], -jnp.inf, others)
    both = jnp.concatenate([own[..., None], others], axis=-1)
    losses = jnp.where(bad, jnp.nan, jax.nn.logsumexp(both, axis=-1) - own)
    return losses if mask is None else jnp.where(mask, losses, 0)


def check_positions(hidden, targets, mask, vocab_size: int):
    """hidden [..., D] and targets [...] with zeros where masked, and which targets are no ids."""
    checks.require(checks.is_float(hidden), f"hidden is {hidden.dtype}; expected floats.")
    shape = hidden.shape[:-1]
    targets = check_integers("targets", targets, shape, "hidden without its last axis")
    if mask is not None:
        mask = jnp.asarray(mask)
        checks.require(
            mask.dtype == jnp.bool_ and mask.shape == shape,
            f"mask is {mask.dtype}{list(mask.shape)}; expected bool{list(shape)}, True = real, one "
            "entry a target.",
        )
        hidden, targets = zero_rows(mask, hidden), zero_rows(mask, targets)
    bad = (targets < 0) | (targets >= vocab_size)
    check_ids("targets", targets, bad, f"expected ids in 0..{vocab_size - 1}. Mask padding.")
    return hidden, targets, bad
