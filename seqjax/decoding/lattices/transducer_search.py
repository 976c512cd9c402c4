"""Decoding of RNN transducers: the best step at a time, and a search by alignment length."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry
from seqjax.core.lengths import check_lengths, within
from seqjax.core.steps import where_rows, zero_rows
from seqjax.decoding.engine.rows import at, pick, repeat_rows, take_beams
from seqjax.decoding.engine.start import Step, start
from seqjax.decoding.lattices.fusion import (
    Fusion,
    LanguageModel,
    advance,
    begin,
    end_bonus,
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
from seqjax.losses.labels import check_blank, widened
from seqjax.losses.transducer import Joint


@own_ranks
def transducer_greedy(
    joint: Joint,
    encoded: Any,
    step: Step,
    carry: Carry,
    *,
    bos: Any,
    max_len: int,
    lengths: Any = None,
    blank: int = 0,
) -> Labellings:
    """The labels of the path on which each step of the lattice takes the best of label and blank.

    Every row moves by itself: a label leads to its next one at the same frame, a blank to the next
    frame. Rows with max_len labels take blanks alone, so the loop ends after T + L steps at most.

    Args:
      joint: joint(encoded [B, D], predicted [B, E]) -> logits [B, V]: that of `transducer_loss`.
      encoded: [B, T, D] floats, one a frame.
      step: the prediction network, step(carry, tokens [B]) -> (carry, predicted [B, E]).
      carry: of the step, a pytree whose leaves lead with the batch axis B.
      bos: the first token it reads, an integer or [B]; then it reads labels.
      max_len: L, the largest number of labels.
      lengths: [B] integers, 0..T, frames of each row; None means T.
      blank: the id of the blank, 0..V-1. Ties go to the lowest id.

    Returns:
      `Labellings` with K = 1; scores and log_probs are those of the one path.

    Raises:
      ValueError: if shapes, dtypes, ids or lengths do not fit.

    Example:
      >>> encoded = 9 * jax.nn.one_hot(jnp.array([[1, 2]]), 3)
      >>> said = -18 * jax.nn.one_hot(jnp.arange(3), 3).at[0].set(0)
      >>> step = lambda carry, tokens: (carry + said[tokens], carry + said[tokens])
      >>> carry = jnp.zeros((1, 3))
      >>> best = transducer_greedy(jnp.add, encoded, step, carry, bos=0, max_len=4)
      >>> best.labels[0, 0, : best.lengths[0, 0]].tolist()
      [1, 2]

    References:
      Graves, Sequence Transduction with Recurrent Neural Networks, 2012.
    """
    task = _task(joint, encoded, step, carry, bos, max_len, lengths, blank)
    batch, rows = task.frames.shape[0], jnp.arange(task.frames.shape[0])

    def body(loop):
        t, labels, sizes, log_probs, carry, predicted = loop
        now = task.frames[rows, jnp.minimum(t, task.frames.shape[1] - 1)]
        logits = joint(now, predicted).astype(task.dtype)
        best = jax.lax.argmax(logits, 1, jnp.int32)
        live = t < task.lengths
        emits = live & (best != task.blank) & (sizes < task.limit)
        taken = at(jax.nn.log_softmax(logits), jnp.where(emits, best, task.blank))
        places = jnp.where(emits, sizes, task.limit)
        labels = labels.at[rows, places].set(best, mode="drop")
        new, output = step(carry, jnp.where(emits, best, task.blank))
        carry = where_rows(emits, new, carry)
        predicted = jnp.where(emits[:, None], output, predicted)
        return (
            t + (live & ~emits).astype(jnp.int32),
            labels,
            sizes + emits.astype(jnp.int32),
            log_probs + jnp.where(live, taken, 0),
            carry,
            predicted,
        )

    labels = jnp.full((batch, task.limit), task.blank, jnp.int32)
    zeros = jnp.zeros(batch, jnp.int32)
    none = jnp.zeros(batch, task.dtype)
    loop = (zeros, labels, zeros, none, task.carry, task.predicted)
    loop = jax.lax.while_loop(lambda loop: jnp.any(loop[0] < task.lengths), body, loop)
    labels, sizes, log_probs = (x[:, None] for x in loop[1:4])
    return Labellings(labels, log_probs, log_probs, sizes)


class _Hypotheses(NamedTuple):
    """K different prefixes a row that have taken equally many steps of the lattice."""

    labels: jax.Array  # [B, K, L]
    lengths: jax.Array  # [B, K]
    log_probs: jax.Array  # [B, K]
    carry: Carry  # leaves [B * K, ...]
    predicted: jax.Array  # [B * K, E]


@own_ranks
def transducer_beam_search(
    joint: Joint,
    encoded: Any,
    step: Step,
    carry: Carry,
    *,
    bos: Any,
    beam_size: int,
    max_len: int,
    lengths: Any = None,
    blank: int = 0,
    language: LanguageModel | None = None,
    insertion_bonus: Any = 0.0,
) -> Labellings:
    """Searches for the K best labellings of each row, each a sum over its alignments.

        score(y) = log p(y | x) + weight log q(y) + insertion_bonus |y|

    Hypotheses are compared that have taken equally many steps, blanks and labels together
    (alignment-length synchronous). Those of the same labels are then at the same frame and are
    added up; each step costs one joint and one step of the prediction network for all B K, and
    there are T + L of them. Probabilities are exact where all prefixes fit into K; otherwise they
    leave out the paths through prefixes that were dropped.

    Args:
      joint: joint(encoded [N, D], predicted [N, E]) -> logits [N, V]: that of `transducer_loss`.
      encoded: [B, T, D] floats, one a frame.
      step: the prediction network, step(carry, tokens [N]) -> (carry, predicted [N, E]), row-wise,
        for N = B and for N = B K.
      carry: of the step, a pytree whose leaves lead with the batch axis B.
      bos: the first token it reads, an integer or [B]; then it reads labels.
      beam_size: K.
      max_len: L, the largest number of labels.
      lengths: [B] integers, 0..T, frames of each row; None means T.
      blank: the id of the blank, 0..V-1.
      language: q, with its weight; None leaves it out.
      insertion_bonus: added for every label, may be traced.

    Returns:
      `Labellings`. Where a row has fewer than K labellings of positive probability, the last
      places have scores and log_probs -inf, length 0 and blanks alone.

    Raises:
      ValueError: if shapes, dtypes, ids, sizes or lengths do not fit.

    Example:
      >>> step = lambda carry, tokens: (carry, jnp.zeros((*tokens.shape, 2)))
      >>> frames = jnp.log(jnp.array([[[0.6, 0.4], [0.9, 0.1]]]))
      >>> found = transducer_beam_search(
      ...     jnp.add, frames, step, (), bos=jnp.array([0]), beam_size=2, max_len=1
      ... )
      >>> print(found.labels[0, :, 0], [f"{p:.2f}" for p in jnp.exp(found.log_probs[0])])
      [0 1] ['0.54', '0.27']

    References:
      Saon, Tüske and Audhkhasi, Alignment-Length Synchronous Decoding for RNN Transducer, 2020.
      Graves 2012, section 2.5.
    """
    task = _task(joint, encoded, step, carry, bos, max_len, lengths, blank)
    size = checks.positive_int("beam_size", beam_size)
    batch, steps = task.frames.shape[:2]
    every = lambda x: repeat_rows(x, size)
    never = jnp.full((batch, size), -jnp.inf, task.dtype)
    labels = jnp.full((batch, size, task.limit), task.blank, jnp.int32)
    zeros = jnp.zeros((batch, size), jnp.int32)
    # A row without a frame is complete before its first step.
    empty = jnp.where(task.lengths == 0, 0, -jnp.inf).astype(task.dtype)
    done = Labellings(labels, never.at[:, 0].set(empty), never.at[:, 0].set(empty), zeros)
    live = _Hypotheses(
        labels, zeros, never.at[:, 0].set(0), every(task.carry), every(task.predicted)
    )
    bonus = jnp.asarray(insertion_bonus, task.dtype)
    fusion = begin(language, batch, size, task.vocab_size)

    def body(loop, n):
        live, fusion, done = loop
        return _step(task, live, fusion, done, n, language, bonus), None

    times = jnp.arange(steps + task.limit, dtype=jnp.int32)
    done = jax.lax.scan(body, (live, fusion, done), times)[0][2]
    return best_labellings(done.labels, done.scores, done.log_probs, done.lengths, task.blank)


def _step(task, live: _Hypotheses, fusion: Fusion | None, done: Labellings, n, language, bonus):
    """Step n of every path: a blank or a label for each hypothesis, the best of which live on."""
    labels, lengths, log_probs, carry, predicted = live
    t = n - lengths  # [B, K] the frame of each
    here = t < task.lengths[:, None]
    rows = jnp.arange(t.shape[0])[:, None]
    now = task.frames[rows, jnp.minimum(t, task.frames.shape[1] - 1)]  # [B, K, D]
    logits = task.joint(now.reshape(-1, now.shape[-1]), predicted).astype(task.dtype)
    said = jax.nn.log_softmax(logits).reshape(*t.shape, -1)  # [B, K, V]
    said = jnp.where(here[..., None], said, -jnp.inf) + log_probs[..., None]

    dtype = task.dtype
    size = bonus * lengths.astype(dtype)
    stay = said[..., task.blank]
    ends = t == task.lengths[:, None] - 1  # a blank at the last frame completes a labelling
    scores = stay + size + end_bonus(language, fusion, dtype)
    done = _collect(done, labels, jnp.where(ends, scores, -jnp.inf), stay, lengths)
    stay = jnp.where(ends, -jnp.inf, stay)

    ids = jnp.arange(task.vocab_size, dtype=jnp.int32)
    room = (ids != task.blank) & (lengths < task.limit)[..., None]
    grown = jnp.where(room, said, -jnp.inf)
    last = last_labels(labels, lengths, task.blank)
    extends = extensions(labels, lengths, task.blank)
    gained, grown = merge_grown(grown, last, extends)
    stay = jnp.logaddexp(stay, gained)

    stay_scores = stay + size + prefix_bonus(language, fusion, dtype)
    grow_by = bonus + size[..., None] + label_bonus(language, fusion, task.vocab_size, dtype)
    parents, new, grew = select(stay_scores, grown + grow_by)
    log_probs = jnp.where(grew, at(pick(grown, parents), new), pick(stay, parents))
    carry, predicted = take_beams((carry, predicted), parents)
    stepped, output = task.step(carry, jnp.where(grew, new, task.blank).reshape(-1))
    flat = grew.reshape(-1)
    live = _Hypotheses(
        *grow(labels, lengths, parents, new, grew),
        log_probs,
        where_rows(flat, stepped, carry),
        jnp.where(flat[:, None], output, predicted),
    )
    return live, advance(language, fusion, parents, new, grew), done


def _collect(done: Labellings, labels, scores, log_probs, lengths) -> Labellings:
    """The best K of those that were complete and of those that have become so."""
    new = Labellings(labels, scores, log_probs, lengths)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), done, new)
    _, order = jax.lax.top_k(both.scores, scores.shape[1])
    return Labellings(*pick(tuple(both), order))


class _Task(NamedTuple):
    """What a decoder was given, checked, after the prediction network has read bos."""

    joint: Joint
    frames: jax.Array  # [B, T, D], 0 beyond lengths
    lengths: jax.Array  # [B]
    step: Step
    carry: Carry
    predicted: jax.Array  # [B, E]
    limit: int
    blank: int
    vocab_size: int
    dtype: Any


def _task(joint, encoded, step, carry, bos, max_len, lengths, blank) -> _Task:
    encoded = jnp.asarray(encoded)
    checks.require(
        encoded.ndim == 3 and checks.is_float(encoded),
        f"encoded is {encoded.dtype}{list(encoded.shape)}; expected floats [B, T, D].",
    )
    batch, steps = encoded.shape[:2]
    limit = checks.positive_int("max_len", max_len)
    lengths = check_lengths("lengths", lengths, "encoded", encoded.shape)
    bos = jnp.asarray(bos)
    bos = jnp.broadcast_to(bos, (batch,)) if bos.ndim == 0 else bos
    begun = start(step, carry, bos, 0, None, None)  # no token of a transducer is an eos
    checks.require(
        begun.tokens.shape == (batch,),
        f"carry has batch size {begun.tokens.shape[0]} but encoded has {batch}; expected the same.",
    )
    carry, predicted = step(begun.carry, begun.tokens)
    frame = jax.ShapeDtypeStruct((batch, encoded.shape[2]), encoded.dtype)
    logits = jax.eval_shape(joint, frame, predicted)
    checks.require(
        getattr(logits, "ndim", 0) == 2 and logits.shape[0] == batch,
        f"joint returned {logits} for encoded [B, D] and predicted [B, E]; expected logits [B, V].",
    )
    blank = check_blank(blank, logits.shape[1])
    real = within(lengths, steps)
    frames = (
        zero_rows(real, encoded)
        if steps
        else jnp.zeros_like(encoded, shape=(batch, 1, *encoded.shape[2:]))
    )
    return _Task(
        joint=joint,
        frames=frames,
        lengths=lengths,
        step=step,
        carry=carry,
        predicted=predicted,
        limit=limit,
        blank=blank,
        vocab_size=logits.shape[1],
        dtype=widened(jnp.zeros((), logits.dtype)).dtype,
    )
