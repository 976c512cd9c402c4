"""Gradients of a long batch, window by window, in the memory of one window."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax.core.scan import strong
from seqjax.training.loss_functions import call_loss, check_loss_fn


def truncated_value_and_grad(loss_fn: Callable[..., Any], window: int) -> Callable[..., Any]:
    """Sums losses and gradients over windows of K steps, through which a carry runs.

        Σₙ ℓₙ(θ, hₙ),  Σₙ ∂ℓₙ(θ, hₙ)/∂θ    with hₙ₊₁ the carry that window n leaves, a constant

    These are the gradients of `unroll(..., truncate=K)` for a loss that is a sum over steps. There
    memory grows with T, as each step's output is kept until the loss is known; here a window is
    done with before the next one begins, and only the batch itself is as long as T. To update
    params between windows instead, give `make_train_step` one window a call (`Corpus` cuts them).

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), as for `make_train_step`, of one
        window; its aux is dropped. For a mean over the whole batch divide each window's sum by the
        same number.
      window: K, the steps of a window. The last one is shorter where K does not divide T.

    Returns:
      A function (params, carry, batch, key=None) -> ((loss [], carry), gradients), for a batch
      with leaves [B, T, ...]. Window n is given fold_in(key, n).

    Raises:
      ValueError: if loss_fn does not take the four arguments, or window is not an integer of at
        least 1; when called, if the batch's leaves are not [B, T, ...] with one T of at least 1,
        loss_fn returns anything else, the loss is no scalar or the carry changes form.

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
    check_loss_fn(loss_fn)
    size = checks.positive_int("window", window)

    def run(params, carry, batch, key=None):
        def body(state, call, n):
            del n
            carry, grads = state
            each = jax.value_and_grad(lambda params: call(params, carry), has_aux=True)
            (loss, after), more = each(params)
            return (after, jax.tree.map(jnp.add, grads, more)), loss

        carry = trees.vary_like(strong(carry), (carry, batch))
        state = carry, jax.tree.map(jnp.zeros_like, params)
        (carry, grads), loss = scan_windows(body, state, loss_fn, batch, key, size)
        return (loss, carry), grads

    return run


def scan_windows(
    body: Callable[..., Any],
    state: Any,
    loss_fn: Callable[..., Any],
    batch: Any,
    key: Any,
    size: int,
) -> tuple[Any, jax.Array]:
    """Runs over the windows of a batch, one after another, the last of them perhaps shorter.

    Args:
      body: (state, call, n) -> (state, loss), where call(params, carry) -> (loss, carry) is loss_fn
        of window n, checked.
      state: pytree.
      loss_fn: (params, carry, batch, key) -> (loss [], carry).
      batch: leaves [B, T, ...].
      key: window n is given fold_in(key, n); or None.
      size: K, the steps of a window.

    Returns:
      The last state and the sum of the losses.
    """
    length = _length(batch)

    def one(state, n, steps=size):
        cut = lambda a: jax.lax.dynamic_slice_in_dim(a, n * size, steps, axis=1)

        def call(params, carry):
            own = None if key is None else jax.random.fold_in(key, n)
            return call_loss(loss_fn, params, carry, jax.tree.map(cut, batch), own)[:2]

        return body(state, call, n)

    losses = []
    if length >= size:
        state, whole = jax.lax.scan(one, state, jnp.arange(length // size))
        losses.append(jnp.sum(whole))
    if length % size:
        state, rest = one(state, length // size, length % size)
        losses.append(rest)
    return state, sum(losses[1:], start=losses[0])


def own_key(key: Any) -> jax.Array:
    """The branch of a key for draws of a method's own, apart from those of windows.

    Raises:
      ValueError: if there is no key.
    """
    checks.require(
        key is not None, "key is None; expected jax.random.key(...): the estimate is random."
    )
    return jax.random.fold_in(key, 2**32 - 1)


def _length(batch: Any) -> int:
    """T of a batch with leaves [B, T, ...]."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    lengths = {shape[1] if len(shape) > 1 else None for shape in shapes}
    length = next(iter(lengths)) if len(lengths) == 1 else None
    checks.require(
        bool(length),
        f"batch has leaves of shapes {checks.describe(batch)}; expected [B, T, ...] with one T of "
        "at least 1. Close over what has no time axis.",
    )
    return length or 0
