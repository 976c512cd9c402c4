"""Losses over sequences of tokens, in nats.

Every loss here is a sum over real tokens, divided (where a mean is asked for) by the number of
real tokens: padding counts neither above nor below the line. Windows, micro-batches and devices
are combined by adding their `LossSum`s, never by averaging their means.

Notation: `...` any leading axes (usually B batch, T time), V vocabulary.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.ids import as_ids, check_ids
from seqjax.losses.labels import widened


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


def cross_entropy_sum(logits, targets, *, mask=None, label_smoothing: float = 0.0) -> LossSum:
    """Cross-entropy summed over real tokens, and their number.

    The form to combine over windows, micro-batches or devices: add the fields, then take `mean`.
    The gradient of the total is the mean's times the tokens, no more: nothing is divided twice.

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

    The mean is over the real tokens of this call. Where the calls hold different numbers of them
    (a last, partly padded window), means of means are not the mean: use `cross_entropy_sum`.

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
    logits, targets = jnp.asarray(logits), as_ids("targets", targets)
    checks.require(
        logits.ndim >= 1 and checks.is_float(logits),
        f"logits is {logits.dtype}{list(logits.shape)}; expected floats [..., V].",
    )
    checks.require(
        targets.shape == logits.shape[:-1],
        f"targets has shape {targets.shape} but logits has shape {logits.shape}; expected "
        f"{logits.shape[:-1]}, the shape of logits without its last axis (the vocabulary).",
    )
    checks.rate("label_smoothing", label_smoothing)
    if mask is not None:
        mask = jnp.asarray(mask)
        checks.require(
            mask.dtype == jnp.bool_,
            f"mask is {mask.dtype}; expected bool, True = real. Write mask.astype(bool), or "
            "targets != pad_id.",
        )
        checks.require(
            mask.shape == targets.shape,
            f"mask has shape {mask.shape} but targets has shape {targets.shape}; expected the "
            "same, one entry a token.",
        )
    bad = (targets < 0) | (targets >= logits.shape[-1])
    expected = f"expected ids in 0..{logits.shape[-1] - 1}, the last axis of logits. Mask padding."
    check_ids("targets", targets, bad if mask is None else bad & mask, expected)
    return widened(logits), targets, mask
