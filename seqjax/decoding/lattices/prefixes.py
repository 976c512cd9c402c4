"""Sets of different label sequences, each of which may grow by a label: K prefixes a row."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.decoding.engine.rows import at, pick


class Labellings(NamedTuple):
    """The K best label sequences of each row, best first.

    Fields:
      labels: [B, K, L] int32, the blank's id beyond lengths.
      scores: [B, K] floats, by which they are ordered.
      log_probs: [B, K] floats, log p(y | x) in nats, over those paths that the search has kept.
      lengths: [B, K] int32, in labels.
    """

    labels: jax.Array
    scores: jax.Array
    log_probs: jax.Array
    lengths: jax.Array


def last_labels(labels: jax.Array, lengths: jax.Array, pad: int) -> jax.Array:
    """The last of labels [B, K, L] up to lengths [B, K], `pad` for the empty prefix."""
    if labels.shape[-1] == 0:
        return jnp.full(lengths.shape, pad, labels.dtype)
    return jnp.where(lengths > 0, at(labels, jnp.maximum(lengths - 1, 0)), pad)


def extensions(labels: jax.Array, lengths: jax.Array, pad: int) -> jax.Array:
    """[B, K, K] bool, at [b, j, k]: prefix j without its last label is prefix k.

    labels [B, K, L] hold `pad`, which is no label, beyond lengths [B, K]. Prefixes of probability
    above 0 are all different, so that at most one k of them is True for each j. Among those of
    probability 0 only the empty one may be there several times: `select` takes what stays before
    what grows. The empty prefix extends itself by `pad`, with which nothing grows.
    """
    places = jnp.arange(labels.shape[-1], dtype=jnp.int32)
    shorter = jnp.where(places == lengths[..., None] - 1, pad, labels)
    return jnp.all(shorter[:, :, None] == labels[:, None], axis=-1)


def merge_grown(grown: jax.Array, last: jax.Array, extends: jax.Array):
    """Moves what grows into a prefix that is there already, from grown to the latter.

    grown [B, K, V] are log-probabilities of prefix k and label v; last [B, K] the last labels;
    extends [B, K, K] of `extensions`. Returns what each prefix j gains, [B, K], -inf for nothing,
    and grown with -inf in those places.
    """
    whole = jnp.broadcast_to(last[:, None], extends.shape)  # [B, k, j]
    into = jnp.take_along_axis(grown, whole, axis=-1)
    moved = jnp.swapaxes(extends, 1, 2)
    gained = jnp.max(jnp.where(moved, into, -jnp.inf), axis=1)
    row, prefix = jnp.ix_(*map(jnp.arange, grown.shape[:2]))
    cap = jnp.where(moved, -jnp.inf, jnp.inf).astype(grown.dtype)
    return gained, grown.at[row[..., None], prefix[..., None], whole].min(cap)


def select(stay_scores: jax.Array, grow_scores: jax.Array):
    """The best K of K prefixes that stay [B, K] and K V that grow [B, K, V], best first.

    Returns their parents [B, K], labels [B, K] (0 where nothing grew) and grew [B, K] bool.
    """
    batch, size, vocab_size = grow_scores.shape
    scores = jnp.concatenate([stay_scores, grow_scores.reshape(batch, -1)], axis=1)
    _, chosen = jax.lax.top_k(scores, size)
    grew = chosen >= size
    index = jnp.where(grew, chosen - size, 0)
    parents = jnp.where(grew, index // vocab_size, chosen)
    return parents, jnp.where(grew, index % vocab_size, 0), grew


def grow(labels, lengths, parents, new, grew):
    """Labels [B, K, L] and lengths [B, K] of the parents, with a new label where grew."""
    labels, lengths = pick((labels, lengths), parents)
    places = jnp.arange(labels.shape[-1], dtype=jnp.int32)
    here = grew[..., None] & (places == lengths[..., None])
    return jnp.where(here, new[..., None], labels), lengths + grew.astype(jnp.int32)


def best_labellings(labels, scores, log_probs, lengths, pad: int) -> Labellings:
    """Labels [B, K, L] ordered by scores [B, K], those of score -inf as empty."""
    scores, order = jax.lax.top_k(scores, scores.shape[1])
    labels, log_probs, lengths = pick((labels, log_probs, lengths), order)
    possible = scores > -jnp.inf
    return Labellings(
        jnp.where(possible[..., None], labels, pad),
        scores,
        jnp.where(possible, log_probs, -jnp.inf),
        jnp.where(possible, lengths, 0),
    )
