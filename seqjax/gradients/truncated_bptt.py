"""Gradients of a long batch, window by window, in the memory of one window."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax._internal.types import Carry, Params
from seqjax.core.scan import strong
from seqjax.training.step import check_loss

# (params, carry, batch, key) -> (loss [], carry)
LossFn: TypeAlias = Callable[[Params, Carry, Any, Any], tuple[jax.Array, Carry]]
# (params, carry, batch, key) -> ((loss [], carry), gradients)
ValueAndGrad: TypeAlias = Callable[..., tuple[tuple[jax.Array, Carry], Params]]


def truncated_value_and_grad(loss_fn: LossFn, window: int) -> ValueAndGrad:
    """Sums losses and gradients over windows of K steps; only the carry passes between windows.

        Σₙ ℓₙ(θ, hₙ),  Σₙ ∂ℓₙ(θ, hₙ)/∂θ    with hₙ₊₁ the carry that window n leaves, a constant

    The gradients are those of `unroll(..., truncate=K)` for a loss that is a sum over steps.
    `unroll` keeps each step's output until the loss is known, so its memory grows with T. Here each
    window finishes before the next one begins, and only the batch itself is as long as T. To update
    params between windows instead, give `make_train_step` one window a call (`Corpus` cuts them).

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), for one window, as for
        `make_train_step`. For a mean over the whole batch, divide each window's sum by the same
        number.
      window: K, the steps of a window. The last one is shorter where K does not divide T.

    Returns:
      A function (params, carry, batch, key=None) -> ((loss [], carry), gradients), for a batch
      with leaves [B, T, ...]. Window n draws from fold_in(key, n).

    Raises:
      ValueError: if window is not an integer of at least 1; when called, if the batch's leaves are
        not [B, T, ...] with one T of at least 1, or loss_fn does not take and return what it
        should.

    Example:
      >>> def loss_fn(decay, carry, xs, key):  # a leaky sum of xs [B, T] should be 1
      ...     leak = lambda carry, x: (decay * carry + x, (decay * carry + x - 1) ** 2)
      ...     carry, losses = jax.lax.scan(leak, carry, xs.T)
      ...     return losses.sum(), carry
      >>> value_and_grad = truncated_value_and_grad(loss_fn, window=2)
      >>> xs = jnp.ones((1, 5))
      >>> (loss, carry), gradient = value_and_grad(jnp.float32(0.5), jnp.zeros(1), xs)
      >>> print(loss, carry, gradient)
      2.4570312 [1.9375] 11.140625

    References:
      Williams and Peng, An efficient gradient-based algorithm for on-line training of recurrent
      network trajectories, 1990.
    """
    size = checks.positive_int("window", window)

    def value_and_grad(params: Params, carry: Carry, batch: Any, key=None):
        def body(loop, call, n):
            del n
            carry, grads = loop
            each = jax.value_and_grad(lambda params: call(params, carry), has_aux=True)
            (loss, after), more = each(params)
            return (after, jax.tree.map(jnp.add, grads, more)), loss

        carry = trees.vary_like(strong(carry), (carry, batch))
        start = carry, jax.tree.map(jnp.zeros_like, params)
        (carry, grads), loss = scan_windows(body, start, loss_fn, batch, key, size)
        return (loss, carry), grads

    return value_and_grad


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
    """
    length = _length(batch)

    def one(loop, n, steps=size):
        cut = lambda a: jax.lax.dynamic_slice_in_dim(a, n * size, steps, axis=1)

        def call(params, carry):
            own = None if key is None else jax.random.fold_in(key, n)
            loss, after = loss_fn(params, carry, jax.tree.map(cut, batch), own)
            check_loss(loss, carry, after)
            return loss, after

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
      ValueError: if there is no key.
    """
    checks.require(
        key is not None, "key is None; expected jax.random.key(...): the estimate is random."
    )
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
