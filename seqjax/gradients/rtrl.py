"""Real-time recurrent learning: the exact gradient, carried forward."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.types import Carry, Params
from seqjax.gradients.loss_windows import LossFn, ValueAndGrad, scan_windows
from seqjax.gradients.vectors import Vectors
from seqjax.training.loss_functions import check_loss_fn


class RTRLState(NamedTuple):
    """What `rtrl` carries from call to call.

    Fields:
      carry: what the loss function takes, leaves [B, ...].
      influence: dh/dθ [N, P], for the N floats of the carry and the P floats of params, each in the
        order of `jax.tree.leaves`.
    """

    carry: Carry
    influence: jax.Array


def init_rtrl_state(params: Params, carry: Carry) -> RTRLState:
    """The state of `rtrl` before params have influenced the carry: dh/dθ = 0.

    Williams and Zipser 1989.

    Args:
      params: pytree of floats.
      carry: pytree, leaves [B, ...]; leaves that are not floats have no derivative.

    Returns:
      An `RTRLState` whose influence is zeros [N, P].

    Raises:
      ValueError: if params contain anything but floats, or the carry has no floats.

    Example:
      >>> init_rtrl_state(jnp.ones((2, 3)), jnp.zeros((4, 5))).influence.shape
      (20, 6)
    """
    vectors = Vectors.of(params, carry)
    shape = (vectors.h.size, vectors.theta.size)
    return RTRLState(carry, jnp.zeros(shape, jnp.result_type(vectors.h, vectors.theta)))


def rtrl(loss_fn: LossFn, window: int = 1) -> ValueAndGrad:
    """Sums losses and their exact gradients in one pass forward through time.

        Pₙ = (∂hₙ/∂hₙ₋₁) Pₙ₋₁ + ∂hₙ/∂θ,   Pₙ = dhₙ/dθ,   P₀ = 0
        dL/dθ = Σₙ ∂ℓₙ/∂θ + (∂ℓₙ/∂hₙ₋₁) Pₙ₋₁

    Williams and Zipser 1989. L is the sum of the windows' losses. While params stay the same, the
    gradient is exactly that of backpropagation through all of time, also across calls. A learner
    that updates params between calls keeps a P that belongs partly to older params.

    P takes N P numbers, N for the carry of the whole batch and P for params, whatever T is. Each
    window costs N backward passes and a product of [N, N] with [N, P]: about H⁴ a step for one row
    and H units. Use it for small networks, for endless streams, and as the truth to compare
    estimates with. Where T steps fit into memory, backpropagation gives the same gradient for the
    price of one pass. `uoro` estimates it in a few passes a step, with noise.

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), for one window, as for
        `truncated_value_and_grad`.
      window: K, the steps of a window. The last one is shorter where K does not divide T.

    Returns:
      A function (params, state, batch, key=None) -> ((loss [], state), gradients). Start the
      `RTRLState` with `init_rtrl_state`; batch has leaves [B, T, ...]. Window n draws from
      fold_in(key, n).

    Raises:
      ValueError: if loss_fn does not take those arguments, or window is not an integer of at least
        1; when called, if state is not an `RTRLState` for these params, params contain anything but
        floats, the carry has no floats, the batch's leaves are not [B, T, ...] with one T of at
        least 1, or loss_fn does not return a scalar loss and a carry of the same form.

    Example:
      >>> def loss_fn(decay, carry, xs, key):  # a leaky sum of xs [B, 1] should be 1
      ...     carry = decay * carry + xs[:, 0]
      ...     return jnp.sum((carry - 1) ** 2), carry
      >>> value_and_grad = rtrl(loss_fn)
      >>> decay = jnp.float32(0.5)
      >>> state = init_rtrl_state(decay, jnp.zeros(1))
      >>> (loss, state), gradient = value_and_grad(decay, state, jnp.ones((1, 3)))
      >>> print(loss, state.carry, gradient)
      0.8125 [1.75] 4.0
    """
    check_loss_fn(loss_fn)
    size = checks.positive_int("window", window)

    def value_and_grad(params: Params, state: RTRLState, batch: Any, key=None):
        vectors = _check_state(params, state)

        def body(loop, call, n):
            del n
            (h, rest), influence, grads = loop
            (loss, h), pull, rest = jax.vjp(
                vectors.function(call, rest), vectors.theta, h, has_aux=True
            )
            # One row of derivatives for the loss, then one for each number of the carry.
            of_loss = jnp.zeros(1 + h.size, loss.dtype).at[0].set(1)
            seeds = of_loss, jnp.eye(1 + h.size, h.size, -1, h.dtype)
            d_theta, d_h = jax.vmap(pull)(seeds)
            total = d_theta + jnp.matmul(d_h, influence, precision="highest")
            return ((h, rest), total[1:], grads + total[0]), loss

        start = (vectors.h, vectors.rest), state.influence, jnp.zeros_like(vectors.theta)
        (after, influence, grads), loss = scan_windows(body, start, loss_fn, batch, key, size)
        return (loss, RTRLState(vectors.carry(*after), influence)), vectors.params(grads)

    return value_and_grad


def _check_state(params: Params, state: Any) -> Vectors:
    """Params and the carry of a state as vectors.

    Raises:
      ValueError: if state is not an `RTRLState` for these params.
    """
    remedy = "Make it with init_rtrl_state(params, carry)."
    checks.require(
        isinstance(state, RTRLState),
        f"state is {type(state).__name__}; expected RTRLState. {remedy}",
    )
    vectors = Vectors.of(params, state.carry)
    expected = (vectors.h.size, vectors.theta.size)
    checks.require(
        jnp.shape(state.influence) == expected,
        f"state.influence has shape {jnp.shape(state.influence)}; expected [N, P] = {expected} for "
        f"these params. {remedy}",
    )
    return vectors
