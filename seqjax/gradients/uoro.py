"""Unbiased online recurrent optimisation: an influence of rank one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.types import Carry, Params
from seqjax.gradients.loss_windows import LossFn, ValueAndGrad, own_key, scan_windows
from seqjax.gradients.vectors import Vectors
from seqjax.training.loss_functions import check_loss_fn


class UOROState(NamedTuple):
    """What `uoro` carries from call to call. The influence s qᵀ is dh/dθ in expectation.

    Fields:
      carry: what the loss function takes, leaves [B, ...].
      state_factor: s [N], for the floats of the carry.
      params_factor: q [P], for the floats of params.
    """

    carry: Carry
    state_factor: jax.Array
    params_factor: jax.Array


def init_uoro_state(params: Params, carry: Carry) -> UOROState:
    """The state of `uoro` before params have influenced the carry. Tallec and Ollivier 2018.

    Args:
      params: pytree of floats.
      carry: pytree, leaves [B, ...]; leaves that are not floats have no derivative.

    Returns:
      A `UOROState` with factors of zeros, [N] and [P].

    Raises:
      ValueError: if params contain anything but floats, or the carry has no floats.

    Example:
      >>> state = init_uoro_state(jnp.ones((2, 3)), jnp.zeros((4, 5)))
      >>> state.state_factor.shape, state.params_factor.shape
      ((20,), (6,))
    """
    vectors = Vectors.of(params, carry)
    return UOROState(carry, jnp.zeros_like(vectors.h), jnp.zeros_like(vectors.theta))


def uoro(loss_fn: LossFn, window: int = 1) -> ValueAndGrad:
    """Sums losses and unbiased estimates of their gradients in one pass forward through time.

        s ← ρ₀ (∂hₙ/∂hₙ₋₁) s + ρ₁ ν,   q ← q / ρ₀ + (νᵀ ∂hₙ/∂θ) / ρ₁,   νᵢ = ±1 at random
        g = Σₙ ∂ℓₙ/∂θ + ((∂ℓₙ/∂hₙ₋₁) s) q,   E s qᵀ = dhₙ/dθ
        ρ₀² = ‖q‖ / ‖(∂hₙ/∂hₙ₋₁) s‖,   ρ₁² = ‖νᵀ ∂hₙ/∂θ‖ / ‖ν‖

    Tallec and Ollivier 2018, algorithm 1. E g is the exact gradient of the sum of the windows'
    losses: where truncation is biased, this estimate is noisy but right on average. Its variance is
    the price. Each step adds cross terms of ν, which grow with the size of the state and with how
    long it remembers; ρ₀ and ρ₁ minimise them for one step. Learning rates have to be small.

    Memory is that of a carry and of params, whatever T is; a window costs about four passes through
    it. All rows of a batch share one estimate and so add to each other's noise; `vmap` over rows
    gives each row its own. Do not use it where T steps fit into memory.

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), for one window, as for
        `truncated_value_and_grad`.
      window: K, the steps of a window, within which the gradient is exact. The last one is shorter
        where K does not divide T.

    Returns:
      A function (params, state, batch, key) -> ((loss [], state), gradients). Start the `UOROState`
      with `init_uoro_state`; batch has leaves [B, T, ...]. Window n draws from fold_in(key, n); ν
      comes from another branch of the key.

    Raises:
      ValueError: if loss_fn does not take those arguments, or window is not an integer of at least
        1; when called, if key is not a typed key, state is not a `UOROState` for these params,
        params contain anything but floats, the carry has no floats, the batch's leaves are not [B,
        T, ...] with one T of at least 1, or loss_fn does not return a scalar loss and a carry of
        the same form.

    Example:
      >>> def loss_fn(decay, carry, xs, key):  # a leaky sum of xs [B, 1] should be 1
      ...     carry = decay * carry + xs[:, 0]
      ...     return jnp.sum((carry - 1) ** 2), carry
      >>> value_and_grad = uoro(loss_fn)
      >>> decay, xs = jnp.float32(0.5), jnp.ones((1, 3))
      >>> state = init_uoro_state(decay, jnp.zeros(1))
      >>> draws = jax.vmap(lambda key: value_and_grad(decay, state, xs, key)[1])
      >>> print(draws(jax.random.split(jax.random.key(0), 4000)).mean().round(1))  # exactly 4
      4.0
    """
    check_loss_fn(loss_fn)
    size = checks.positive_int("window", window)

    def value_and_grad(params: Params, state: UOROState, batch: Any, key: jax.Array):
        noise = own_key(key)
        vectors = _check_state(params, state)

        def body(loop, call, n):
            (h, rest), s, q, grads = loop
            function = vectors.function(call, rest)
            (loss, h), pull, rest = jax.vjp(function, vectors.theta, h, has_aux=True)
            one, none = jnp.ones_like(loss), jnp.zeros_like(h)
            d_theta, d_h = pull((one, none))
            grads = grads + d_theta + jnp.vdot(d_h, s) * q
            signs = jax.random.rademacher(jax.random.fold_in(noise, n), h.shape, h.dtype)
            q_new, _ = pull((jnp.zeros_like(loss), signs))
            # The transpose of the pull is the push, and exists without forward derivatives too.
            _, push = jax.vjp(pull, (one, none))
            ((_, s_new),) = push((jnp.zeros_like(q), s))
            rho_0 = _root_of_ratio(q, s_new)
            rho_1 = _root_of_ratio(q_new, signs)
            s = rho_0 * s_new + rho_1 * signs
            q = q / rho_0 + q_new / rho_1
            return ((h, rest), s, q, grads), loss

        factors = state.state_factor, state.params_factor
        start = (vectors.h, vectors.rest), *factors, jnp.zeros_like(vectors.theta)
        (after, s, q, grads), loss = scan_windows(body, start, loss_fn, batch, key, size)
        return (loss, UOROState(vectors.carry(*after), s, q)), vectors.params(grads)

    return value_and_grad


def _check_state(params: Params, state: Any) -> Vectors:
    """Params and the carry of a state as vectors.

    Raises:
      ValueError: if state is not a `UOROState` for these params.
    """
    remedy = "Make it with init_uoro_state(params, carry)."
    checks.require(
        isinstance(state, UOROState),
        f"state is {type(state).__name__}; expected UOROState. {remedy}",
    )
    vectors = Vectors.of(params, state.carry)
    found = jnp.shape(state.state_factor), jnp.shape(state.params_factor)
    expected = vectors.h.shape, vectors.theta.shape
    checks.require(
        found == expected,
        f"state_factor and params_factor have shapes {found[0]} and {found[1]}; expected [N] and "
        f"[P] = {expected[0]} and {expected[1]} for these params. {remedy}",
    )
    return vectors


def _root_of_ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    """√(‖a‖ / ‖b‖), or 1 where either norm is 0."""
    a, b = jnp.linalg.norm(a), jnp.linalg.norm(b)
    usable = (a > 0) & (b > 0)
    return jnp.where(usable, jnp.sqrt(a / jnp.where(usable, b, 1)), 1)
