"""Connectionist temporal classification: labels without alignment, shorter than their inputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from seqjax._internal import checks, trees
from seqjax.core.ids import check_ids
from seqjax.core.lengths import check_lengths, within
from seqjax.core.steps import swap_time
from seqjax.losses.labels import (
    check_blank,
    check_floats,
    check_labels,
)
from seqjax.losses.log_numbers import LOG_ZERO, Log, log_sum


def ctc_loss(
    logits: Any, labels: Any, *, lengths: Any = None, label_lengths: Any = None, blank: int = 0
) -> jax.Array:
    """-log of the probability of each row's labels, summed over all alignments, in nats.

        p(y | x) = Σ_π Πₜ softmax(xₜ)[πₜ]    over the paths π [T] with ctc_collapse(π) = y

    A path names a label or the blank at every frame. To read it, merge repeats and then drop
    blanks, so equal neighbours in y need a blank between them. The gradient is
    exact: by xₜ it is softmax(xₜ) less the posterior probability of each label at frame t. In
    float32 its entries are within 1e-4 after 8,000 frames. It takes T sequential steps, and memory
    for two arrays [T, B, 2 N + 1].

    Use it where labels follow the order of the inputs, at most one a frame, as in speech and
    handwriting. Frames are independent given x, so it learns no language model. It places labels as
    narrow peaks, often late: do not read them as an alignment. Where labels outnumber frames, or
    depend on each other, use `transducer_loss` or an attention decoder.

    Args:
      logits: [B, T, V] floats over labels and blank. Half precision is computed in float32.
      labels: [B, N] integers in 0..V-1 without the blank, padded on the right with anything.
      lengths: [B] integers, 0..T, frames of each row; None means T. What stands after them, NaN
        included, changes neither a value nor a gradient.
      label_lengths: [B] integers, 0..N; None means N. 0 asks for the path of blanks alone.
      blank: the id of the blank, 0..V-1.

    Returns:
      [B] nats, at least 0. Inside `jit`, rows whose labels need more frames than they have are
      +inf with zero gradient, as is every row of probability 0 (by logits of -inf); a row with a
      label out of range or equal to the blank is NaN. To train past such rows, leave them out by
      `jnp.where(jnp.isfinite(loss), loss, 0)`.

    Raises:
      ValueError: if shapes or dtypes do not fit, blank is out of range, or, where values are known,
        a length is, a label is out of range or the blank, or labels need more frames than there
        are. Inside `jit` a caller wrapped in `checkify.checkify` gets these errors.

    Example:
      >>> logits = jnp.zeros((1, 2, 3))  # two frames, of which each path has probability 1 / 9
      >>> loss = ctc_loss(logits, jnp.array([[1]]))
      >>> print(f"{jnp.exp(-loss[0]):.3f}")  # the paths 11, 10, 01
      0.333

    References:
      Graves, Fernández, Gomez and Schmidhuber, Connectionist Temporal Classification: Labelling
      Unsegmented Sequence Data with Recurrent Neural Networks, 2006, equations 6 to 8 and 15.
    """
    logits = check_floats("logits", logits, "B T V")
    batch_size, steps, vocab_size = logits.shape
    blank = check_blank(blank, vocab_size)
    labels = check_labels(labels, batch_size, "logits")
    lengths = check_lengths("lengths", lengths, "logits", logits.shape)
    size = labels.shape[1]
    label_lengths = check_lengths("label_lengths", label_lengths, "labels", labels.shape)
    real, real_labels = within(lengths, steps), within(label_lengths, size)
    bad = real_labels & ((labels < 0) | (labels >= vocab_size) | (labels == blank))
    check_ids("labels", labels, bad, f"expected ids in 0..{vocab_size - 1} other than blank.")
    labels = jnp.where(real_labels & ~bad, labels, blank)
    check_frames(labels, real_labels, lengths)
    log_probs = jax.nn.log_softmax(jnp.where(real[..., None], logits, 0))
    total = _log_path_sums(log_probs, real, labels, label_lengths, blank)
    losses = -total + jax.lax.stop_gradient(jnp.maximum(total, 0))  # rounding goes above 0
    losses = jnp.where(total < LOG_ZERO / 2, jnp.inf, losses)
    return jnp.where(jnp.any(bad, axis=1), jnp.nan, losses)


def check_frames(labels: jax.Array, real_labels: jax.Array, lengths: jax.Array) -> None:
    """Refuses rows of labels [B, N] with more of them, and of blanks between, than frames [B]."""
    repeats = real_labels[:, 1:] & (labels[:, 1:] == labels[:, :-1])
    needed = sum(jnp.sum(x, axis=1, dtype=jnp.int32) for x in (real_labels, repeats))
    known, frames = checks.concrete(needed), checks.concrete(lengths)
    remedy = "one a label and one for a blank between equal neighbours"
    if known is None or frames is None:
        message = f"labels need more frames than lengths gives: {remedy}"
        checkify.debug_check(jnp.all(needed <= lengths), message)
    elif (known > frames).any():
        row = int(np.argmax(known > frames))
        raise ValueError(
            f"labels of row {row} need {known[row]} frames but its length is {frames[row]}; "
            f"expected {remedy}. Leave such rows out, or reduce the frames by less."
        )


def _log_path_sums(log_probs, real, labels, label_lengths, blank: int) -> jax.Array:
    """log of the probability of all paths of each row, [B].

    A path walks through 2 N + 1 states, the labels with a blank before, between and after them:
    it stays, goes to the next state, or skips a blank between labels that differ.
    """
    batch_size, size = labels.shape
    states = jnp.full((batch_size, 2 * size + 1), blank, jnp.int32).at[:, 1::2].set(labels)
    before = jnp.pad(states, ((0, 0), (2, 0)), constant_values=blank)[:, :-2]
    skips = (states != blank) & (states != before)
    # Before the first frame a path is at the first blank, which reaches both beginnings.
    first = jnp.broadcast_to(jnp.arange(2 * size + 1) == 0, states.shape)
    start = Log.one_where(first, log_probs.dtype)
    nowhere = Log.one_where(jnp.zeros_like(first), log_probs.dtype)

    def step(alpha: Log, inputs):
        log_prob, real = inputs
        skipped = alpha.earlier(2).where(skips, nowhere)
        arrived = log_sum(alpha, alpha.earlier(1), skipped)
        new = arrived.times(jnp.take_along_axis(log_prob, states, axis=1))
        return new.where(real[:, None], alpha), None

    start = trees.vary_like(start, (log_probs, real, labels))
    step = jax.checkpoint(step, prevent_cse=False)  # only α is stored at every frame
    alpha, _ = jax.lax.scan(step, start, swap_time((log_probs, real)))
    in_blank = alpha.take(2 * label_lengths)
    in_label = alpha.take(jnp.maximum(2 * label_lengths - 1, 0))
    return log_sum(in_blank, in_label).where(label_lengths > 0, in_blank).value
