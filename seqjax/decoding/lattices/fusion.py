"""A language model beside a search over label sequences: shallow fusion."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal.checks import is_number, require
from seqjax._internal.types import Carry
from seqjax.core.steps import where_rows
from seqjax.decoding.engine.rows import pick, repeat_rows, take_beams
from seqjax.decoding.engine.start import Step, start


class LanguageModel(NamedTuple):
    """A step function that scores labels as a search adds them.

    `ctc_beam_search` and `transducer_beam_search` add weight log q(y) to a labelling's score. The
    labels' ids are the same in both vocabularies, W >= V; the blank's id, which no label has, and
    those from V on are free for bos and eos.

    Fields:
      step: step(carry, tokens [N]) -> (carry, logits [N, W]), normalised over all W.
      carry: of the step, a pytree whose leaves lead with the batch axis B.
      bos: the first token that it reads, an integer or [B].
      eos: adds log q(eos | y) to the score of what is complete; None adds nothing.
      weight: at least 0, may be traced. What the model rules out stays out, whatever the weight.
    """

    step: Step
    carry: Carry
    bos: Any
    eos: int | None = None
    weight: Any = 1.0


class Fusion(NamedTuple):
    """What a language model says of K prefixes a row."""

    carry: Carry  # leaves [B * K, ...]
    log_probs: jax.Array  # [B, K] of the prefixes
    following: jax.Array  # [B, K, W] log-probabilities of the next token


def begin(language: LanguageModel | None, batch: int, beam_size: int, vocab_size: int):
    """The fusion of K empty prefixes a row, None without a model.

    Raises:
      ValueError: if the step's carry or logits do not fit, eos or weight is out of range, or the
        step's vocabulary lacks labels.
    """
    if language is None:
        return None
    bos = jnp.asarray(language.bos)
    bos = jnp.broadcast_to(bos, (batch,)) if bos.ndim == 0 else bos
    eos = 0 if language.eos is None else language.eos
    begun = start(language.step, language.carry, bos, eos, None, None)
    require(
        begun.tokens.shape == (batch,),
        f"language has batch size {begun.tokens.shape[0]} but the search has {batch} rows; "
        "expected bos and carry to lead with the same B.",
    )
    require(
        begun.vocab_size >= vocab_size,
        f"language.step returned {begun.vocab_size} logits for a search over {vocab_size} ids; "
        "expected at least as many: labels have the same ids in both.",
    )
    weight = language.weight
    require(
        not is_number(weight) or weight >= 0,
        f"language.weight is {weight!r}; expected a number of at least 0.",
    )
    carry, logits = language.step(begun.carry, begun.tokens)[:2]
    following = jax.nn.log_softmax(logits.astype(begun.dtype))
    every = lambda x: jnp.broadcast_to(x[:, None], (batch, beam_size, *x.shape[1:]))
    none = jnp.zeros((batch, beam_size), begun.dtype)
    return Fusion(repeat_rows(carry, beam_size), none, every(following))


def prefix_bonus(language: LanguageModel | None, fusion: Fusion | None, dtype: Any) -> Any:
    """What a language model adds to the scores of prefixes [B, K]."""
    return 0 if fusion is None else _weighed(language, fusion.log_probs, dtype)


def label_bonus(language, fusion: Fusion | None, vocab_size: int, dtype: Any) -> Any:
    """What a language model adds to the scores of prefixes and one label more, [B, K, V]."""
    if fusion is None:
        return 0
    whole = fusion.log_probs[..., None] + fusion.following[..., :vocab_size]
    return _weighed(language, whole, dtype)


def end_bonus(language: LanguageModel | None, fusion: Fusion | None, dtype: Any) -> Any:
    """What a language model adds to the scores of complete labellings [B, K]."""
    if fusion is None or language is None or language.eos is None:
        return prefix_bonus(language, fusion, dtype)
    return _weighed(language, fusion.log_probs + fusion.following[..., language.eos], dtype)


def advance(language, fusion: Fusion | None, parents, labels, grew) -> Fusion | None:
    """The fusion of the chosen parents [B, K], which has read their new labels where they grew."""
    if fusion is None:
        return None
    log_probs, following = pick((fusion.log_probs, fusion.following), parents)
    carry = take_beams(fusion.carry, parents)
    new, logits = language.step(carry, labels.reshape(-1))[:2]
    said = jax.nn.log_softmax(logits.astype(following.dtype)).reshape(following.shape)
    added = jnp.take_along_axis(following, labels[..., None], axis=-1)[..., 0]
    return Fusion(
        where_rows(grew.reshape(-1), new, carry),
        jnp.where(grew, log_probs + added, log_probs),
        jnp.where(grew[..., None], said, following),
    )


def hold(real: jax.Array, new: Fusion | None, old: Fusion | None) -> Fusion | None:
    """The new fusion where real [B], the old one elsewhere."""
    if new is None or old is None:
        return None
    size = new.log_probs.shape[1]
    carry = where_rows(jnp.repeat(real, size), new.carry, old.carry)
    rest = where_rows(real, new[1:], old[1:])
    return Fusion(carry, *rest)


def _weighed(language, log_probs: jax.Array, dtype: Any) -> jax.Array:
    """weight times log-probabilities, -inf where these are, also for a weight of 0."""
    weight = jnp.asarray(language.weight, dtype)
    log_probs = log_probs.astype(dtype)
    return jnp.where(log_probs == -jnp.inf, -jnp.inf, weight * log_probs)
