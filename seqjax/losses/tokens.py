"""Losses over sequences of tokens, in nats.

Every loss here is a sum over real tokens, divided (where a mean is asked for) by the number of
real tokens: padding counts neither in the sum nor in the number. Windows, micro-batches and devices
are combined by adding their `LossSum`s, never by averaging their means.

Notation: `...` any leading axes (usually B batch, T time), V vocabulary.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks
from seqjax.core.ids import as_ids, check_ids
from seqjax.core.steps import zero_rows
from seqjax.losses.labels import widened
from seqjax.losses.log_numbers import LOG_ZERO


class LossSum(NamedTuple):
    """A loss that can be combined with others of its kind by adding the fields.

    Fields:
      total: [] float, the loss summed over real tokens, in nats.
      tokens: [] int32, the number of real tokens.
    """

    total: jax.Array
    tokens: jax.Array

    @property
    def mean(self) -> jax.Array:
        """[] nats per real token, 0 where there is none."""
        return self.total / jnp.maximum(self.tokens, 1).astype(self.total.dtype)


def token_losses(logits, targets, *, mask=None, label_smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy of each token, in nats.

        q = (1 - ε) onehot(y) + ε / V        loss = -Σᵥ qᵥ log softmax(x)ᵥ

    What padding holds (NaN, inf, ids out of range) changes neither a value nor a gradient.

    Args:
      logits: [..., V] floats. Half precision is computed in float32.
      targets: [...] integers in 0..V-1.
      mask: [...] bool, True = real; None means that every token is.
      label_smoothing: ε, the probability spread evenly over all V classes, 0 <= ε < 1.

    Returns:
      [...] nats, exactly 0 where masked.

    Raises:
      ValueError: if shapes or dtypes do not fit, or a real target is outside the vocabulary and
        its value is known. Inside `jit` such a target makes its loss NaN, and a caller wrapped in
        `jax.experimental.checkify.checkify` gets this error.

    Example:
      >>> logits = jnp.zeros((1, 3, 4))
      >>> mask = jnp.array([[True, True, False]])
      >>> print(token_losses(logits, jnp.array([[0, 3, -1]]), mask=mask).round(3))
      [[1.386 1.386 0.   ]]

    References:
      Goodfellow et al., Deep Learning, 2016, sections 3.13 and 6.2.1.1, for cross-entropy.
      Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016, section 7,
      for label smoothing.
    """
    logits, targets, mask = _checked(logits, targets, mask, label_smoothing)
    if mask is not None:
        # Both ends are cleaned: a `where` on the losses alone would still send 0 * NaN backwards.
        logits = jnp.where(mask[..., None], logits, 0)
        targets = jnp.where(mask, targets, 0)
    vocab_size = logits.shape[-1]
    # An index below 0 would count from the end, silently; out of range on either side is NaN.
    safe = jnp.where(targets < 0, vocab_size, targets)
    chosen = jnp.take_along_axis(logits, safe[..., None], axis=-1, mode="fill", fill_value=jnp.nan)
    expected = chosen[..., 0]
    if label_smoothing:
        # Not computed for ε = 0: a class ruled out by a logit of -inf would turn it into 0 * inf.
        spread = jnp.mean(logits, axis=-1)
        expected = (1.0 - label_smoothing) * expected + label_smoothing * spread
    losses = jax.nn.logsumexp(logits, axis=-1) - expected
    return losses if mask is None else jnp.where(mask, losses, 0)


