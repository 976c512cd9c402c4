"""A step's logits and the processors that change them before anything is chosen.

A processor is a plain function (logits [N, V], tokens [N, L], length) -> logits [N, V] of the
tokens so far, or an object with a state of its own. A decoder adapts both to one kind, `Adapted`,
before it starts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import require, same_structure
from seqjax._internal.types import Carry, Logits, Tokens
from seqjax.core.scan import strong


@runtime_checkable
class StatefulProcessor(Protocol):
    """A processor with a past of its own, which travels beside the carry of the step.

        logitsₜ = processor(stateₜ, logitsₜ);    stateₜ₊₁ = update(stateₜ, tokenₜ)

    The decoders repeat the state, gather it by parents and freeze it where a row has ended. What
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

    def initial_state(self, batch_size: int) -> Carry:
        """A pytree whose leaves lead with the batch axis [N, ...]."""
        ...

    def __call__(self, state: Carry, logits: Logits) -> Logits | np.ndarray:
        """Logits [N, V] of what may come next, given the model's (or the last processor's)."""
        ...

    def update(self, state: Carry, tokens: Tokens) -> Carry:
        """The state after tokens [N]; a hypothesis of probability 0 may bring a refused one."""
        ...


class Adapted(ABC):
    """The one kind of processor that the decoders' loops know: it has a state and sees the tokens.

    A wrapper of processors is an `Adapted` that adapts what it wraps, so it serves both kinds.
    """

    @abstractmethod
    def initial_state(self, batch_size: int) -> Carry:
        """A pytree whose leaves lead with the batch axis [N, ...]."""

    @abstractmethod
    def __call__(
        self, state: Carry, logits: Logits, tokens: Tokens, length: Any
    ) -> Logits | np.ndarray:
        """Logits [N, V], given the state and the first `length` (a number or [N]) of [N, L]."""

    @abstractmethod
    def update(self, state: Carry, tokens: Tokens) -> Carry:
        """The state after tokens [N]."""


PlainProcessor = Callable[[Logits, Tokens, Any], Logits | np.ndarray]
Processor = PlainProcessor | StatefulProcessor | Adapted


@final
@dataclass(frozen=True, repr=False)
class _OfTokens(Adapted):
    """A plain function of the tokens so far, which needs no state."""

    function: PlainProcessor

    def __repr__(self) -> str:
        return repr(self.function)

    def initial_state(self, batch_size: int) -> Carry:
        return ()

    def __call__(
        self, state: Carry, logits: Logits, tokens: Tokens, length: Any
    ) -> Logits | np.ndarray:
        if jnp.ndim(length) == 0:
            return self.function(logits, tokens, length)
        # Rows of different lengths: the function is promised a scalar, so one row at a time.
        one = lambda x, row, n: self.function(x[None], row[None], n)[0]
        return jax.vmap(one)(logits, tokens, length)

    def update(self, state: Carry, tokens: Tokens) -> Carry:
        return state


@final
@dataclass(frozen=True, repr=False)
class _OfState(Adapted):
    """A processor with a state of its own, which is checked."""

    processor: StatefulProcessor

    def __repr__(self) -> str:
        return repr(self.processor)

    def initial_state(self, batch_size: int) -> Carry:
        state = strong(self.processor.initial_state(batch_size))
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            require(
                leaf.ndim > 0 and leaf.shape[0] == batch_size,
                f"processors: {self!r} has initial_state{jax.tree_util.keystr(path)} of shape "
                f"{leaf.shape}; expected every leaf to lead with the batch axis [N, ...], N = "
                f"{batch_size}.",
            )
        return state

    def __call__(
        self, state: Carry, logits: Logits, tokens: Tokens, length: Any
    ) -> Logits | np.ndarray:
        return self.processor(state, logits)

    def update(self, state: Carry, tokens: Tokens) -> Carry:
        new = self.processor.update(state, tokens)
        same_structure(f"processors: {self!r}: updated state", new, state, "it was before")
        return strong(new)


