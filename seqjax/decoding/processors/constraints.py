"""Constraints: processors that leave only what may come next.

What they remove has probability 0 and the rest is renormalised at every step. That is the local
distribution, not the model's given that the whole sequence is allowed. A row to which nothing is
left ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import concrete, positive_int, require
from seqjax._internal.types import Carry, Logits, Tokens
from seqjax.decoding.automata.automaton import FAR, Automaton


class AcceptState(NamedTuple):
    """Where a row stands: the automaton's state [N], -1 if refused, and the tokens left [N]."""

    state: jax.Array
    left: jax.Array


@final
@dataclass(frozen=True)
class Accept:
    """Lets an automaton decide what may come next: every finished sequence is one it accepts.

        y may follow  <=>  transitions[s, y] leads to acceptance in the tokens left;
        eos may follow  <=>  accepting[s]

    As `processors=[Accept(automaton, eos=eos)]` of any decoder; its state travels beside the
    carry. The prompt is not read: to continue one, start at `automaton.read(prompt, lengths)`.
    A row that is in no state (-1), that has too few tokens left, or all of whose allowed tokens
    the model or another processor gives probability 0, ends at once: `keep_accepted` blanks it.

    Attributes:
      automaton: over the step's V tokens.
      eos: the token that ends a sequence, or a tuple of them, as the decoder is given; the
        automaton must refuse it.
      max_len: the decoder's, so that no sequence is cut off before it is complete; a full-length
        one is complete without eos. None asks for that only where there is no limit.
      start: the state to start in, an integer or [B] (traced, if that is known on device alone).

    Raises:
      ValueError: if the automaton has transitions by eos, or if it is known that nothing of at
        most max_len tokens is accepted.

    Example:
      >>> from seqjax.decoding import beam_search, regex_automaton
      >>> automaton = regex_automaton("(ab)+", ["", "a", "b"])
      >>> step = lambda carry, tokens: (carry, jnp.array([[0.0, 1.0, 2.0]]))
      >>> constraint = Accept(automaton, eos=0, max_len=3)
      >>> how = dict(bos=jnp.array([0]), eos=0, beam_size=1, max_len=3)
      >>> beam_search(step, (), processors=[constraint], **how).tokens.tolist()
      [[[1, 2, 0]]]

    References:
      Willard and Louf, Efficient Guided Generation for Large Language Models, 2023, section 3.
    """

    automaton: Automaton
    eos: int | tuple[int, ...]
    max_len: int | None = None
    start: Any = 0

    def __post_init__(self):
        check_ends(self.automaton, self.eos)
        if self.max_len is not None:
            positive_int("max_len", self.max_len)
        start, states = concrete(self.start), len(self.automaton.accepting)
        if start is None:
            return
        require(
            np.issubdtype(start.dtype, np.integer)
            and bool(np.all((start >= 0) & (start < states))),
            f"start is {self.start!r}; expected states of the automaton, 0..{states - 1}. A start "
            "of -1 means that the automaton refused what was read before.",
        )
        need = int(np.max(self.automaton.distances[start]))
        require(
            self.max_len is None or need <= self.max_len,
            f"max_len is {self.max_len} but the automaton accepts nothing of fewer than {need} "
            "tokens; expected at least as many. Raise max_len.",
        )

    def initial_state(self, batch_size: int) -> AcceptState:
        """The states [N] to start in, and the tokens left [N]."""
        left = FAR - 1 if self.max_len is None else self.max_len
        rows = lambda value: jnp.broadcast_to(jnp.asarray(value, jnp.int32), (batch_size,))
        return AcceptState(rows(self.start), rows(left))

    def __call__(self, state: AcceptState, logits: Logits) -> Logits:
        """Logits [N, V], -inf where a token would lead nowhere."""
        vocab_size = self.automaton.vocab_size
        require(
            logits.shape[1] == vocab_size,
            f"automaton has {vocab_size} tokens but the logits are {logits.shape} = [N, V]; "
            "expected one column of its table for each of the V tokens.",
        )
        known = state.state >= 0
        row = jnp.where(known, state.state, 0)
        after = jnp.asarray(self.automaton.transitions)[row]  # [N, V]
        distances = jnp.append(jnp.asarray(self.automaton.distances), FAR)  # the last is that of -1
        allowed = distances[after] < state.left[:, None]
        ends = jnp.zeros(vocab_size, bool).at[jnp.asarray(self.eos)].set(True)
        complete = jnp.asarray(self.automaton.accepting)[row][:, None]
        return jnp.where((allowed | ends & complete) & known[:, None], logits, -jnp.inf)

    def update(self, state: AcceptState, tokens: Tokens) -> AcceptState:
        """One token [N] further."""
        return AcceptState(self.automaton.advance(state.state, tokens), state.left - 1)


