"""Processors that read given text: the prompt before their own tokens, or a source instead."""

from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import require
from seqjax._internal.types import Carry, Logits, Tokens
from seqjax.core.lengths import check_lengths
from seqjax.core.steps import where_rows
from seqjax.decoding.engine.logits import Adapted, Processor, as_stateful
from seqjax.decoding.engine.rows import repeat_rows


@final
@dataclass(frozen=True, eq=False)
class AfterPrompt(Adapted):
    """Lets a processor read the prompt before the tokens that were drawn.

        processor(logits, prompt[:prompt_lengths] + tokens, prompt_lengths + length)
        state₀ = update(... update(initial_state, prompt₁) ..., prompt_P)

    For any processor, of the tokens so far or with a state of its own. It has arrays, so it equals
    itself alone; build it inside the function that is jitted.

    Attributes:
      processor: any processor. A plain function is called row by row, because prompts differ in
        length.
      prompt: [B, P] integers, padded on the right, as given to the decoder.
      prompt_lengths: [B], 0..P; None means all P.

    Raises:
      ValueError: if prompt is not [B, P], or prompt_lengths not [B]; when used, if B is not that
        of the decoder.

    Example:
      >>> from seqjax.decoding import NoRepeatNGram, sample
      >>> step = lambda carry, tokens: (carry, jnp.array([[0.0, 2.0, 1.0]]))
      >>> prompt = jnp.array([[2, 1, 2]])
      >>> how = dict(bos=jnp.array([0]), eos=0, max_len=1, key=jax.random.key(0), temperature=0.0)
      >>> refuse = AfterPrompt(NoRepeatNGram(2), prompt)  # 1 would repeat (2, 1)
      >>> sample(step, (), prompt=prompt, processors=[refuse], **how).tokens.tolist()
      [[2]]
    """

    processor: Processor
    prompt: Any
    prompt_lengths: Any = None

    def __post_init__(self):
        _check_rows("prompt", self.prompt, self.prompt_lengths)

    def initial_state(self, batch_size: int) -> Carry:
        """The processor's state after the prompt, leaves [B, ...]."""
        return _read("prompt", self.prompt, self.prompt_lengths, self.processor, batch_size)

    def __call__(
        self, state: Carry, logits: Logits, tokens: Tokens, length: Any
    ) -> Logits | np.ndarray:
        """What the processor makes of logits [N, V], with the prompt before tokens [N, L]."""
        prompt, before = _repeated("prompt", self.prompt, self.prompt_lengths, logits.shape[0])
        places = jnp.arange(prompt.shape[1] + tokens.shape[1], dtype=jnp.int32)
        at = places - before[:, None]  # 0: the first token drawn
        drawn = jnp.take_along_axis(tokens, jnp.maximum(at, 0), axis=1, mode="clip")
        prompt = jnp.pad(prompt, ((0, 0), (0, tokens.shape[1])))
        whole = jnp.where(at < 0, prompt, drawn)
        return as_stateful(self.processor)(state, logits, whole, before + length)

    def update(self, state: Carry, tokens: Tokens) -> Carry:
        """The processor's state after tokens [N]."""
        return as_stateful(self.processor).update(state, tokens)


@final
@dataclass(frozen=True, eq=False)
class OnSource(Adapted):
    """Lets a processor look at a source text instead of the tokens that were drawn.

        processor(logits, source[:source_lengths], source_lengths)

    So a penalty meant against repetition becomes one for or against copying: a
    `RepetitionPenalty` below 1 or a negative `PresencePenalty` favours the words of the source,
    which keeps a translation or a summary to what was said. It equals itself alone.

    Attributes:
      processor: any processor.
      source: [B, S] integers, padded on the right.
      source_lengths: [B], 0..S; None means all S.

    Raises:
      ValueError: if source is not [B, S], or source_lengths not [B]; when used, if B is not that
        of the decoder.

    Example:
      >>> from seqjax.decoding import PresencePenalty, sample
      >>> step = lambda carry, tokens: (carry, jnp.array([[0.0, 2.0, 1.5]]))
      >>> copies = OnSource(PresencePenalty(-1.0), jnp.array([[2, 0]]))
      >>> how = dict(bos=jnp.array([0]), eos=0, max_len=1, key=jax.random.key(0), temperature=0.0)
      >>> sample(step, (), processors=[copies], **how).tokens.tolist()
      [[2]]
    """

    processor: Processor
    source: Any
    source_lengths: Any = None

    def __post_init__(self):
        _check_rows("source", self.source, self.source_lengths)

    def initial_state(self, batch_size: int) -> Carry:
        """The processor's state after the source, leaves [B, ...]."""
        return _read("source", self.source, self.source_lengths, self.processor, batch_size)

    def __call__(
        self, state: Carry, logits: Logits, tokens: Tokens, length: Any
    ) -> Logits | np.ndarray:
        """What the processor makes of logits [N, V], given the source for tokens [N, L]."""
        source, lengths = _repeated("source", self.source, self.source_lengths, logits.shape[0])
        return as_stateful(self.processor)(state, logits, source, lengths)

    def update(self, state: Carry, tokens: Tokens) -> Carry:
        """The same state, whatever tokens [N] were drawn."""
        return state


def _check_rows(name: str, tokens: Any, lengths: Any) -> None:
    shape = jnp.shape(tokens)
    require(len(shape) == 2, f"{name} has shape {shape}; expected [B, P], padded on the right.")
    check_lengths(f"{name}_lengths", lengths, name, shape)


def _repeated(name: str, tokens: Any, lengths: Any, rows: int) -> tuple[jax.Array, jax.Array]:
    """Given tokens [B, P] and their lengths [B] for N rows, copies of a row side by side."""
    batch, width = jnp.shape(tokens)
    require(
        rows % batch == 0,
        f"{name} has {batch} rows but logits have {rows}; expected a multiple.",
    )
    lengths = jnp.full(batch, width) if lengths is None else lengths
    tokens, lengths = (jnp.asarray(x, jnp.int32) for x in (tokens, lengths))
    return repeat_rows((tokens, lengths), rows // batch)


def _read(name: str, tokens: Any, lengths: Any, processor: Processor, batch_size: int) -> Carry:
    """The state of a processor that has read each row's own tokens."""
    rows = jnp.shape(tokens)[0]
    require(
        rows == batch_size,
        f"{name} has {rows} rows but the batch size is {batch_size}; expected as many.",
    )
    inner, (tokens, lengths) = as_stateful(processor), _repeated(name, tokens, lengths, rows)

    def body(state, x):
        place, token = x
        return where_rows(place < lengths, inner.update(state, token), state), None

    places = jnp.arange(tokens.shape[1], dtype=jnp.int32)
    return jax.lax.scan(body, inner.initial_state(batch_size), (places, tokens.T))[0]
