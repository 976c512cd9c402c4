"""The loss of the RNN transducer: a sum over all alignments of labels that depend on each other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.ids import check_ids
from seqjax.core.lengths import check_lengths, within
from seqjax.core.steps import zero_rows
from seqjax.losses.labels import (
    check_blank,
    check_labels,
    widened,
)
from seqjax.losses.lattice import lattice_log_prob

Joint = Callable[[jax.Array, jax.Array], jax.Array]


def transducer_loss(
    joint: Joint,
    encoded: Any,
    predicted: Any,
    labels: Any,
    *,
    lengths: Any = None,
    label_lengths: Any = None,
    blank: int = 0,
    chunk_size: int = 8,
) -> jax.Array:
    """-log of the probability of each row's labels, summed over all alignments, in nats.

        p(y | x) = Σ over lattice paths of Π softmax(joint(fₜ, gᵤ))[yᵤ₊₁ or blank]

    At (t, u), u labels are out by frame t: a label leads to (t, u + 1), the blank to (t + 1, u),
    and a path ends with the blank at (T - 1, U). The gradient is exact, and within 1e-4 of its
    largest entry in float32 after 8,000 frames.

    The array of all logits, [B, T, U + 1, V], is never made: joint is evaluated for `chunk_size`
    frames at once, and again in the backward pass. Only two numbers of each (t, u) are kept, the
    log-probabilities of the blank and the next label, which are normalised here.

    Use it where labels are emitted while inputs come in and depend on earlier labels; a frame may
    emit any number of them. It costs T U joints: where labels hardly depend on each other
    `ctc_loss` is cheaper, and without streaming an attention decoder may do better.

    Args:
      joint: joint(encoded [B, c, 1, D], predicted [B, 1, U + 1, E]) -> logits [B, c, U + 1, V],
        acting on the last axis: `jnp.add` (Graves 2012) or a network, its parameters closed over.
      encoded: [B, T, D] floats, f, one a frame.
      predicted: [B, U + 1, E] floats, g, of the prediction network: gᵤ has read u labels.
      labels: [B, U] integers in 0..V-1 without the blank, padded on the right with anything.
      lengths: [B] integers, 0..T, frames of each row; None means T. What stands after them, NaN
        included, changes neither a value nor a gradient. A row without frames has p(no labels) = 1.
      label_lengths: [B] integers, 0..U; None means U. gᵤ with u > label_lengths is padding too.
      blank: the id of the blank, 0..V-1.
      chunk_size: frames at once, whose logits [B, chunk_size, U + 1, V] are in memory a few times.

    Returns:
      [B] nats, at least 0. Rows of probability 0 (labels but no frames, or logits of -inf) are
      +inf with zero gradient; inside `jit`, rows with a label out of range or equal to the blank
      are NaN.

    Raises:
      ValueError: if shapes or dtypes do not fit, blank is out of range, or, where values are known,
        a length is, a label is out of range or the blank, or a row has labels but no frames.

    Example:
      >>> encoded, predicted = jnp.zeros((1, 2, 3)), jnp.zeros((1, 2, 3))
      >>> loss = transducer_loss(jnp.add, encoded, predicted, jnp.array([[1]]))
      >>> print(f"{jnp.exp(-loss[0]):.4f} {2 / 3**3:.4f}")  # a label at either frame, two blanks
      0.0741 0.0741

    References:
      Graves, Sequence Transduction with Recurrent Neural Networks, 2012, equations 12 to 20.
      Bagby, Rao and Sim, Efficient Implementation of Recurrent Neural Network Transducer in
      TensorFlow, 2018, for the order by diagonals.
    """
    encoded, predicted, labels = _check_arrays(encoded, predicted, labels)
    batch_size, steps = encoded.shape[:2]
    size = labels.shape[1]
    checks.positive_int("chunk_size", chunk_size)
    lengths = check_lengths("lengths", lengths, "encoded", encoded.shape)
    label_lengths = check_lengths("label_lengths", label_lengths, "labels", labels.shape)
    logits = _joint_shape(joint, encoded, predicted)
    blank = check_blank(blank, logits.shape[-1])
    real, real_labels = within(lengths, steps), within(label_lengths, size)
    bad = real_labels & ((labels < 0) | (labels >= logits.shape[-1]) | (labels == blank))
    check_ids("labels", labels, bad, f"expected ids in 0..{logits.shape[-1] - 1} other than blank.")
    _check_frames(lengths, label_lengths)
    labels = jnp.where(real_labels & ~bad, labels, blank)
    encoded = zero_rows(real, encoded)
    predicted = zero_rows(within(label_lengths + 1, size + 1), predicted)
    blanks, emits = _steps(joint, encoded, predicted, labels, blank, min(chunk_size, steps))
    inside = real[:, :, None] & within(label_lengths + 1, size + 1)[:, None]
    emitting = real[:, :, None] & jnp.pad(real_labels, ((0, 0), (0, 1)))[:, None]
    log_probs = lattice_log_prob(
        jnp.where(inside, blanks, -jnp.inf),
        jnp.where(emitting, emits, -jnp.inf),
        lengths,
        label_lengths,
    )
    losses = -log_probs + jax.lax.stop_gradient(jnp.maximum(log_probs, 0))
    return jnp.where(jnp.any(bad, axis=1), jnp.nan, losses)


def _steps(joint: Joint, encoded, predicted, labels, blank: int, size: int):
    """Log-probabilities [B, T, U + 1] of the blank and the next label, from `size` frames at once.

    After the last label, at u = U, there is no next one; the blank's number fills its place.
    """
    batch_size, steps = encoded.shape[:2]
    if steps == 0:
        empty = jnp.zeros((batch_size, 0, predicted.shape[1]), widened(encoded).dtype)
        return empty, empty
    following = jnp.pad(labels, ((0, 0), (0, 1)), constant_values=blank)[:, None, :, None]

    def chunk(frames):  # [B, c, D]
        logits = widened(joint(frames[:, :, None], predicted[:, None]))  # [B, c, U + 1, V]
        whole = jax.nn.logsumexp(logits, axis=-1)
        index = jnp.broadcast_to(following, (*whole.shape, 1))
        chosen = jnp.take_along_axis(logits, index, axis=-1)[..., 0]
        return logits[..., blank] - whole, chosen - whole

    count = -(-steps // size)
    frames = jnp.pad(encoded, ((0, 0), (0, count * size - steps), (0, 0)))
    frames = jnp.moveaxis(frames.reshape(batch_size, count, size, -1), 1, 0)
    found = jax.lax.map(jax.checkpoint(chunk, prevent_cse=False), frames)
    together = lambda x: jnp.moveaxis(x, 0, 1).reshape(batch_size, count * size, -1)[:, :steps]
    return jax.tree.map(together, found)


def _check_arrays(encoded, predicted, labels):
    encoded, predicted = jnp.asarray(encoded), jnp.asarray(predicted)
    for name, x in (("encoded", encoded), ("predicted", predicted)):
        checks.require(
            x.ndim == 3 and checks.is_float(x),
            f"{name} is {x.dtype}{list(x.shape)}; expected floats [B, steps, features].",
        )
    labels = check_labels(labels, encoded.shape[0], "encoded")
    expected = (encoded.shape[0], labels.shape[1] + 1)
    checks.require(
        predicted.shape[:2] == expected,
        f"predicted has shape {predicted.shape}; expected [B, U + 1, E] with B, U + 1 = "
        f"{expected}: one output before any label and one after each. Feed the prediction network "
        "a start token and then the labels.",
    )
    return encoded, predicted, labels


def _joint_shape(joint: Joint, encoded, predicted):
    """What joint gives for one frame, checked."""
    frame = jax.ShapeDtypeStruct((encoded.shape[0], 1, 1, encoded.shape[2]), encoded.dtype)
    logits = jax.eval_shape(joint, frame, predicted[:, None])
    expected = (encoded.shape[0], 1, predicted.shape[1])
    checks.require(
        getattr(logits, "shape", ())[:-1] == expected
        and jnp.issubdtype(logits.dtype, jnp.floating),
        f"joint returned {logits} for one frame; expected float logits [B, 1, U + 1, V] = "
        f"({expected[0]}, 1, {expected[2]}, V). It must broadcast over its leading axes.",
    )
    return logits


def _check_frames(lengths, label_lengths) -> None:
    known, sizes = checks.concrete(lengths), checks.concrete(label_lengths)
    if known is not None and sizes is not None:
        checks.require(
            not ((known == 0) & (sizes > 0)).any(),
            "lengths is 0 where label_lengths is not; expected a frame at least, at which labels "
            "can go out. Leave such rows out.",
        )
