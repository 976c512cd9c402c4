"""Decoding of connectionist temporal classification: paths, and prefixes summed over paths."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax.core.lengths import check_lengths, within
from seqjax.core.steps import swap_time, where_rows, zero_rows
from seqjax.decoding.engine.rows import at, pick
from seqjax.decoding.lattices.fusion import (
    Fusion,
    LanguageModel,
    advance,
    begin,
    end_bonus,
    hold,
    label_bonus,
    prefix_bonus,
)
from seqjax.decoding.lattices.prefixes import (
    Labellings,
    best_labellings,
    extensions,
    grow,
    last_labels,
    merge_grown,
    select,
)
from seqjax.losses.labels import check_blank, check_floats, check_integers


@own_ranks
def ctc_collapse(
    paths: Any, *, lengths: Any = None, blank: int = 0, merge: bool = True
) -> tuple[jax.Array, jax.Array]:
    """The labels that paths stand for: what repeats is merged, then blanks are left out.

    The order matters: a blank between two equal labels keeps them apart.

    Args:
      paths: [B, T] integers, a label or the blank at every frame.
      lengths: [B] integers, 0..T, frames of each row; None means T.
      blank: the id of the blank, at least 0.
      merge: False leaves what repeats, for models that emit each label at one frame alone.

    Returns:
      Labels [B, T] int32, the blank's id after the last, and their lengths [B] int32.

    Raises:
      ValueError: if paths is not [B, T] integers, lengths does not fit or blank is no id.

    Example:
      >>> labels, lengths = ctc_collapse(jnp.array([[0, 1, 1, 0, 1, 2, 2]]))
      >>> labels[0, : lengths[0]].tolist()
      [1, 1, 2]

    References:
      Graves, Fernández, Gomez and Schmidhuber 2006, section 3.1.
    """
    shape = jnp.shape(paths)
    checks.require(len(shape) == 2, f"paths has shape {shape}; expected [B, T] integers.")
    paths = check_integers("paths", paths, shape, "paths")
    blank = check_blank(blank, 2**31)
    lengths = check_lengths("lengths", lengths, "paths", shape)
    before = jnp.pad(paths, ((0, 0), (1, 0)), constant_values=blank)[:, :-1]
    keep = within(lengths, shape[1]) & (paths != blank)
    keep = keep & (paths != before) if merge else keep
    places = jnp.where(keep, jnp.cumsum(keep, axis=1, dtype=jnp.int32) - 1, shape[1])
    empty = jnp.full_like(paths, blank)
    labels = jax.vmap(lambda row, place, path: row.at[place].set(path, mode="drop"))(
        empty, places, paths
    )
    return labels, jnp.sum(keep, axis=1, dtype=jnp.int32)


@own_ranks
def ctc_greedy(
    logits: Any, *, lengths: Any = None, blank: int = 0, merge: bool = True
) -> Labellings:
    """The labels of the most probable path: the best label or blank at every frame, collapsed.

    The best path is not the best labelling, whose probability is a sum over paths: use
    `ctc_beam_search` where a model is not sure of its frames.

    Args:
      logits: [B, T, V] floats over labels and blank. Ties go to the lowest id.
      lengths: [B] integers, 0..T, frames of each row; None means T.
      blank: the id of the blank, 0..V-1.
      merge: as in `ctc_collapse`.

    Returns:
      `Labellings` with K = 1 and L = T; scores and log_probs are those of the one path.

    Raises:
      ValueError: if logits is not [B, T, V] floats, or lengths or blank does not fit.

    Example:
      >>> logits = jnp.log(jnp.array([[[0.6, 0.4], [0.6, 0.4]]]))
      >>> best = ctc_greedy(logits)
      >>> best.lengths.tolist()  # the empty labelling, of probability 0.36: label 1 has 0.64
      [[0]]

    References:
      Graves, Fernández, Gomez and Schmidhuber 2006, equation 4, best path decoding.
    """
    logits = check_floats("logits", logits, "B T V")
    batch, steps, vocab_size = logits.shape
    blank = check_blank(blank, vocab_size)
    real = within(check_lengths("lengths", lengths, "logits", logits.shape), steps)
    paths = jax.lax.argmax(logits, 2, jnp.int32)
    labels, count = ctc_collapse(paths, lengths=lengths, blank=blank, merge=merge)
    each = jnp.max(jax.nn.log_softmax(logits), axis=2)
    log_probs = jnp.sum(jnp.where(real, each, 0), axis=1)
    return Labellings(labels[:, None], log_probs[:, None], log_probs[:, None], count[:, None])


class _Prefixes(NamedTuple):
    """K different prefixes a row, with the paths to each that end in a blank and in a label."""

    labels: jax.Array  # [B, K, L]
    lengths: jax.Array  # [B, K]
    ends_blank: jax.Array  # [B, K] log-probabilities
    ends_label: jax.Array  # [B, K]

    @property
    def log_probs(self) -> jax.Array:
        return jnp.logaddexp(self.ends_blank, self.ends_label)


@own_ranks
def ctc_beam_search(
    logits: Any,
    *,
    beam_size: int,
    lengths: Any = None,
    blank: int = 0,
    max_len: int | None = None,
    language: LanguageModel | None = None,
    insertion_bonus: Any = 0.0,
) -> Labellings:
    """Searches for the K best labellings of each row, each a sum over the paths that lead to it.

        score(y) = log p(y | x) + weight log q(y) + insertion_bonus |y|

    At each frame every prefix stays (by a blank, or by its last label again) or grows by a label;
    a prefix that grows into another one is added to it, so that nothing is counted twice. The K
    best live on. Probabilities are exact where all prefixes fit into K; otherwise they leave out
    the paths through prefixes that were dropped. Everything is in the log domain and of fixed
    size: wrap it in `jax.jit`. A language model runs once a frame, over all B K prefixes.

    Args:
      logits: [B, T, V] floats over labels and blank; normalised here.
      beam_size: K.
      lengths: [B] integers, 0..T, frames of each row; None means T. What stands after them
        changes nothing.
      blank: the id of the blank, 0..V-1.
      max_len: L, the largest number of labels; None means T.
      language: q, with its weight; None leaves it out.
      insertion_bonus: added for every label, may be traced: makes up for a language model's
        dislike of long sequences.

    Returns:
      `Labellings`. Where a row has fewer than K labellings of positive probability, the last
      places have scores and log_probs -inf, length 0 and blanks alone.

    Raises:
      ValueError: if logits is not [B, T, V] floats, a size, id or length is out of range, or the
        language model does not fit.

    Example:
      >>> logits = jnp.log(jnp.array([[[0.6, 0.4], [0.6, 0.4]]]))
      >>> best = ctc_beam_search(logits, beam_size=2)
      >>> print(best.labels[0, 0, :1], [f"{p:.2f}" for p in jnp.exp(best.log_probs[0])])
      [1] ['0.64', '0.36']

    References:
      Graves, Fernández, Gomez and Schmidhuber 2006, section 3.2, for prefixes. Hannun, Maas,
      Jurafsky and Ng, First-Pass Large Vocabulary Continuous Speech Recognition using
      Bi-Directional Recurrent DNNs, 2014, algorithm 1, for the search with a language model.
    """
    logits = check_floats("logits", logits, "B T V")
    batch, steps, vocab_size = logits.shape
    blank = check_blank(blank, vocab_size)
    size = checks.positive_int("beam_size", beam_size)
    limit = steps if max_len is None else checks.positive_int("max_len", max_len)
    real = within(check_lengths("lengths", lengths, "logits", logits.shape), steps)
    log_probs = jax.nn.log_softmax(zero_rows(real, logits))
    bonus = jnp.asarray(insertion_bonus, log_probs.dtype)
    rules = _Rules(blank, bonus, language)

    def frame(loop, x):
        (before, heard), (log_probs, real) = loop, x
        prefixes, fusion = _frame(before, heard, log_probs, rules)
        return (where_rows(real, prefixes, before), hold(real, fusion, heard)), None

    never = jnp.full((batch, size), -jnp.inf, log_probs.dtype)
    prefixes = _Prefixes(
        jnp.full((batch, size, limit), blank, jnp.int32),
        jnp.zeros((batch, size), jnp.int32),
        never.at[:, 0].set(0),
        never,
    )
    loop = (prefixes, begin(language, batch, size, vocab_size))
    loop, _ = jax.lax.scan(frame, loop, (swap_time(log_probs), swap_time(real)))
    return _ordered(*loop, rules)


class _Rules(NamedTuple):
    """What stays the same over a search."""

    blank: int
    bonus: jax.Array  # [] a label
    language: LanguageModel | None


def _frame(prefixes: _Prefixes, fusion: Fusion | None, log_probs: jax.Array, rules: _Rules):
    """One frame of log-probabilities [B, V]: every prefix stays or grows, and the best live on."""
    labels, lengths, ends_blank, ends_label = prefixes
    blank, bonus, language = rules
    vocab_size = log_probs.shape[1]
    last, total = last_labels(labels, lengths, blank), prefixes.log_probs  # [B, K]
    stay_blank = total + log_probs[:, blank, None]
    stay_label = ends_label + jnp.take_along_axis(log_probs, last, axis=1)

    # After a label, the same one again is a repeat: it is a new label after a blank alone.
    ids = jnp.arange(vocab_size, dtype=jnp.int32)
    source = jnp.where(ids == last[..., None], ends_blank[..., None], total[..., None])
    room = (ids != blank) & (lengths < labels.shape[-1])[..., None]
    grown = jnp.where(room, source + log_probs[:, None], -jnp.inf)  # [B, K, V]
    extends = extensions(labels, lengths, blank)
    gained, grown = merge_grown(grown, last, extends)
    stay_label = jnp.logaddexp(stay_label, gained)

    dtype = log_probs.dtype
    size = bonus * lengths.astype(dtype)
    stay = jnp.logaddexp(stay_blank, stay_label) + size + prefix_bonus(language, fusion, dtype)
    grow_by = bonus + size[..., None] + label_bonus(language, fusion, vocab_size, dtype)
    parents, new, grew = select(stay, grown + grow_by)

    labels, lengths = grow(labels, lengths, parents, new, grew)
    stay_blank, stay_label = pick((stay_blank, stay_label), parents)
    added = at(pick(grown, parents), new)
    prefixes = _Prefixes(
        labels,
        lengths,
        jnp.where(grew, -jnp.inf, stay_blank),
        jnp.where(grew, added, stay_label),
    )
    return prefixes, advance(language, fusion, parents, new, grew)


def _ordered(prefixes: _Prefixes, fusion: Fusion | None, rules: _Rules) -> Labellings:
    """The prefixes as labellings by their final scores, what is impossible as empty."""
    log_probs = prefixes.log_probs
    bonus = rules.bonus * prefixes.lengths.astype(log_probs.dtype)
    return best_labellings(
        prefixes.labels,
        log_probs + bonus + end_bonus(rules.language, fusion, log_probs.dtype),
        log_probs,
        prefixes.lengths,
        rules.blank,
    )
