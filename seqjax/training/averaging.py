"""Averages of the params of a training run, begun when its validation loss stops falling."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax.core.products import accumulator
from seqjax.core.scan import strong


class TriggeredAverageState(NamedTuple):
    """The state of `TriggeredAverage`.

    Fields:
      mean: the average, inexact leaves [...] in at least float32; before the trigger the latest
        params.
      averaged: [] int32, how many params are in it; 1 before the trigger.
      triggered: [] bool.
      best: [] float32, the least loss observed but for the last n; inf where there is none.
      recent: [n] float32, the last n losses, oldest first; inf where there was none.
    """

    mean: Any
    averaged: jax.Array
    triggered: jax.Array
    best: jax.Array
    recent: jax.Array


@final
@dataclass(frozen=True)
class TriggeredAverage:
    """Non-monotonically triggered averaged SGD (NT-ASGD), beside any train step.

        T: the step at which a validation loss is above the least one but for the n before it
        params = wₖ for k < T,    Σᵢ wᵢ / (k - T + 1), i from T to k,   from T on

    The objective is that of the steps, and so is its gradient estimator: nothing is added to
    either. What is averaged away is the noise that steps of a constant rate leave around a minimum
    (Polyak and Juditsky 1992), which is what the average is for; with a rate that decays to 0, or
    before the loss has levelled off, it keeps params back. Its trigger looks at validation data.

        state = average.init(params)
        state = average.update(state, params)      # after every step, on the device
        state = average.observe(state, loss)       # after every evaluation
        params = average.params(state)             # to evaluate with; train on with your own

    Merity, Keskar and Socher 2018, algorithm 1, whose logging interval L is how often `observe`
    is called. All methods are pure, of fixed shapes, and may run inside of `jit` and `lax.scan`.
    Sizes are those of the params, leaves [...].

    Attributes:
      patience: n, the paper's non-monotone interval: so many last losses are not compared with.

    Raises:
      ValueError: if patience is not an integer of at least 0; if what `update` is given has not the
        structure and shapes of the params it was begun with, or a loss is not one number.

    Example:
      >>> average = TriggeredAverage(patience=1)
      >>> state = average.init(jnp.float32(0))
      >>> for params, loss in [(8.0, 3.0), (4.0, 2.0), (6.0, 3.5), (2.0, 2.5)]:
      ...     state = average.update(state, jnp.float32(params))
      ...     state = average.observe(state, loss)
      >>> print(state.triggered, state.averaged, average.params(state))
      True 2 4.0
    """

    patience: int = 5

    def __post_init__(self):
        ok = self.patience == 0 and not isinstance(self.patience, bool)
        checks.require(
            ok or checks.is_positive_int(self.patience),
            f"patience is {self.patience!r}; expected an integer of at least 0.",
        )
        object.__setattr__(self, "patience", int(self.patience))

    def init(self, params: Any) -> TriggeredAverageState:
        """The state before the first step, for params with leaves [...]."""
        inf = jnp.float32(jnp.inf)
        return TriggeredAverageState(
            mean=strong(jax.tree.map(_wide, params)),
            averaged=jnp.int32(1),
            triggered=jnp.zeros((), bool),
            best=inf,
            recent=jnp.full(self.patience, inf),
        )

    def update(self, state: TriggeredAverageState, params: Any) -> TriggeredAverageState:
        """After a step: params with leaves [...] enter the average, or replace it before T.

        Leaves that are not floating or complex (keys, counters) are always the latest.
        """
        wide = jax.tree.map(_wide, params)
        checks.same_structure("params", wide, state.mean, "those that `init` was given")
        count = jnp.where(state.triggered, state.averaged + 1, 1)

        def enter(mean, new):
            if not trees.is_inexact(new):
                return new
            moved = mean + (new - mean) / count.astype(new.dtype)
            return jnp.where(state.triggered, moved, new)

        return state._replace(mean=jax.tree.map(enter, state.mean, wide), averaged=count)

    def observe(self, state: TriggeredAverageState, loss: Any) -> TriggeredAverageState:
        """After an evaluation: the loss [], lower is better; NaN counts as inf.

        With the first one that is above the least of all but the last n, the average has begun;
        the params of the last `update` are its first.
        """
        loss = jnp.asarray(loss, jnp.float32)
        checks.require(loss.shape == (), f"loss has shape {loss.shape}; expected one number [].")
        loss = jnp.where(jnp.isnan(loss), jnp.inf, loss)
        seen = jnp.append(state.recent, loss)
        return state._replace(
            triggered=state.triggered | (loss > state.best),
            best=jnp.minimum(state.best, seen[0]),
            recent=seen[1:],
        )

    def params(self, state: TriggeredAverageState) -> Any:
        """The average, or the latest params where it has not begun; leaves [...].

        Leaves of half precision come as float32, in which they are summed.
        """
        return state.mean


def _wide(leaf: Any) -> jax.Array:
    """A copy of a leaf, in at least float32 where it is floating: a train step donates its own."""
    leaf = jnp.array(leaf)
    return leaf.astype(accumulator(leaf.dtype)) if checks.is_float(leaf) else leaf
