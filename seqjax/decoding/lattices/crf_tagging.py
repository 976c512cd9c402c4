"""The best tagging of a conditional random field, and draws from it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.noise import Noise, fold_in_rows
from seqjax.core.scan import swap_time
from seqjax.decoding.engine.rows import ASIDE
from seqjax.losses.crf import Chain, CRFParams, check_chain, forward
from seqjax.losses.labels import LOG_ZERO


class Tagging(NamedTuple):
    """A tagging of each row.

    Fields:
      tags: [B, T] int32, 0 where padded.
      scores: [B] floats, s(y) of `crf_loss`.
    """

    tags: jax.Array
    scores: jax.Array


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
    last, alphas = forward(chain, lambda scores: jnp.max(scores, axis=1))
    final = last + chain.end
    # The tag before is found again from α: no table of pointers is stored.
    best = lambda scores, _: jax.lax.argmax(scores, 1, jnp.int32)
    tags = _backward(chain, alphas, best(final, None), best, None)
    scores = jnp.where(jnp.any(chain.real, axis=1), jnp.max(final, axis=1), 0)
    return Tagging(tags, jnp.where(scores < LOG_ZERO / 2, -jnp.inf, scores))


def crf_sample(
    params: CRFParams,
    emissions: Any,
    *,
    key: jax.Array,
    lengths: Any = None,
    mask: Any = None,
) -> jax.Array:
    """Draws a tagging of each row from the law of a conditional random field, exactly.

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
    last, alphas = forward(chain, lambda scores: jax.nn.logsumexp(scores, axis=1))

    def draw(scores, t):
        now = fold_in_rows(keys, jnp.broadcast_to(t, keys.shape))
        return jax.vmap(jax.random.categorical)(now, scores).astype(jnp.int32)

    times = jnp.arange(steps, dtype=jnp.int32)
    return _backward(chain, alphas, draw(last + chain.end, ASIDE), draw, times)


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
