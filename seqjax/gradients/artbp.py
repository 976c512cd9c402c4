"""Backpropagation through time, cut at random and reweighted to stay unbiased."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax._internal.types import Carry, Params, Tree
from seqjax.core.scan import strong
from seqjax.gradients.loss_windows import LossFn, ValueAndGrad, own_key, scan_windows
from seqjax.training.loss_functions import check_learned, check_loss_fn

Truncation: TypeAlias = float | Callable[[jax.Array], Any]


def power_law_truncation(mean: float, exponent: float = 4.0) -> Callable[[jax.Array], jax.Array]:
    """Probabilities of a cut that give segments a mean length and a long tail, for `artbp`.

        c(δ) = (α - 1) / ((α - 2) L₀ + δ),   P(L = l) ~ l^-α

    Tallec and Ollivier 2017, section 5. The longer ago the last cut, the less likely the next one.
    The weights of gradients that travel far then grow by a power of the distance, where a constant
    c lets them grow exponentially.

    Args:
      mean: L₀ > 1, in windows; exact in the limit of large L₀.
      exponent: α > 2.

    Returns:
      A function from δ [], the windows since the last cut (1, 2, ...), to c [].

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


def artbp(loss_fn: LossFn, window: int, truncation: Truncation) -> ValueAndGrad:
    """Sums losses and unbiased estimates of their gradients, by randomly truncated backpropagation.

        δₙ₋₁ = wₙ (∂hₙ/∂hₙ₋₁)ᵀ δₙ + ∂ℓₙ/∂hₙ₋₁,   wₙ = 0 with probability cₙ, else 1 / (1 - cₙ)

    Anticipated reweighted truncated backpropagation, Tallec and Ollivier 2017. Before each window
    except the first a coin decides: cut the gradient, or let it through with a larger weight. E wₙ
    is 1 whatever the earlier coins showed, so the mean over coins is the exact gradient of the sum
    of the windows' losses. Truncation at fixed places (`truncated_value_and_grad`) is biased
    towards what is near.

    The price is variance, since weights multiply along the way. With a constant c, a gradient from
    k windows back has the weight (1 - c)⁻ᵏ, and the variance grows as fast unless the gradient
    vanishes as fast; `power_law_truncation` tames it. With c = 0 the gradient is exact. Do not use
    `artbp` where whole sequences fit, or where nothing far back matters.

    Memory is that of the steps of one window and of the carries between all windows, because a
    compiled program must be ready for coins that never cut. Params change only after all T steps.

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), for one window, as for
        `truncated_value_and_grad`.
      window: K, the steps of a window. The last one is shorter where K does not divide T.
      truncation: the probability of a cut between two windows, 0 <= c < 1, or a function that
        computes it from the windows since the last cut ([] float, at least 1). A segment has 1 / c
        windows on average.

    Returns:
      A function (params, carry, batch, key) -> ((loss [], carry), gradients), for a batch with
      leaves [B, T, ...]. The carry is a constant. Window n draws from fold_in(key, n); coins come
      from another branch of the key.

    Raises:
      ValueError: if loss_fn does not take those arguments, window is not an integer of at least 1,
        or truncation is neither a probability below 1 nor a function; when called, if key is not a
        typed key, params contain anything but floats, the batch's leaves are not [B, T, ...] with
        one T of at least 1, or loss_fn does not return a scalar loss and a carry of the same form.

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
    check_loss_fn(loss_fn)
    size = checks.positive_int("window", window)
    if not callable(truncation):
        checks.rate("truncation", truncation)
    chance = truncation if callable(truncation) else lambda age: truncation

    def value_and_grad(params: Params, carry: Carry, batch: Any, key: jax.Array):
        coins = own_key(key)
        params = strong(params)
        check_learned(params, jnp.floating)
        # Gradients are summed over windows in at least float32.
        narrow = lambda wide: jax.tree.map(lambda a, p: a.astype(p.dtype), wide, params)

        def total(wide):
            def body(loop, call, n):
                carry, age = loop
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

    return value_and_grad


@jax.custom_vjp
def _weighted(tree: Tree, weight: jax.Array) -> Tree:
    """The tree itself; its gradient is multiplied by the weight, and 0 stops even inf and NaN."""
    return tree


def _weighted_backward(weight, grads):
    one = lambda g: jnp.where(weight == 0, 0, g * weight.astype(g.dtype))
    return jax.tree.map(one, grads), jnp.zeros_like(weight)


_weighted.defvjp(lambda tree, weight: (tree, weight), _weighted_backward)
