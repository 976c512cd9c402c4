"""A step that reuses the memory of the state it is given."""

from collections.abc import Callable
from typing import Any

import jax
import jax.core

from seqjax._internal import checks


class Donating:
    """A jitted step that deletes its state, and says so where it is given that state again."""

    def __init__(self, step: Callable[[Any, Any], tuple[Any, Any]]):
        self.jitted = jax.jit(step, donate_argnums=0)

    def __call__(self, state: Any, batch: Any) -> tuple[Any, Any]:
        """The step, for a state that still exists.

        Raises:
          ValueError: for a state that a step was given before.
        """
        checks.require(
            not any(map(_is_deleted, jax.tree.leaves(state))),
            "state was given to an earlier step, which reused its memory; expected the one that "
            "came back. Write state, metrics = train_step(state, batch), keep a copy "
            "(jax.tree.map(jnp.copy, state)), or build the step with donate=False.",
        )
        return self.jitted(state, batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.jitted, name)  # `lower` and the like


def _is_deleted(leaf: Any) -> bool:
    known = isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)
    return known and leaf.is_deleted()
