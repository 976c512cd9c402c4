"""Unbiased online recurrent optimisation: an influence of rank one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.gradients.truncated_bptt import own_key, scan_windows
from seqjax.gradients.vectors import Vectors


class RankOne(NamedTuple):
    """A carry and an estimate of what params did to it, for `uoro` to go on from.

    Fields:
      carry: as a loss function takes it.
      state: s [N], for the floats of the carry.
      params: q [P], for those of params; s qᵀ is dh/dθ in expectation.
    """

    carry: Any
    state: jax.Array
    params: jax.Array


def begin_uoro(params: Any, carry: Any) -> RankOne:
    """A carry on which params have had no influence yet. Tallec and Ollivier 2018.

    Args:
      params: pytree of floats.
      carry: pytree; its leaves that are no floats have no derivative.

    Returns:
      A `RankOne` with zeros [N] and [P].

    Raises:
      ValueError: if params hold anything but floats, or the carry none.

    Example:
      >>> begin = begin_uoro(jnp.ones((2, 3)), jnp.zeros((4, 5)))
      >>> begin.state.shape, begin.params.shape
      ((20,), (6,))
    """
    vectors = Vectors.of(params, carry)
    return RankOne(carry, jnp.zeros_like(vectors.h), jnp.zeros_like(vectors.theta))


def uoro(loss_fn: Callable[..., Any], window: int = 1) -> Callable[..., Any]:
    """Sums losses and unbiased estimates of their gradients, going forward through time only.

        s ← ρ₀ (∂hₙ/∂hₙ₋₁) s + ρ₁ ν,   q ← q / ρ₀ + (νᵀ ∂hₙ/∂θ) / ρ₁,   νᵢ = ±1 at random
        g = Σₙ ∂ℓₙ/∂θ + ((∂ℓₙ/∂hₙ₋₁) s) q,   E s qᵀ = dhₙ/dθ
        ρ₀² = ‖q‖ / ‖(∂hₙ/∂hₙ₋₁) s‖,   ρ₁² = ‖νᵀ ∂hₙ/∂θ‖ / ‖ν‖

    Tallec and Ollivier 2018, algorithm 1. The objective is the sum of the windows' losses, E g its
    exact gradient: unlike a truncation, the noise does not point the wrong way on average. The
    variance is the price: each step adds ν's cross terms, which grow with the numbers of the state
    and with how long it remembers; ρ₀ and ρ₁ make it least for one step. Learning rates have to be
    small. Memory is that of a carry and of params, for any T; time that of about four passes
    through a window. All rows of a batch share one estimate, so that they add to each other's
    noise; `vmap` over rows gives each its own. Do not use it where T steps fit into memory.

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), of one window, as for
        `truncated_value_and_grad`.
      window: K, the steps of a window, within which the gradient is exact. The last one is shorter
        where K does not divide T.

    Returns:
      A function (params, carry, batch, key) -> ((loss [], carry), gradients), for a batch with
      leaves [B, T, ...]. Window n is given fold_in(key, n); ν comes from another branch of the key.
      A carry is taken as a constant; a `RankOne` (`begin_uoro`) is gone on from, and comes back.

    Raises:
      ValueError: if window is not an integer of at least 1; when called, if key is None, params
        hold anything but floats, the carry holds none, the batch's leaves are not [B, T, ...] with
        one T of at least 1, the loss is no scalar, the carry changes form, or a `RankOne` is of
        other sizes.

    Example:
      >>> def loss_fn(decay, carry, xs, key):  # a leaky sum of xs [B, 1] should be 1
      ...     carry = decay * carry + xs[:, 0]
      ...     return jnp.sum((carry - 1) ** 2), carry
      >>> value_and_grad = uoro(loss_fn)
      >>> args = jnp.float32(0.5), jnp.zeros(1), jnp.ones((1, 3))
      >>> draws = jax.vmap(lambda key: value_and_grad(*args, key)[1])
      >>> print(draws(jax.random.split(jax.random.key(0), 4000)).mean().round(1))  # exactly 4
      4.0
    """
    size = checks.positive_int("window", window)

    def run(params, carry, batch, key):
        noise = own_key(key)
        goes_on = isinstance(carry, RankOne)
        carry, s, q = carry if goes_on else begin_uoro(params, carry)
        vectors = Vectors.of(params, carry)
        expected = [vectors.h.shape, vectors.theta.shape]
        checks.require(
            [jnp.shape(s), jnp.shape(q)] == expected,
            f"state and params of the carry have shapes {jnp.shape(s)} and {jnp.shape(q)}; "
            f"expected [N] and [P], {expected[0]} and {expected[1]}. Make it by "
            "begin_uoro(params, carry).",
        )

        def body(state, call, n):
            (h, rest), s, q, grads = state
            function = vectors.function(call, rest)
            (loss, h), pull, rest = jax.vjp(function, vectors.theta, h, has_aux=True)
            one, none = jnp.ones_like(loss), jnp.zeros_like(h)
            d_theta, d_h = pull((one, none))
            grads = grads + d_theta + jnp.vdot(d_h, s) * q
            signs = jax.random.rademacher(jax.random.fold_in(noise, n), h.shape, h.dtype)
            q_new, _ = pull((jnp.zeros_like(loss), signs))
            # The transpose of the pull is the push, also of functions without forward derivatives.
            _, push = jax.vjp(pull, (one, none))
            ((_, s_new),) = push((jnp.zeros_like(q), s))
            rho_0 = _root_of_ratio(q, s_new)
            rho_1 = _root_of_ratio(q_new, signs)
            return (
                (h, rest),
                rho_0 * s_new + rho_1 * signs,
                q / rho_0 + q_new / rho_1,
                grads,
            ), loss

        start = (vectors.h, vectors.rest), s, q, jnp.zeros_like(vectors.theta)
        (after, s, q, grads), loss = scan_windows(body, start, loss_fn, batch, key, size)
        carry = vectors.carry(*after)
        return (loss, RankOne(carry, s, q) if goes_on else carry), vectors.params(grads)

    return run


def _root_of_ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    """√(‖a‖ / ‖b‖), 1 where either is 0."""
    a, b = jnp.linalg.norm(a), jnp.linalg.norm(b)
    usable = (a > 0) & (b > 0)
    return jnp.where(usable, jnp.sqrt(a / jnp.where(usable, b, 1)), 1)