@final
@dataclass(frozen=True)
class Allow:
    """Leaves the tokens that a function of the tokens so far allows.

    Attributes:
      allowed: allowed(tokens [N, L], length) -> bools [N, V] or [V]; the first `length` (a
        scalar) tokens count. A row without a True allows eos alone.

    Example:
      >>> from seqjax.decoding import sample
      >>> def rising(tokens, length):
      ...     last = jnp.where(length > 0, tokens[:, jnp.maximum(length - 1, 0)], 0)
      ...     return jnp.arange(5) > last[:, None]
      >>> step = lambda carry, tokens: (carry, jnp.zeros((tokens.shape[0], 5)))
      >>> how = dict(bos=jnp.array([0]), eos=0, max_len=6, key=jax.random.key(0))
      >>> sample(step, (), processors=[Allow(rising)], temperature=0.0, **how).tokens.tolist()
      [[1, 2, 3, 4, 0, 0]]

    References:
      De Cao et al., Autoregressive Entity Retrieval, 2021, section 3.2, where a prefix tree
      allows tokens.
    """

    allowed: Callable[[jax.Array, jax.Array], jax.Array]

    def __call__(self, logits: Logits, tokens: Tokens, length: jax.Array) -> Logits:
        """Logits [N, V], -inf where a token is not allowed."""
        return _keep(logits, self.allowed(tokens, length))


@final
@dataclass(frozen=True)
class AllowByState:
    """Leaves the tokens that a function of a state of one's own allows.

    Attributes:
      initial_state: initial_state(N) -> any pytree whose leaves lead with N.
      allowed: allowed(state) -> bools [N, V] or [V]. A row without a True allows eos alone.
      update: update(state, tokens [N]) -> the state after these tokens.

    Example:
      >>> from seqjax.decoding import sample
      >>> twice = AllowByState(  # each token at most twice
      ...     lambda batch_size: jnp.zeros((batch_size, 3), jnp.int32),
      ...     lambda counts: counts < 2,
      ...     lambda counts, tokens: counts.at[jnp.arange(tokens.size), tokens].add(1),
      ... )
      >>> step = lambda carry, tokens: (carry, jnp.array([[-9.0, 1.0, 2.0]]))
      >>> how = dict(bos=jnp.array([0]), eos=0, max_len=6, key=jax.random.key(0))
      >>> sample(step, (), processors=[twice], temperature=0.0, **how).tokens.tolist()
      [[2, 2, 1, 1, 0, 0]]
    """

    initial_state: Callable[[int], Any]
    allowed: Callable[[Any], jax.Array]
    update: Callable[[Any, jax.Array], Any]

    def __call__(self, state: Carry, logits: Logits) -> Logits:
        """Logits [N, V], -inf where a token is not allowed."""
        return _keep(logits, self.allowed(state))


def _keep(logits: jax.Array, allowed: Any) -> jax.Array:
    shape, dtype = jnp.shape(allowed), jnp.result_type(allowed)
    require(
        jnp.issubdtype(dtype, jnp.bool_) and shape in (logits.shape, logits.shape[1:]),
        f"allowed returned {dtype}{list(shape)}; expected bools [N, V] = {list(logits.shape)}, or "
        f"[V] = {list(logits.shape[1:])}, one for each token.",
    )
    return jnp.where(allowed, logits, -jnp.inf)


def check_ends(automaton: Automaton, eos: Any) -> tuple[int, ...]:
    """The ending tokens, none of which may be a letter of the automaton."""
    ends = tuple(eos) if isinstance(eos, (tuple, list)) else (eos,)
    known = [isinstance(end, (int, np.integer)) and 0 <= end < automaton.vocab_size for end in ends]
    require(
        len(ends) > 0 and all(known),
        f"eos is {eos!r}; expected an integer with 0 <= eos < {automaton.vocab_size}, the number "
        "of the automaton's tokens, or a tuple of them.",
    )
    reads = [end for end in ends if np.any(automaton.transitions[:, end] >= 0)]
    require(
        not reads,
        f"automaton has transitions by eos = {reads[:1]}; expected none. Give eos the empty text "
        'in the vocabulary: "" is never allowed within a sequence.',
    )
    return ends
