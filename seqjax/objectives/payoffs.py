"""The exponentiated payoff of reward-augmented maximum likelihood, and its Hamming sampler.

    q(y | y*) ∝ exp(r(y, y*) / τ),    r = -unit · d(y, y*)

The temperature τ has no meaning without the unit of the reward, and papers differ in it. With a
vocabulary of V tokens and a target of T, an edit costs c nats:

    "edits"       c = 1 / τ                one edit is one unit of reward: the paper's r = -d
    "rate"        c = 1 / (τ T)            reward is the error rate, d / T
    "vocabulary"  c = (1 + ln V) / τ       as in the sampler that the paper's authors published

At V = 20, T = 10 and τ = 0.85 Hamming draws keep 15 % of the tokens by the first unit and 85 % by
the last: a temperature is not portable between papers. (The published sampler
counts Vᵈ strings for (V - 1)ᵈ, and may replace a token by itself.)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax.core.ids import as_ids
from seqjax.core.noise import Noise, draw_rows, fold_in_rows
from seqjax.metrics.distances import check_tokens

UNITS = "edits", "rate", "vocabulary"
BROKEN = -1  # marks tokens drawn with an invalid temperature; their loss is NaN


class PayoffSample(NamedTuple):
    """Targets drawn around the given ones.

    Fields:
      tokens: [B, L] int32.
      lengths: [B] int32 tokens of each, 0..L.
      distances: [B] int32 edits between what was drawn and what was given.
    """

    tokens: jax.Array
    lengths: jax.Array
    distances: jax.Array


@own_ranks
def sample_hamming(
    key, targets, lengths=None, *, vocab_size: int, temperature, unit: str = "edits"
) -> PayoffSample:
    """Draws targets by how many of their tokens differ, exactly.

        q(y | y*) ∝ exp(-c · #{t: yₜ ≠ y*ₜ}),    c = 1 / τ with unit "edits"

    There are C(T, d) (V - 1)ᵈ sequences at distance d, so that d ~ Binomial(T, 1 - k), k =
    1 / (1 + (V - 1) exp(-c)), at d positions in place: each token is kept with probability k, else
    it becomes one of the V - 1 others. The length stays.

    Reward-augmented maximum likelihood minimises -E_q log p(y | x), that is KL(q ‖ p): cross-
    entropy of the model on these draws, inputs and targets both from the draw. Its gradient is an
    unbiased estimate without a score function; its only variance is that of the draw. τ = 0 is
    maximum likelihood. Do not use it where references are many and good, which draws would blur,
    nor where most substitutions are absurd: they are as probable as the sensible ones.

    Args:
      key: a typed key (row b uses fold_in(key, b)), or typed keys [B].
      targets: [B, T] integers.
      lengths: [B] how many tokens of each may be replaced, from the left, 0..T; None means T. What
        follows (an eos, padding) is left as it is.
      vocab_size: V; replacements are drawn from 0..V-1. Give a closing token the id V or higher.
      temperature: τ >= 0, a number or [B], traced or not; inf draws uniformly.
      unit: of the reward, "edits", "rate" (error rate) or "vocabulary", see `payoff_log_probs`.

    Returns:
      `PayoffSample`, tokens [B, T]; the lengths are those given.

    Raises:
      ValueError: if an argument does not fit, or temperature is negative or NaN and its value is
        known. Inside `jit` the row's tokens are -1 then, and their loss NaN; a caller wrapped in
        `jax.experimental.checkify.checkify` gets this error.

    Example:
      >>> targets = jnp.array([[3, 1, 2, 4, 4]])  # 4 closes a row and is no replacement
      >>> how = dict(lengths=jnp.array([3]), vocab_size=4)
      >>> sample_hamming(jax.random.key(0), targets, temperature=0.0, **how).tokens.tolist()
      [[3, 1, 2, 4, 4]]
      >>> sample = sample_hamming(jax.random.key(0), targets, temperature=jnp.inf, **how)
      >>> sample.tokens[0, 3:].tolist()
      [4, 4]

    References:
      Norouzi et al., Reward Augmented Maximum Likelihood for Neural Structured Prediction, 2016,
      section 2.
    """
    targets, lengths, keys = check_targets(key, targets, lengths, vocab_size)
    cost = edit_cost(temperature, unit, vocab_size, lengths)
    keep = 1 / (1 + (vocab_size - 1) * jnp.exp(-cost))  # [B]
    draw = lambda which, one: draw_rows(one, fold_in_rows(keys, jnp.full(keys.shape, which)))
    shape = targets.shape[1:]
    kept = draw(0, lambda key: jax.random.uniform(key, shape, keep.dtype)) < keep[:, None]
    kept = kept | (jnp.arange(targets.shape[1], dtype=jnp.int32) >= lengths[:, None])
    other = draw(1, lambda key: jax.random.randint(key, shape, 0, max(vocab_size - 1, 1)))
    tokens = jnp.where(kept, targets, another(other.astype(targets.dtype), targets))
    distances = jnp.sum(~kept, axis=1, dtype=jnp.int32)
    tokens = jnp.where(jnp.isnan(cost)[:, None], jnp.asarray(BROKEN, targets.dtype), tokens)
    return PayoffSample(tokens, lengths, distances)


@own_ranks
def hamming_log_counts(lengths, *, vocab_size: int, width: int) -> jax.Array:
    """How many sequences there are at each Hamming distance from one of T tokens, in logarithms.

        log C(T, d) + d log(V - 1)

    Args:
      lengths: [B] integers T, 0..width.
      vocab_size: V.
      width: the largest distance.

    Returns:
      [B, width + 1] floats, -inf at distances beyond T (and beyond 0 where V is 1).

    Raises:
      ValueError: if lengths are not integers [B] within the width, or a size is not positive.

    Example:
      >>> jnp.exp(hamming_log_counts(jnp.array([3]), vocab_size=3, width=4)).round().tolist()
      [[1.0, 6.0, 12.0, 8.0, 0.0]]

    References:
      Norouzi et al., Reward Augmented Maximum Likelihood for Neural Structured Prediction, 2016,
      section 2.
    """
    checks.positive_int("vocab_size", vocab_size)
    checks.positive_int("width", width)
    rows = jnp.zeros((jnp.size(lengths), width), jnp.int32)
    total = check_tokens("a table of distances", rows, "lengths", lengths)[1].astype(float)[:, None]
    edits = jnp.arange(width + 1).astype(total.dtype)
    inside = edits <= total
    rest = jnp.where(inside, total - edits, 0)
    factorial = lambda n: jax.lax.lgamma(n + 1)
    chosen = factorial(total) - factorial(edits) - factorial(rest)
    others = jnp.log(jnp.asarray(vocab_size - 1, total.dtype))
    ways = jnp.where(edits == 0, 0.0, edits * others)
    return jnp.where(inside, chosen + ways, -jnp.inf)


@own_ranks
def payoff_log_probs(
    distances, log_counts, lengths, *, vocab_size: int, temperature, unit: str = "edits"
) -> jax.Array:
    """log q(y | y*) of sequences at known distances, in nats.

        log q = -c d - log Σⱼ exp(log_counts[j] - c j)

    The reward is -d in one of three units, and an edit costs c nats: "edits", c = 1 / τ; "rate",
    c = 1 / (τ T), the reward being the error rate d / T (an empty target counts as of 1 token);
    "vocabulary", c = (1 + ln V) / τ, as the sampler that the paper's authors published scales it.

    Args:
      distances: [B, ...] integers d.
      log_counts: [B, D] log of the number of sequences at each distance 0..D-1, from
        `hamming_log_counts` or `edit_log_counts`.
      lengths: [B] tokens T of the targets.
      vocab_size: V.
      temperature: τ >= 0, a number or [B].
      unit: "edits", "rate" or "vocabulary".

    Returns:
      [B, ...] floats; at τ = 0 it is 0 for d = 0 and -inf for the rest.

    Raises:
      ValueError: if shapes or dtypes do not fit, temperature is negative or NaN, or the unit is not
        one of these.

    Example:
      >>> counts = hamming_log_counts(jnp.array([10]), vocab_size=20, width=10)
      >>> for unit in "edits", "vocabulary":
      ...     how = dict(vocab_size=20, temperature=0.85, unit=unit)
      ...     each = payoff_log_probs(jnp.arange(11)[None], counts, jnp.array([10]), **how)
      ...     edits = jnp.sum(jnp.exp(each + counts) * jnp.arange(11.0))
      ...     print(f"{unit}: {edits:.2f} edits")
      edits: 8.54 edits
      vocabulary: 1.47 edits

    References:
      Norouzi et al., Reward Augmented Maximum Likelihood for Neural Structured Prediction, 2016,
      section 2.
    """
    distances, lengths = as_ids("distances", distances), as_ids("lengths", lengths)
    log_counts = jnp.asarray(log_counts)
    rows = lengths.shape
    checks.require(
        len(rows) == 1 and log_counts.shape[:-1] == rows and distances.shape[:1] == rows,
        f"distances, log_counts and lengths have the shapes {distances.shape}, {log_counts.shape} "
        f"and {rows}; expected [B, ...], [B, D] and [B]. For one target add an axis of 1 to each.",
    )
    cost = edit_cost(temperature, unit, vocab_size, lengths)
    places = jnp.broadcast_to(jnp.arange(log_counts.shape[1]), log_counts.shape)
    total = jax.nn.logsumexp(log_counts + _penalty(cost, places), axis=1)
    wide = (slice(None), *(None,) * (distances.ndim - 1))
    return _penalty(cost, distances) - total[wide]


def edit_cost(temperature: Any, unit: str, vocab_size: int, lengths: jax.Array) -> jax.Array:
    """What an edit costs [B], in nats: inf at temperature 0, NaN for an invalid one."""
    checks.one_of("unit", unit, UNITS)
    tau = jnp.asarray(temperature).astype(float)
    checks.require(
        tau.shape in ((), lengths.shape),
        f"temperature has shape {tau.shape}; expected a number, or {list(lengths.shape)}, one a "
        "row.",
    )
    known, fine = checks.concrete(temperature), tau >= 0
    if known is None:
        checkify.debug_check(jnp.all(fine), "temperature is negative or NaN; expected >= 0.")
    else:
        checks.require(
            bool((known >= 0).all()),
            f"temperature is {temperature}; expected numbers of at least 0. 0 draws the target.",
        )
    scale = jnp.ones((), tau.dtype)
    if unit == "rate":
        scale = 1 / jnp.maximum(lengths, 1).astype(tau.dtype)
    if unit == "vocabulary":
        scale = 1 + jnp.log(jnp.asarray(vocab_size, tau.dtype))
    cost = jnp.where(fine, scale / jnp.abs(tau), jnp.nan)  # of -0 too it is inf
    return jnp.broadcast_to(cost, lengths.shape)


def check_targets(key: Any, targets: Any, lengths: Any, vocab_size: int):
    """Targets [B, T], lengths [B] and keys [B], or ValueError."""
    targets, lengths = check_tokens("targets", targets, "lengths", lengths)
    checks.require(
        targets.ndim == 2,
        f"targets has shape {targets.shape}; expected [B, T].",
    )
    checks.positive_int("vocab_size", vocab_size)
    known, ends = checks.concrete(targets), checks.concrete(lengths)
    if known is not None and ends is not None:
        real = known[np.arange(known.shape[1]) < ends[:, None]]
        bad = real[(real < 0) | (real >= vocab_size)]
        checks.require(
            not bad.size,
            f"targets holds {bad[:1]}; expected ids in 0..{vocab_size - 1} within lengths. Leave "
            "the closing token out of lengths.",
        )
    return targets, lengths, Noise.from_key(key, targets.shape[0]).key


def another(drawn: jax.Array, than: jax.Array) -> jax.Array:
    """Ids drawn from one fewer than there are, as ids of all but one."""
    return drawn + (drawn >= than).astype(drawn.dtype)


def _penalty(cost: jax.Array, distances: jax.Array) -> jax.Array:
    """-c d for c [B] and d [B, ...], 0 where d is, whatever c."""
    cost = cost.reshape(-1, *(1,) * (distances.ndim - 1))
    return jnp.where(
        distances == 0, 0.0, -cost * jnp.where(distances == 0, 1, distances).astype(cost.dtype)
    )