def soft_target_losses(logits, target_probs, *, mask=None) -> jax.Array:
    """Cross-entropy of each token to a distribution over the classes, in nats.

        loss = -Σᵥ qᵥ log softmax(x)ᵥ

    For targets that are not one class: a teacher's probabilities (distillation), votes of several
    annotators. Its gradient is softmax(x) - q; its least value is the entropy of q, not 0. What
    padding holds, NaN included, changes neither a value nor a gradient.

    Args:
      logits: [..., V] floats. Half precision is computed in float32.
      target_probs: [..., V] floats q, at least 0, of sum 1. A gradient flows into them too: stop it
        for a teacher's.
      mask: [...] bool, True = real; None means that every token is.

    Returns:
      [...] nats, exactly 0 where masked; +inf, with zero gradient, where q gives some probability
      to a class with a logit of -inf.

    Raises:
      ValueError: if shapes or dtypes do not fit, or real target_probs are known and not a
        distribution.

    Example:
      >>> logits, probs = jnp.zeros((1, 2)), jnp.array([[0.5, 0.5]])
      >>> print(soft_target_losses(logits, probs).round(3))
      [0.693]

    References:
      Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    logits, probs = _check_logits(logits), jnp.asarray(target_probs)
    checks.require(
        checks.is_float(probs) and probs.shape == logits.shape,
        f"target_probs is {probs.dtype}{list(probs.shape)}; expected floats {list(logits.shape)}, "
        "a probability of each class. Ids have token_losses.",
    )
    mask = _check_mask(mask, logits.shape[:-1])
    logits, probs = widened(logits), widened(probs)
    if mask is not None:
        logits, probs = zero_rows(mask, logits), zero_rows(mask, probs)
    _check_distributions(probs, mask)
    log_probs = jnp.maximum(jax.nn.log_softmax(logits), LOG_ZERO)
    impossible = jnp.any((probs > 0) & (log_probs <= LOG_ZERO), axis=-1)
    losses = -jnp.sum(probs * log_probs, axis=-1)
    return jnp.where(impossible, jnp.inf, losses)


def cross_entropy_sum(logits, targets, *, mask=None, label_smoothing: float = 0.0) -> LossSum:
    """Cross-entropy summed over real tokens, and their number.

    The form to combine over windows, micro-batches or devices: add the fields, then take `mean`.
    The gradient of the total is that of the mean times the number of tokens.

    Args:
      logits: [..., V] floats.
      targets: [...] integers in 0..V-1.
      mask: [...] bool, True = real; None means that every token is.
      label_smoothing: as in `token_losses`.

    Returns:
      `LossSum(total, tokens)`, both [], the total in nats.

    Raises:
      ValueError: as `token_losses`.

    Example:
      >>> parts = [cross_entropy_sum(jnp.zeros((n, 2)), jnp.zeros(n, int)) for n in (1, 3)]
      >>> whole = jax.tree.map(jnp.add, *parts)
      >>> print(whole.tokens, whole.mean.round(3))
      4 0.693

    References:
      Goodfellow et al., Deep Learning, 2016, sections 3.13 and 6.2.1.1.
    """
    losses = token_losses(logits, targets, mask=mask, label_smoothing=label_smoothing)
    tokens = losses.size if mask is None else jnp.sum(mask, dtype=jnp.int32)
    return LossSum(jnp.sum(losses), jnp.asarray(tokens, jnp.int32))


def cross_entropy(logits, targets, *, mask=None, label_smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy in nats per real token.

        loss = Σ loss(real tokens) / max(number of real tokens, 1)

    The mean is over the real tokens of this call. Where calls have different numbers of them (a
    last, partly padded window), the mean of their means is not the mean: use `cross_entropy_sum`.

    Args:
      logits: [..., V] floats. Half precision is computed in float32.
      targets: [...] integers in 0..V-1.
      mask: [...] bool, True = real; None means that every token is.
      label_smoothing: ε, the probability spread evenly over all V classes, 0 <= ε < 1.

    Returns:
      A scalar [] in nats, 0 (with zero gradients) where no token is real.

    Raises:
      ValueError: as `token_losses`.

    Example:
      >>> logits = jnp.array([[[2.0, 0.0], [0.0, jnp.nan]]])
      >>> mask = jnp.array([[True, False]])
      >>> print(cross_entropy(logits, jnp.array([[0, 7]]), mask=mask).round(3))
      0.127

    References:
      Shannon, A Mathematical Theory of Communication, 1948, section 6, for entropy. Goodfellow et
      al., Deep Learning, 2016, sections 3.13 and 6.2.1.1, for cross-entropy as a loss.
    """
    return cross_entropy_sum(logits, targets, mask=mask, label_smoothing=label_smoothing).mean


