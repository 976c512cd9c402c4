"""A processor that has read the prompt."""

from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal.checks import require
from seqjax._internal.types import Carry, Logits, Tokens
from seqjax.core.scan import where_rows
from seqjax.decoding.engine.logits import Adapted, Processor, as_stateful


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
        shape = jnp.shape(self.prompt)
        require(len(shape) == 2, f"prompt has shape {shape}; expected [B, P], padded on the right.")
        lengths = shape[:1] if self.prompt_lengths is None else jnp.shape(self.prompt_lengths)
        require(
            lengths == shape[:1],
            f"prompt_lengths has shape {lengths} but prompt has {shape}; expected [B].",
        )

    def _read(self) -> tuple[jax.Array, jax.Array]:
        """The prompt [B, P] and its lengths [B], int32."""
        batch, width = jnp.shape(self.prompt)
        lengths = jnp.full(batch, width) if self.prompt_lengths is None else self.prompt_lengths
        return jnp.asarray(self.prompt, jnp.int32), jnp.asarray(lengths, jnp.int32)

    def initial_state(self, batch_size: int) -> Carry:
        """The processor's state after the prompt, leaves [B, ...]."""
        inner, (prompt, lengths) = as_stateful(self.processor), self._read()
        require(
            prompt.shape[0] == batch_size,
            f"prompt has {prompt.shape[0]} rows but the batch size is {batch_size}; expected as "
            "many.",
        )

        def body(state, x):
            place, tokens = x
            return where_rows(place < lengths, inner.update(state, tokens), state), None

        places = jnp.arange(prompt.shape[1], dtype=jnp.int32)
        return jax.lax.scan(body, inner.initial_state(batch_size), (places, prompt.T))[0]

    def __call__(self, state: Carry, logits: Logits, tokens: Tokens, length: Any) -> Logits:
        """What the processor makes of logits [N, V], with the prompt before tokens [N, L]."""
        prompt, lengths = self._read()
        batch, width = prompt.shape
        require(
            logits.shape[0] % batch == 0,
            f"prompt has {batch} rows but logits have {logits.shape[0]}; expected a multiple.",
        )
        repeat = lambda x: jnp.repeat(x, logits.shape[0] // batch, axis=0)
        before = repeat(lengths)
        at = (
            jnp.arange(width + tokens.shape[1], dtype=jnp.int32) - before[:, None]
        )  # 0: first drawn
        drawn = jnp.take_along_axis(tokens, jnp.maximum(at, 0), axis=1, mode="clip")
        prompt = jnp.pad(repeat(prompt), ((0, 0), (0, tokens.shape[1])))
        whole = jnp.where(at < 0, prompt, drawn)
        return as_stateful(self.processor)(state, logits, whole, before + length)

    def update(self, state: Carry, tokens: Tokens) -> Carry:
        """The processor's state after tokens [N]."""
        return as_stateful(self.processor).update(state, tokens)
