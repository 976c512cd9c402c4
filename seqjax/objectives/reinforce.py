"""The score-function gradient of an expected reward, and baselines that reduce its variance."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax.core.lengths import within
from seqjax.losses.tokens import token_losses
from seqjax.metrics.distances import check_tokens
from seqjax.objectives.risk import check_rewards


@own_ranks
def reinforce_losses(log_probs, rewards, *, baselines: Any = 0.0, log_weights=None) -> jax.Array:
    """Losses whose gradient is the score-function estimate of that of -E[reward].

        lossₖ = -(rₖ - bₖ) log p(yₖ),    ∇E[r] = E[(r - b) ∇log p(y)],    y ~ p

    Only the gradient means something: rewards, baselines and weights are constants in it. It is
    unbiased for draws from the model itself and any baseline that does not depend on the draw it
    is subtracted for; its variance falls with r - b, and is high: of the order of the squared
    norm of ∇log p, which grows with the length, over the number of draws. `leave_one_out`, a
    `RunningMean` of earlier rewards and the reward of the greedy decode (`self_critical_losses`)
    are such baselines; a mean that includes the draw's own reward shrinks the gradient by
    (K - 1) / K.

    Do not start from a model that hardly ever earns a reward. Where targets exist, cross-entropy
    and `sample_hamming` have far less variance: use them first, or together with it. Draws from
    another distribution (truncated, tempered, without replacement) bias it unless weighted.

    Args:
      log_probs: [...] floats, differentiable log p of each draw, such as [B, K] from
        `sequence_log_probs`; or of each token, with rewards to go.
      rewards: [...] numbers r of the same shape, higher is better.
      baselines: b, a number or an array with the same number of axes whose sizes are equal or 1:
        [B, 1] for one a row of [B, K].
      log_weights: [...] log importance weights of the draws: `Samples.log_probs - law_log_probs`
        of `sample`; with `StochasticBeams.log_weights` the sum over K is unbiased, not the mean.

    Returns:
      [...] floats: take the mean over draws and rows.

    Raises:
      ValueError: if shapes or dtypes do not fit, or a reward is NaN or infinite and its value is
        known. Inside `jit` such a reward makes its loss NaN, which `make_train_step` skips.

    Example:
      >>> w, rewards, log_p = jnp.zeros(2), jnp.array([1.0, 0.0]), jax.nn.log_softmax
      >>> loss = lambda w: jnp.sum(0.5 * reinforce_losses(log_p(w), rewards))  # each has p = 0.5
      >>> jax.grad(loss)(w).tolist(), jax.grad(lambda w: -jnp.exp(log_p(w)) @ rewards)(w).tolist()
      ([-0.25, 0.25], [-0.25, 0.25])

    References:
      Williams, Simple statistical gradient-following algorithms for connectionist reinforcement
      learning, 1992, theorem 1. Ranzato et al., Sequence Level Training with Recurrent Neural
      Networks, 2016, for sequences.
    """
    log_probs, rewards = check_rewards("rewards", log_probs, rewards)
    baselines = lax.stop_gradient(jnp.asarray(baselines, rewards.dtype))
    fits = baselines.ndim == 0 or (
        baselines.ndim == rewards.ndim
        and all(a in (1, b) for a, b in zip(baselines.shape, rewards.shape, strict=True))
    )
    checks.require(
        fits,
        f"baselines has shape {baselines.shape} and rewards {rewards.shape}; expected a number or "
        "sizes equal or 1 on every axis. One a row: baselines[:, None].",
    )
    losses = -(rewards - baselines) * log_probs
    if log_weights is None:
        return losses
    weights = jnp.asarray(log_weights)
    checks.require(
        weights.shape == losses.shape,
        f"log_weights has shape {weights.shape} and rewards {losses.shape}; expected the same.",
    )
    return lax.stop_gradient(jnp.exp(weights)).astype(losses.dtype) * losses


@own_ranks
def self_critical_losses(log_probs, rewards, greedy_rewards) -> jax.Array:
    """REINFORCE whose baseline is what the model's own greedy decode earns.

        lossₖ = -(rₖ - r(ŷ)) log p(yₖ),    ŷ greedy

    Draws better than what decoding at test time gives are made more probable, worse ones less. ŷ
    does not depend on the draws, so the gradient of -E[reward] stays unbiased. Its variance is
    lower than without a baseline where ŷ earns about as much as draws do, and may be higher where
    greedy decoding does much better. It costs one greedy decode a row. For when not to use it see
    `reinforce_losses`.

    Args:
      log_probs: [B, K] floats, differentiable log p of K draws a row.
      rewards: [B, K] numbers, higher is better.
      greedy_rewards: [B] of the greedy decode (`beam_search` with beam_size=1, or `sample` with
        temperature=0).

    Returns:
      [B, K] floats: take the mean.

    Raises:
      ValueError: as `reinforce_losses`, or if greedy_rewards is not [B].

    Example:
      >>> log_probs, rewards = jnp.log(jnp.array([[0.5, 0.25]])), jnp.array([[1.0, 3.0]])
      >>> print(self_critical_losses(log_probs, rewards, jnp.array([1.0])).round(2))
      [[0.   2.77]]

    References:
      Rennie et al., Self-critical Sequence Training for Image Captioning, 2017, equation 7.
    """
    greedy = jnp.asarray(greedy_rewards)
    checks.require(
        jnp.ndim(rewards) == 2 and greedy.shape == jnp.shape(rewards)[:1],
        f"greedy_rewards has shape {greedy.shape} and rewards {jnp.shape(rewards)}; expected [B] "
        "and [B, K], one greedy decode a row.",
    )
    _, greedy = check_rewards("greedy_rewards", greedy.astype(float), greedy)
    return reinforce_losses(log_probs, rewards, baselines=greedy[:, None])


@own_ranks
def leave_one_out(rewards) -> jax.Array:
    """A baseline for each of K draws: the mean reward of the K - 1 others.

        bₖ = Σ over j ≠ k of rⱼ / (K - 1)

    Independent of the draw it is for, so that the gradient of `reinforce_losses` stays unbiased.

    Args:
      rewards: [..., K] numbers, K >= 2, of independent draws.

    Returns:
      [..., K] floats.

    Raises:
      ValueError: if K is below 2.

    Example:
      >>> leave_one_out(jnp.array([[1.0, 2.0, 6.0]])).tolist()
      [[4.0, 3.5, 1.5]]

    References:
      Kool, van Hoof and Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free!, 2019.
    """
    rewards = jnp.asarray(rewards)
    checks.require(
        rewards.ndim >= 1 and rewards.shape[-1] >= 2,
        f"rewards has shape {rewards.shape}; expected [..., K] with K of at least 2 draws.",
    )
    if not checks.is_float(rewards):
        rewards = rewards.astype(float)
    return (jnp.sum(rewards, axis=-1, keepdims=True) - rewards) / (rewards.shape[-1] - 1)


class RunningMean(NamedTuple):
    """A mean of the rewards of earlier batches, for the carry of `make_train_step`.

        sₙ = γ sₙ₋₁ + (1 - γ) mean(rewardsₙ),    mean = sₙ / (1 - γⁿ)

    Take `value` as the baseline of a batch before `update` has seen it: with the batch's own
    rewards in it the gradient is biased.

    Attributes:
      total: [] float s.
      weight: [] float 1 - γⁿ.

    Raises:
      ValueError: from `update`, if decay is not in [0, 1).

    Example:
      >>> mean = RunningMean.empty()
      >>> mean = mean.update(jnp.array([[1.0, 3.0]])).update(jnp.array([[4.0]]), decay=0.5)
      >>> print(RunningMean.empty().value, mean.value.round(2))
      0.0 3.98

    References:
      Williams, Simple statistical gradient-following algorithms for connectionist reinforcement
      learning, 1992, section 4, for the baseline.
    """

    total: jax.Array
    weight: jax.Array

    @classmethod
    def empty(cls) -> "RunningMean":
        """Before the first batch: its value is 0."""
        return cls(jnp.zeros(()), jnp.zeros(()))

    @property
    def value(self) -> jax.Array:
        """[] the mean."""
        return self.total / jnp.where(self.weight == 0, 1, self.weight)

    def update(self, rewards, decay: float = 0.99) -> "RunningMean":
        """With a batch's rewards [...] in it, which a gradient does not flow into."""
        checks.rate("decay", decay)
        mean = lax.stop_gradient(jnp.mean(jnp.asarray(rewards).astype(self.total.dtype)))
        mix = lambda old, new: decay * old + (1 - decay) * new
        return RunningMean(mix(self.total, mean), mix(self.weight, 1.0))


@own_ranks
def sequence_log_probs(logits, tokens, lengths=None) -> jax.Array:
    """log p of whole sequences, from the logits of a teacher-forced pass: differentiable.

        log p(y) = Σₜ log softmax(logitsₜ)[yₜ]

    Args:
      logits: [..., L, V] floats.
      tokens: [..., L] integers; anything in padding.
      lengths: [...] tokens that count, eos among them; None means L.

    Returns:
      [...] nats, at most 0.

    Raises:
      ValueError: as `token_losses`, or if lengths do not fit.

    Example:
      >>> tokens, lengths = jnp.array([[0, 1, 1], [1, 0, -1]]), jnp.array([3, 1])
      >>> print(sequence_log_probs(jnp.zeros((2, 3, 2)), tokens, lengths).round(3))
      [-2.079 -0.693]

    References:
      Graves, Sequence Transduction with Recurrent Neural Networks, 2012.
    """
    tokens, lengths = check_tokens("tokens", tokens, "lengths", lengths)
    real = within(lengths, tokens.shape[-1])
    return -jnp.sum(token_losses(logits, tokens, mask=real), axis=-1)