def as_stateful(processor: Processor) -> Adapted:
    """A processor of either kind as the loops know it."""
    if isinstance(processor, Adapted):
        return processor
    require(
        callable(processor),
        f"processors has {processor!r}; expected functions (logits, tokens, length) -> logits, or "
        "objects with initial_state, __call__ and update.",
    )
    return _OfState(processor) if isinstance(processor, StatefulProcessor) else _OfTokens(processor)


def adapt(name: str, processors: Iterable[Processor]) -> tuple[Adapted, ...]:
    """What a decoder is given as `name`, adapted."""
    require(
        isinstance(processors, Iterable),
        f"{name} is {processors!r}; expected a list of processors. Put a single one into a list.",
    )
    return tuple(map(as_stateful, processors))


def initial_states(processors: tuple[Adapted, ...], batch_size: int) -> tuple[Carry, ...]:
    """One state a processor, leaves [N, ...]."""
    return tuple(processor.initial_state(batch_size) for processor in processors)


def update_states(
    processors: tuple[Adapted, ...], states: tuple[Carry, ...], tokens: Tokens
) -> tuple[Carry, ...]:
    """The states after tokens [N] were chosen."""
    pairs = zip(processors, states, strict=True)
    return tuple(processor.update(state, tokens) for processor, state in pairs)


def process(
    processors: tuple[Adapted, ...], states: Any, logits: Logits, tokens: Tokens, length, eos: int
) -> Logits:
    """Applies processors in order to logits [N, V], after the first `length` of tokens [N, L]."""
    for processor, state in zip(processors, states, strict=True):
        out = apply(processor, state, logits, tokens, length)
        logits = as_logits(out, logits.dtype, eos)
    return logits


def process_scores(
    processors: tuple[Adapted, ...], states: Any, scores: Logits, tokens: Tokens, length, eos: int
) -> Logits:
    """`process` for scores that are added up: where nothing is left, eos costs what it did."""
    stuck = allows_nothing(scores)
    logits = as_logits(scores, scores.dtype, eos)
    for processor, state in zip(processors, states, strict=True):
        out = apply(processor, state, logits, tokens, length)
        stuck |= allows_nothing(out)
        logits = as_logits(out, logits.dtype, eos)
    is_eos = jnp.arange(logits.shape[-1], dtype=jnp.int32) == eos
    return jnp.where(stuck, jnp.where(is_eos, scores, -jnp.inf), logits)


def apply(processor: Adapted, state: Carry, logits: Logits, tokens: Tokens, length) -> Logits:
    """What one processor makes of logits [N, V], which may come as a NumPy array."""
    out = jnp.asarray(processor(state, logits, tokens, length))
    require(
        out.shape == logits.shape and jnp.issubdtype(out.dtype, jnp.floating),
        f"processors: {processor!r} returned logits of shape {out.shape} and dtype {out.dtype}; "
        f"expected floats of the shape that it was given, {logits.shape} = [N, V].",
    )
    return out.astype(logits.dtype)


def as_logits(logits: Logits, dtype: Any, eos: int) -> Logits:
    """Casts logits [N, V]; a row that allows nothing (all -inf) allows eos alone."""
    logits = logits.astype(dtype)
    # Sorting ranks 0.0 above -0.0, argmax does not: with one zero both see the same ties.
    logits = jnp.where(logits == 0, 0, logits)
    is_eos = jnp.arange(logits.shape[-1], dtype=jnp.int32) == eos
    return jnp.where(allows_nothing(logits) & is_eos, 0, logits)


def allows_nothing(logits: Logits) -> jax.Array:
    """Whether each row of logits [N, V] is all -inf: [N, 1]."""
    return jnp.max(logits, axis=-1, keepdims=True) == -jnp.inf


def column(value: Any, dtype: Any = jnp.int32) -> jax.Array:
    """A scalar as [1, 1] or one number a row as [N, 1]."""
    return jnp.asarray(value, dtype).reshape(-1, 1)
