"""Backpropagation through time that is cut at random and weighted to make up for it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax.core.scan import strong
from seqjax.gradients.truncated_bptt import own_key, scan_windows
from seqjax.gradients.vectors import check_params

Truncation = float | Callable[[jax.Array], Any]


def power_law_truncation(mean: float, exponent: float = 4.0) -> Callable[[jax.Array], jax.Array]:
    """Probabilities of a cut under which segments have a mean length and a long tail.

        c(δ) = (α - 1) / ((α - 2) L₀ + δ),   P(L = l) ~ l^-α

    Tallec and Ollivier 2017, section 5: the longer ago the last cut, the less likely the next, so
    that the weights of what gets far back grow by a power of its distance, not exponentially.

    Args:
      mean: L₀ > 1, in windows; exact in the limit of large L₀.
      exponent: α > 2.

    Returns:
      δ [], the windows since the last cut (1, 2, ...), -> c [].

    Raises:
      ValueError: if mean is not over 1, or exponent not over 2.

    Example:
      >>> print(power_law_truncation(10.0, exponent=4.0)(jnp.array([1.0, 10.0, 100.0])).round(3))
      [0.143 0.1   0.025]
    """
    checks.finite_number("mean", mean)
    checks.finite_number("exponent", exponent)
    checks.require(mean > 1, f"mean is {mean!r}; expected more than 1 window.")
    checks.require(exponent > 2, f"exponent is {exponent!r}; expected more than 2.")
    return lambda age: (exponent - 1) / ((exponent - 2) * mean + age)


def artbp(loss_fn: Callable[..., Any], window: int, truncation: Truncation) -> Callable[..., Any]:
    """Sums losses and unbiased estimates of their gradients, by randomly truncated backpropagation.

        δₙ₋₁ = wₙ (∂hₙ/∂hₙ₋₁)ᵀ δₙ + ∂ℓₙ/∂hₙ₋₁,   wₙ = 0 with probability cₙ, else 1 / (1 - cₙ)

    Anticipated reweighted truncated backpropagation, Tallec and Ollivier 2017. Before each window
    but the first a coin is thrown: cut, or let the gradient through with a larger weight. As E wₙ =
    1 whatever earlier coins showed, the mean over the coins is the gradient of the sum of the
    windows' losses, where truncation at fixed places (`truncated_value_and_grad`) is biased towards
    what is near. The variance is that of the weights, which multiply along the way: with a constant
    c, what lies k windows back has the weight (1 - c)⁻ᵏ, and a variance that grows like it unless
    the gradient vanishes as fast; `power_law_truncation` tames it. With c = 0 all is exact. Do not
    use it where whole sequences fit, nor where nothing far back matters.

    Memory is that of one window's steps and of the carries between all windows: a compiled program
    has to be ready for the case that no coin cuts. Params are read once; updates come after all T.

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), of one window, as for
        `truncated_value_and_grad`.
      window: K, the steps of a window. The last one is shorter where K does not divide T.
      truncation: the probability of a cut between two windows, 0 <= c < 1, or a function of the
        windows since the last cut ([] float, 1 at least) that gives it. 1 / c is the mean of the
        windows of a segment.

    Returns:
      A function (params, carry, batch, key) -> ((loss [], carry), gradients), for a batch with
      leaves [B, T, ...] and a carry that is taken as a constant. Window n is given fold_in(key, n);
      coins come from another branch of the key.

    Raises:
      ValueError: if window is not an integer of at least 1, or truncation neither a probability
        below 1 nor a function; when called, if key is None, params hold anything but floats, the
        batch's leaves are not [B, T, ...] with one T of at least 1, the loss is no scalar or the
        carry changes form.

    Example:
      >>> def loss_fn(decay, carry, xs, key):  # a leaky sum of xs [B, 1] should be 1
      ...     carry = decay * carry + xs[:, 0]
      ...     return jnp.sum((carry - 1) ** 2), carry
      >>> value_and_grad = artbp(loss_fn, window=1, truncation=0.5)
      >>> args = jnp.float32(0.5), jnp.zeros(1), jnp.ones((1, 3))
      >>> draws = jax.vmap(lambda key: value_and_grad(*args, key)[1])
      >>> print(draws(jax.random.split(jax.random.key(0), 4000)).mean().round(1))  # exactly 4
      4.0
    """
    size = checks.positive_int("window", window)
    if not callable(truncation):
        checks.rate("truncation", truncation)
    chance = truncation if callable(truncation) else lambda age: truncation

    def run(params, carry, batch, key):
        coins = own_key(key)
        params = strong(params)
        check_params(params)
        # Sums over windows are kept in at least float32.
        narrow = lambda wide: jax.tree.map(lambda a, p: a.astype(p.dtype), wide, params)

        def total(wide):
            def body(state, call, n):
                carry, age = state
                c = jnp.asarray(chance(jnp.maximum(age, 1)), jnp.float32)
                cut = jax.random.bernoulli(jax.random.fold_in(coins, n), c)
                weight = jnp.where(cut, 0, 1 / (1 - c))
                carry = trees.with_inexact(carry, _weighted(trees.inexact(carry), weight))
                loss, carry = jax.checkpoint(call, prevent_cse=False)(narrow(wide), carry)
                return (carry, jnp.where(cut, 1, age + 1)), loss

            start = strong(carry), jnp.float32(0)
            (after, _), loss = scan_windows(body, start, loss_fn, batch, key, size)
            return loss, after

        found, grads = jax.value_and_grad(total, has_aux=True)(trees.widen(params))
        return found, narrow(grads)

    return run


@jax.custom_vjp
def _weighted(tree: Any, weight: jax.Array) -> Any:
    """The tree itself, whose gradient is multiplied by a weight; 0 stops it, inf and NaN too."""
    return tree


def _weighted_backward(weight, grads):
    one = lambda g: jnp.where(weight == 0, 0, g * weight.astype(g.dtype))
    return jax.tree.map(one, grads), jnp.zeros_like(weight)


_weighted.defvjp(lambda tree, weight: (tree, weight), _weighted_backward)
