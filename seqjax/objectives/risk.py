"""Minimum risk training, over the hypotheses of a search or a set of samples."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import checkify

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax.metrics.distances import check_tokens


@own_ranks
def minimum_risk(log_probs, risks, *, alpha: float = 1.0, mask=None) -> jax.Array:
    """The expected risk of a row's hypotheses under the model, renormalised over them.

        R = Σₖ Q(yₖ) Δₖ,    Q(yₖ) = p(yₖ)^α / Σⱼ p(yⱼ)^α

    The gradient is exact for R over the given hypotheses. As an estimate of the risk over all
    sequences it is biased, the less the more probability the hypotheses have: with α = 1 and all
    sequences it is exact. Only differences of risks matter: a row with one hypothesis, or with
    equal risks, has no gradient. Its variance is that of the choice of hypotheses; a search has
    none. α sharpens Q and scales the gradient; the paper takes 0.005, where Q is nearly uniform
    over sentences whose log-probabilities are far apart.

    A new model's hypotheses are all bad: train by cross-entropy first. Hypotheses are a set, each
    of them once: pass `mask=distinct(tokens, lengths)` with samples.
    Log-probabilities from `sample` and `beam_search` are not differentiable; score their tokens
    again under the params, by `sequence_log_probs`.

    Args:
      log_probs: [..., K] floats, log p of each hypothesis under the model, differentiable; -inf
        for one that is not there.
      risks: [..., K] numbers Δ, lower is better, such as edit distances; no gradient flows into
        them. For rewards take their negative.
      alpha: α > 0, the sharpness.
      mask: [..., K] bool, True = a hypothesis; the values of others (NaN too) change nothing.

    Returns:
      [...] floats, a mean of risks; 0 for a row without a hypothesis.

    Raises:
      ValueError: if shapes or dtypes do not fit, alpha is not positive, or a risk is NaN or
        infinite and its value is known. Inside `jit` such a risk makes the row NaN, which
        `make_train_step` skips.

    Example:
      >>> log_probs = jnp.log(jnp.array([[0.2, 0.1, 0.1]]))
      >>> print(minimum_risk(log_probs, jnp.array([[0, 2, 1]])).round(2))
      [0.75]

    References:
      Shen et al., Minimum Risk Training for Neural Machine Translation, 2016, equations 8 to 10.
      Och, Minimum error rate training in statistical machine translation, 2003, for the objective.
    """
    log_probs, risks = check_rewards("risks", log_probs, risks, mask)
    checks.finite_number("alpha", alpha)
    checks.require(alpha > 0, f"alpha is {alpha!r}; expected a positive sharpness, such as 1.")
    if mask is not None:
        log_probs = jnp.where(jnp.asarray(mask), log_probs, -jnp.inf)
        risks = jnp.where(jnp.asarray(mask), risks, 0)
    there = jnp.any(log_probs > -jnp.inf, axis=-1, keepdims=True)
    # A row without a hypothesis gets finite numbers: a softmax of nothing has no derivative.
    scaled = jnp.where(there, alpha * log_probs, 0)
    shares = jnp.where(there, jax.nn.softmax(scaled, axis=-1), 0)
    return jnp.sum(shares * risks, axis=-1)


@own_ranks
def distinct(tokens, lengths=None) -> jax.Array:
    """Which sequences of a row are the first of their kind: samples as a set.

    Args:
      tokens: [..., K, L] integers.
      lengths: [..., K] tokens of each; None means L. What follows does not matter.

    Returns:
      [..., K] bool, False for those that stood before.

    Raises:
      ValueError: if tokens are not integers or lengths do not fit.

    Example:
      >>> distinct(jnp.array([[[1, 2], [1, 2], [1, 3]]]), jnp.array([[2, 2, 1]])).tolist()
      [[True, False, True]]

    References:
      Shen et al., Minimum Risk Training for Neural Machine Translation, 2016, algorithm 1, where
      samples enter a set.
    """
    tokens, lengths = check_tokens("tokens", tokens, "lengths", lengths)
    checks.require(
        tokens.ndim >= 2,
        f"tokens has shape {tokens.shape}; expected [..., K, L], K sequences a row.",
    )
    places = jnp.arange(tokens.shape[-1], dtype=jnp.int32)
    beyond = places >= lengths[..., None]
    same = (tokens[..., :, None, :] == tokens[..., None, :, :]) | beyond[..., None, :]
    same = jnp.all(same, axis=-1) & (lengths[..., :, None] == lengths[..., None, :])
    number = jnp.arange(tokens.shape[-2])
    return ~jnp.any(same & (number < number[:, None]), axis=-1)


def check_rewards(name: str, log_probs: Any, rewards: Any, mask: Any = None):
    """log p [...] and rewards [...], floats without a gradient; raises if they do not fit."""
    log_probs, rewards = jnp.asarray(log_probs), jnp.asarray(rewards)
    checks.require(
        checks.is_float(log_probs) and log_probs.ndim >= 1,
        f"log_probs is {log_probs.dtype}{list(log_probs.shape)}; expected floats, one a sequence.",
    )
    checks.require(
        rewards.shape == log_probs.shape,
        f"{name} has shape {rewards.shape} but log_probs has shape {log_probs.shape}; expected the "
        "same, one for each sequence.",
    )
    if mask is not None:
        checks.require(
            jnp.asarray(mask).dtype == jnp.bool_ and jnp.shape(mask) == rewards.shape,
            f"mask is {jnp.asarray(mask).dtype}{list(jnp.shape(mask))}; expected "
            f"bool{list(rewards.shape)}, True = a sequence.",
        )
    if jnp.finfo(log_probs.dtype).bits < 32:
        log_probs = log_probs.astype(jnp.float32)
    rewards = lax.stop_gradient(rewards.astype(log_probs.dtype))
    bad = ~jnp.isfinite(rewards) if mask is None else ~jnp.isfinite(rewards) & jnp.asarray(mask)
    known = checks.concrete(bad)
    message = f"{name} holds NaN or inf; expected finite numbers. Mask what has none."
    if known is None:
        checkify.debug_check(~jnp.any(bad), message)
        rewards = jnp.where(bad, jnp.nan, rewards)
    else:
        checks.require(not known.any(), message)
    return log_probs, rewards
