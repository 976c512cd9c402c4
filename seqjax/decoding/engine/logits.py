"""A step's logits and the processors that change them before anything is chosen.

A processor is a plain function (logits [N, V], tokens [N, L], length) -> logits [N, V] of the
tokens so far, or an object with a state of its own.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax._internal.checks import require, same_structure
from seqjax.core.scan import strong


@runtime_checkable
class StatefulProcessor(Protocol):
    """A processor with a past of its own, which travels beside the carry of the step.

        logitsₜ = processor(stateₜ, logitsₜ);    stateₜ₊₁ = update(stateₜ, tokenₜ)

    The decoders repeat the state, gather it by parents and hold it where a row has ended. What
    differs from row to row (settings, a prompt's tokens) goes into the state: N is the batch size
    B in `initial_state`, and B K once a beam search has repeated it. The prompt is not read.

    Example:
      >>> class NoRepeat:  # bans the token that came last
      ...     def initial_state(self, batch_size):
      ...         return jnp.full(batch_size, -1)
      ...     def __call__(self, state, logits):
      ...         return jnp.where(jnp.arange(logits.shape[1]) == state[:, None], -jnp.inf, logits)
      ...     def update(self, state, tokens):
      ...         return tokens
      >>> from seqjax.decoding import sample
      >>> step = lambda carry, tokens: (carry, jnp.array([[0.0, 2.0, 1.0]]))
      >>> how = dict(bos=jnp.array([0]), eos=0, max_len=3, key=jax.random.key(0))
      >>> sample(step, (), temperature=0.0, processors=[NoRepeat()], **how).tokens.tolist()
      [[1, 2, 1]]
    """

    def initial_state(self, batch_size: int) -> Any:
        """A pytree whose leaves lead with the batch axis [N, ...]."""
        ...

    def __call__(self, state: Any, logits: jax.Array) -> jax.Array:
        """Logits [N, V] of what may come next, given the model's (or the last processor's)."""
        ...

    def update(self, state: Any, tokens: jax.Array) -> Any:
        """The state after tokens [N]; a hypothesis of probability 0 may bring a refused one."""
        ...


Processor = Callable[[jax.Array, jax.Array, jax.Array], jax.Array] | StatefulProcessor


def initial_states(processors: Sequence[Processor], batch_size: int) -> tuple[Any, ...]:
    """One state a processor, leaves [N, ...]; () for a plain function."""
    return tuple(_initial_state(processor, batch_size) for processor in processors)


def _initial_state(processor: Processor, batch_size: int) -> Any:
    if not isinstance(processor, StatefulProcessor):
        return ()
    state = strong(processor.initial_state(batch_size))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        require(
            leaf.ndim > 0 and leaf.shape[0] == batch_size,
            f"processors: {processor!r} has initial_state{jax.tree_util.keystr(path)} of shape "
            f"{leaf.shape}; expected every leaf to lead with the batch axis [N, ...], N = "
            f"{batch_size}.",
        )
    return state


def update_states(processors: Sequence[Processor], states: Any, tokens: jax.Array) -> Any:
    """The states after tokens [N] were chosen."""
    pairs = zip(processors, states, strict=True)
    return tuple(_update(processor, state, tokens) for processor, state in pairs)


def _update(processor: Processor, state: Any, tokens: jax.Array) -> Any:
    if not isinstance(processor, StatefulProcessor):
        return state
    new = processor.update(state, tokens)
    same_structure(f"processors: {processor!r}: updated state", new, state, "it was before")
    return strong(new)


def as_logits(logits: jax.Array, dtype: Any, eos: int) -> jax.Array:
    """Casts logits [N, V]; a row that allows nothing (all -inf) allows eos alone."""
    logits = logits.astype(dtype)
    # Sorting ranks 0.0 above -0.0, argmax does not: with one zero both see the same ties.
    logits = jnp.where(logits == 0, 0, logits)
    empty = jnp.max(logits, axis=-1, keepdims=True) == -jnp.inf
    is_eos = jnp.arange(logits.shape[-1], dtype=jnp.int32) == eos
    return jnp.where(empty & is_eos, 0, logits)


def process(
    processors: Sequence[Processor], states: Any, logits, tokens, length, eos: int
) -> jax.Array:
    """Applies processors in order to logits [N, V].

    Each is given its state, or else the tokens [N, L] so far, of which `length` count.
    """
    for processor, state in zip(processors, states, strict=True):
        out = apply(processor, state, logits, tokens, length)
        logits = as_logits(out, logits.dtype, eos)
    return logits


def apply(processor: Processor, state: Any, logits, tokens, length) -> jax.Array:
    """What one processor makes of logits [N, V]."""
    if isinstance(processor, StatefulProcessor):
        out = processor(state, logits)
    else:
        out = processor(logits, tokens, length)
    require(
        jnp.shape(out) == logits.shape,
        f"processors: {processor!r} returned logits of shape {jnp.shape(out)}; expected the "
        f"shape that it was given, {logits.shape} = [N, V].",
    )
    return out


def column(value: Any, dtype: Any = jnp.int32) -> jax.Array:
    """A scalar as [1, 1] or one number a row as [N, 1]."""
    return jnp.asarray(value, dtype).reshape(-1, 1)
