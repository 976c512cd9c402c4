"""What all methods share: a loss for one window, and the loop over the windows of a batch."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.types import Carry, Params
from seqjax.training.loss_functions import call_loss

# (params, carry, batch, key) -> (loss [], carry) or (loss [], carry, aux)
LossFn: TypeAlias = Callable[[Params, Carry, Any, Any], tuple[Any, ...]]
# (params, carry, batch, key) -> ((loss [], carry), gradients)
ValueAndGrad: TypeAlias = Callable[..., tuple[tuple[jax.Array, Carry], Params]]


def scan_windows(
    body: Callable[..., Any],
    start: Any,
    loss_fn: LossFn,
    batch: Any,
    key: jax.Array | None,
    size: int,
) -> tuple[Any, jax.Array]:
    """Runs over the windows of a batch, one after another; the last one may be shorter.

    Args:
      body: (loop, call, n) -> (loop, loss), where call(params, carry) -> (loss, carry) is loss_fn
        for window n, checked.
      start: the first loop state, a pytree.
      loss_fn: (params, carry, batch, key) -> (loss [], carry).
      batch: leaves [B, T, ...].
      key: window n gets fold_in(key, n), or None without a key.
      size: K, the steps of a window.

    Returns:
      The last loop state and the sum of the losses.

    Raises:
      ValueError: if batch has no common time axis, or key is no typed key.
    """
    length = _length(batch)
    if key is not None:
        checks.key(key)

    def one(loop, n, steps=size):
        cut = lambda a: jax.lax.dynamic_slice_in_dim(a, n * size, steps, axis=1)

        def call(params, carry):
            own = None if key is None else jax.random.fold_in(key, n)
            return call_loss(loss_fn, params, carry, jax.tree.map(cut, batch), own)[:2]

        return body(loop, call, n)

    losses = []
    if length >= size:
        start, whole = jax.lax.scan(one, start, jnp.arange(length // size))
        losses.append(jnp.sum(whole))
    if length % size:
        start, rest = one(start, length // size, length % size)
        losses.append(rest)
    return start, sum(losses[1:], start=losses[0])


def own_key(key: Any) -> jax.Array:
    """The branch of a key for a method's own draws, apart from those of the windows.

    Raises:
      ValueError: if key is not a typed key.
    """
    checks.key(key)
    return jax.random.fold_in(key, 2**32 - 1)


def _length(batch: Any) -> int:
    """T for a batch with leaves [B, T, ...]."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    lengths = {shape[1] if len(shape) > 1 else None for shape in shapes}
    length = next(iter(lengths)) if len(lengths) == 1 else None
    checks.require(
        bool(length),
        f"batch has leaves of shapes {checks.describe(batch)}; expected [B, T, ...] with one T of "
        "at least 1. Close over arrays without a time axis.",
    )
    return length or 0
