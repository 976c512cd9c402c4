"""Hypotheses of a beam search: sets of them, and the best of two sets."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax.decoding.engine.rows import pick


class Hypotheses(NamedTuple):
    """Sets of k hypotheses, best first, in each of R rows."""

    tokens: jax.Array  # [R, k, L], filled up with the ending token
    places: Any  # [R, k, L]: which of a step's rows N led to each token; () without outputs
    scores: jax.Array  # [R, k]: -inf where there is none
    log_probs: jax.Array  # [R, k]
    lengths: jax.Array  # [R, k]


def nothing(rows: int, size: int, length: int, eos: int, dtype: Any, places: bool) -> Hypotheses:
    """Sets without a single hypothesis."""
    worst = jnp.full((rows, size), -jnp.inf, dtype)
    tokens = jnp.full((rows, size, length), eos, jnp.int32)
    where = jnp.zeros_like(tokens) if places else ()
    return Hypotheses(tokens, where, worst, worst, jnp.zeros((rows, size), jnp.int32))


def merge(finished: Hypotheses, others: Hypotheses, parents, endings, t) -> Hypotheses:
    """The k best of `finished` and of `others`, ties to `finished`.

    others has scores, log_probs and lengths [R, C], and the tokens and places [R, k, L] of what
    they extend: those of `parents` [R, C], ended at position t by `endings` [R, C].
    """
    size = finished.scores.shape[1]
    both = lambda a, b: jnp.concatenate([a, b], axis=1)
    scores, order = lax.top_k(both(finished.scores, others.scores), size)
    own = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), finished.scores.shape)
    source = pick(both(own, size + parents), order)  # [R, k], into the 2 k histories
    history = lambda x: (x.tokens, x.places)
    tokens, places = jax.tree.map(
        lambda a, b: pick(both(a, b), source), history(finished), history(others)
    )
    endings = pick(both(own, endings), order)[..., None]
    after = jnp.arange(tokens.shape[2], dtype=jnp.int32) >= t
    new = (source >= size)[..., None] & after
    return Hypotheses(
        jnp.where(new, endings, tokens),
        places,
        scores,
        pick(both(finished.log_probs, others.log_probs), order),
        pick(both(finished.lengths, others.lengths), order),
    )
