"""Gradients of a long batch, window by window, in the memory of one window."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax._internal.types import Carry, Params
from seqjax.core.scan import strong
from seqjax.gradients.loss_windows import LossFn, ValueAndGrad, scan_windows
from seqjax.training.loss_functions import check_learned, check_loss_fn


def truncated_value_and_grad(loss_fn: LossFn, window: int) -> ValueAndGrad:
    """Sums losses and gradients over windows of K steps; only the carry passes between windows.

        Σₙ ℓₙ(θ, hₙ),  Σₙ ∂ℓₙ(θ, hₙ)/∂θ    with hₙ₊₁ the carry that window n leaves, a constant

    The gradients are those of `unroll(..., truncate=K)` for a loss that is a sum over steps.
    `unroll` keeps each step's output until the loss is known, so its memory grows with T. Here each
    window finishes before the next one begins, and only the batch itself is as long as T. To update
    params between windows instead, give `make_train_step` one window a call (`Corpus` cuts them).

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), for one window, as for
        `make_train_step`; a third result is dropped. For a mean over the whole batch, divide each
        window's sum by the same number.
      window: K, the steps of a window. The last one is shorter where K does not divide T.

    Returns:
      A function (params, carry, batch, key=None) -> ((loss [], carry), gradients), for a batch
      with leaves [B, T, ...]. Window n draws from fold_in(key, n).

    Raises:
      ValueError: if loss_fn does not take those arguments, or window is not an integer of at least
        1; when called, if params contain integers, the batch's leaves are not [B, T, ...] with one
        T of at least 1, key is no typed key, or loss_fn does not return a scalar loss and a carry
        of the same form.

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

    def value_and_grad(params: Params, carry: Carry, batch: Any, key=None):
        check_learned(params)

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
