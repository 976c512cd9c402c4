"""Which steps of a run are real, and where state begins again: what every loop over time obeys.

The rules, said once and used by `scan`, by deferred gradients, by Newton's method, by linear
recurrences and by encoders:

    a reset acts first:  h = initial where reset[t]   (noise continues, in a new sequence)
    then a step is taken where mask[t]; elsewhere h stays, y = 0, and x is not read
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.noise import is_noise


@dataclass(frozen=True)
class Windows:
    """How a run over time is divided: `remat` and `truncate` of `unroll`, checked.

    Attributes:
      remat: None, a number of steps, "sqrt", or a `Schedule`.
      truncate: None or a number of steps.
    """

    remat: Any = None
    truncate: int | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Steps:
    """The steps of a run over time, as a cell's `unroll` gets them.

    A cell of your own zeroes what is padding (`zero_padding`), keeps its state there (`hold`),
    returns to `initial` at a reset (`restart`), and passes `member(...)` to cells inside it.

    Attributes:
      mask: [B, T] bool, True = real; None means all.
      reset: [B, T] bool, True = the state before this step is `initial`; None means nowhere.
      initial: the carry that a reset returns to, leaves [B, ...]; None where reset is.
      windows: in what pieces gradients are computed, where a cell has members to run; None means
        in one.

    Example:
      >>> steps = Steps(mask=jnp.array([[True, True, False]]))
      >>> steps.zero_padding(jnp.array([[1.0, 2.0, jnp.nan]])).tolist()
      [[1.0, 2.0, 0.0]]
    """

    mask: Any = None
    reset: Any = None
    initial: Any = None
    windows: Windows | None = field(default=None, metadata={"static": True})

    def zero_padding(self, tree: Any) -> Any:
        """Inputs or outputs, leaves [B, T, ...], with zeros at padding."""
        return tree if self.mask is None else zero_rows(self.mask, tree)

    def restart(self, carry: Any) -> Any:
        """The carry before a step, set to `initial` where there is a reset."""
        return carry if self.reset is None else restart_rows(self.reset, self.initial, carry)

    def hold(self, new: Any, old: Any) -> Any:
        """The carry after a step: the new one where the step is real, else the old one."""
        return new if self.mask is None else where_rows(self.mask, new, old)

    def flags(self) -> tuple[Any, Any]:
        """Mask and reset by time, each [T, B] or None: inputs of a loop over time."""
        return swap_time((self.mask, self.reset))

    def at(self, flags: tuple[Any, Any]) -> "Steps":
        """One step of these, from the entries [B] of `flags` at its time."""
        return replace(self, mask=flags[0], reset=flags[1])

    def member(self, select: Callable[[Any], Any]) -> "Steps":
        """The same steps for a cell inside, whose carry `select` takes from the whole carry."""
        return self if self.reset is None else replace(self, initial=select(self.initial))


def where_rows(flags: jax.Array, on_true: Any, on_false: Any) -> Any:
    """Chooses between two trees: flags [...] select along the leading axes of every leaf."""
    return jax.tree.map(lambda a, b: jnp.where(_expand(flags, a), a, b), on_true, on_false)


def zero_rows(real: jax.Array, tree: Any) -> Any:
    """Zeros where `real` [...] is False, along the leading axes of every leaf."""
    return jax.tree.map(lambda a: jnp.where(_expand(real, a), a, jnp.zeros((), a.dtype)), tree)


def restart_rows(restart: jax.Array, initial: Any, carry: Any) -> Any:
    """The carry with rows `restart` set to `initial`; noise continues, in a new sequence."""

    def one(start, now):
        if is_noise(now):
            return now._replace(start=jnp.where(restart, now.step, now.start))
        return where_rows(restart, start, now)

    return jax.tree.map(one, initial, carry, is_leaf=is_noise)


def swap_time(tree: Any) -> Any:
    """Swaps the batch and the time axis of every leaf; None stays None."""
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), tree)


def _expand(flags: jax.Array, leaf: jax.Array) -> jax.Array:
    return flags.reshape(flags.shape + (1,) * (leaf.ndim - flags.ndim))
