"""Real-time recurrent learning: the exact gradient, carried forward."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.gradients.truncated_bptt import scan_windows
from seqjax.gradients.vectors import Vectors


class Influenced(NamedTuple):
    """A carry and what params did to it, for `rtrl` to go on from.

    Fields:
      carry: as a loss function takes it.
      influence: dh/dθ [N, P], for the N floats of the carry and the P of params, each in the order
        of `jax.tree.leaves`.
    """

    carry: Any
    influence: jax.Array


def begin_rtrl(params: Any, carry: Any) -> Influenced:
    """A carry on which params have had no influence yet: dh/dθ = 0. Williams and Zipser 1989.

    Args:
      params: pytree of floats.
      carry: pytree; its leaves that are no floats have no derivative.

    Returns:
      An `Influenced` with zeros [N, P].

    Raises:
      ValueError: if params hold anything but floats, or the carry none.

    Example:
      >>> begin_rtrl(jnp.ones((2, 3)), jnp.zeros((4, 5))).influence.shape
      (20, 6)
    """
    vectors = Vectors.of(params, carry)
    shape = (vectors.h.size, vectors.theta.size)
    return Influenced(carry, jnp.zeros(shape, jnp.result_type(vectors.h, vectors.theta)))


def rtrl(loss_fn: Callable[..., Any], window: int = 1) -> Callable[..., Any]:
    """Sums losses and their exact gradients, going forward through time only.

        Pₙ = (∂hₙ/∂hₙ₋₁) Pₙ₋₁ + ∂hₙ/∂θ,   Pₙ = dhₙ/dθ,   P₀ = 0
        dL/dθ = Σₙ ∂ℓₙ/∂θ + (∂ℓₙ/∂hₙ₋₁) Pₙ₋₁

    Williams and Zipser 1989. The objective is the sum of the windows' losses. Its gradient is
    exact, that of backpropagation through all of time, while params stay as they are; an online
    learner that changes them on the way goes on with a P that is partly of older ones.

    Memory is that of P, the numbers of the whole batch's carry times those of params, for any T.
    Time is N backward passes of a window and a product [N, N] by [N, P]: for one row and H units,
    H⁴ a step. So it is for small networks, for endless streams, and as the truth beside estimates.
    Do not use it where T steps fit into memory: backpropagation gives the same for the price of one
    pass. `uoro` costs a few passes a step, and is noisy.

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), of one window, as for
        `truncated_value_and_grad`.
      window: K, the steps of a window. The last one is shorter where K does not divide T.

    Returns:
      A function (params, carry, batch, key=None) -> ((loss [], carry), gradients), for a batch with
      leaves [B, T, ...]. Window n is given fold_in(key, n). A carry is taken as a constant; an
      `Influenced` (`begin_rtrl`) is gone on from, and comes back.

    Raises:
      ValueError: if window is not an integer of at least 1; when called, if params hold anything
        but floats, the carry holds none, the batch's leaves are not [B, T, ...] with one T of at
        least 1, the loss is no scalar, the carry changes form, or an influence is not [N, P].

    Example:
      >>> def loss_fn(decay, carry, xs, key):  # a leaky sum of xs [B, 1] should be 1
      ...     carry = decay * carry + xs[:, 0]
      ...     return jnp.sum((carry - 1) ** 2), carry
      >>> value_and_grad = rtrl(loss_fn)
      >>> (loss, carry), gradient = value_and_grad(jnp.float32(0.5), jnp.zeros(1), jnp.ones((1, 3)))
      >>> print(loss, carry, gradient)
      0.8125 [1.75] 4.0
    """
    size = checks.positive_int("window", window)

    def run(params, carry, batch, key=None):
        goes_on = isinstance(carry, Influenced)
        carry, influence = carry if goes_on else begin_rtrl(params, carry)
        vectors = Vectors.of(params, carry)
        expected = (vectors.h.size, vectors.theta.size)
        checks.require(
            jnp.shape(influence) == expected,
            f"influence has shape {jnp.shape(influence)}; expected [N, P] = {expected}. Make it by "
            "begin_rtrl(params, carry).",
        )

        def body(state, call, n):
            del n
            (h, rest), influence, grads = state
            (loss, h), pull, rest = jax.vjp(
                vectors.function(call, rest), vectors.theta, h, has_aux=True
            )
            # Row by row the derivatives of the loss, and of all numbers of the carry.
            of_loss = jnp.zeros(1 + h.size, loss.dtype).at[0].set(1)
            seeds = of_loss, jnp.eye(1 + h.size, h.size, -1, h.dtype)
            d_theta, d_h = jax.vmap(pull)(seeds)
            total = d_theta + jnp.matmul(d_h, influence, precision="highest")
            return ((h, rest), total[1:], grads + total[0]), loss

        start = (vectors.h, vectors.rest), influence, jnp.zeros_like(vectors.theta)
        (after, influence, grads), loss = scan_windows(body, start, loss_fn, batch, key, size)
        carry = vectors.carry(*after)
        return (loss, Influenced(carry, influence) if goes_on else carry), vectors.params(grads)

    return run
