"""Hypotheses of a beam search: their history, and the best of two sets of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax.decoding.engine.carries import pick


class History(NamedTuple):
    """What has been chosen on the way to each hypothesis."""

    tokens: jax.Array  # [R, K, L], filled up with the ending token
    places: Any  # [R, K, L]: which of a step's rows [N] led to each token; () if nobody asks


class Hypotheses(NamedTuple):
    """Sets of hypotheses, best first: R rows of K."""

    history: History
    scores: jax.Array  # [R, K]: -inf where there is none
    log_probs: jax.Array  # [R, K]
    lengths: jax.Array  # [R, K]


def nothing(rows: int, size: int, length: int, eos: int, dtype: Any, places: bool) -> Hypotheses:
    """Sets without a single hypothesis."""
    worst = jnp.full((rows, size), -jnp.inf, dtype)
    tokens = jnp.full((rows, size, length), eos, jnp.int32)
    where = jnp.zeros_like(tokens) if places else ()
    return Hypotheses(History(tokens, where), worst, worst, jnp.zeros((rows, size), jnp.int32))


def grow(history: History, parents: jax.Array, tokens: jax.Array, t: jax.Array) -> History:
    """The histories of `parents` [R, K], each with its token [R, K] at position t."""
    only = parents.shape[1] == 1
    chosen = history if only else jax.tree.map(lambda x: pick(x, parents), history)
    written = lax.dynamic_update_slice_in_dim(chosen.tokens, tokens[..., None], t, axis=2)
    return chosen._replace(tokens=written)


def merge(finished: Hypotheses, others: Hypotheses, parents, tokens, t) -> Hypotheses:
    """The K best of `finished` and of `others`, ties to `finished`.

    others has scores, log_probs and lengths [R, C], and the history of what they extend: the
    histories of `parents` [R, C], ended at position t by `tokens` [R, C].
    """
    size = finished.scores.shape[1]
    both = lambda a, b: jnp.concatenate([a, b], axis=1)
    scores, order = lax.top_k(both(finished.scores, others.scores), size)
    own = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), finished.scores.shape)
    source = pick(both(own, size + parents), order)  # [R, K], into the 2 K histories
    history = jax.tree.map(lambda a, b: pick(both(a, b), source), finished.history, others.history)
    endings = pick(both(own, tokens), order)[..., None]
    after = jnp.arange(history.tokens.shape[2], dtype=jnp.int32) >= t
    new = (source >= size)[..., None] & after
    return Hypotheses(
        history._replace(tokens=jnp.where(new, endings, history.tokens)),
        scores,
        pick(both(finished.log_probs, others.log_probs), order),
        pick(both(finished.lengths, others.lengths), order),
    )