def perplexity(nats_per_token) -> jax.Array:
    """exp of a mean loss in nats per token: the size of an equally uncertain fair die.

    Args:
      nats_per_token: [...] nats per token, a number or an array of any shape.

    Returns:
      [...] without a unit; V for the uniform guess over V tokens.

    Example:
      >>> print(perplexity(math.log(65)).round(1))
      65.0

    References:
      Jelinek, Mercer, Bahl and Baker, Perplexity: a measure of the difficulty of speech recognition
      tasks, 1977. Shannon, A Mathematical Theory of Communication, 1948, for entropy.
    """
    return jnp.exp(jnp.asarray(nats_per_token, float))


def bits_per_character(nats_per_character) -> jax.Array:
    """A mean loss in nats per character, in bits: nats / ln 2.

    With a vocabulary of word pieces, divide the total nats by the characters of the text, not by
    the tokens, before calling this.

    Args:
      nats_per_character: [...] nats per character, a number or an array of any shape.

    Returns:
      [...] bits per character.

    Example:
      >>> print(bits_per_character(math.log(2) * 1.5).round(2))
      1.5

    References:
      Shannon, Prediction and Entropy of Printed English, 1951.
    """
    return jnp.asarray(nats_per_character, float) / math.log(2.0)


def _checked(logits, targets, mask, label_smoothing):
    """The arguments as arrays, logits in at least float32; raises where they do not fit."""
    logits, targets = _check_logits(logits), as_ids("targets", targets)
    checks.require(
        targets.shape == logits.shape[:-1],
        f"targets has shape {targets.shape} but logits has shape {logits.shape}; expected "
        f"{logits.shape[:-1]}, the shape of logits without its last axis (the vocabulary).",
    )
    checks.rate("label_smoothing", label_smoothing)
    mask = _check_mask(mask, targets.shape)
    bad = (targets < 0) | (targets >= logits.shape[-1])
    expected = f"expected ids in 0..{logits.shape[-1] - 1}, the last axis of logits. Mask padding."
    check_ids("targets", targets, bad if mask is None else bad & mask, expected)
    return widened(logits), targets, mask


def _check_logits(logits) -> jax.Array:
    logits = jnp.asarray(logits)
    checks.require(
        logits.ndim >= 1 and checks.is_float(logits),
        f"logits is {logits.dtype}{list(logits.shape)}; expected floats [..., V].",
    )
    return logits


def _check_mask(mask, shape: tuple[int, ...]) -> jax.Array | None:
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    checks.require(
        mask.dtype == jnp.bool_,
        f"mask is {mask.dtype}; expected bool, True = real. Write mask.astype(bool), or "
        "targets != pad_id.",
    )
    checks.require(
        mask.shape == shape,
        f"mask has shape {mask.shape} but targets has shape {shape}; expected the same, one entry "
        "a token.",
    )
    return mask


def _check_distributions(probs: jax.Array, mask: jax.Array | None) -> None:
    """Refuses probabilities [..., V] of real tokens that are known and not a distribution."""
    known, real = checks.concrete(probs), True if mask is None else checks.concrete(mask)
    if known is None or real is None:
        return
    good = (known >= 0).all(axis=-1) & (abs(known.sum(axis=-1) - 1) < 0.01)
    if not (good | ~np.asarray(real)).all():
        raise ValueError(
            "target_probs holds a row that is not a distribution; expected numbers of at least 0 "
            "with the sum 1. Take the softmax of a teacher's logits."
        )
