"""The update rule of dynamic evaluation, as transformations to be chained.

    squares = mean_squared_gradients(loss_fn, params, carry, training_windows)
    optimizer = optax.chain(
        scale_by_mean_squares(squares),
        optax.scale_by_learning_rate(1e-4),
        decay_towards(params, 1e-3, squares),
    )

Krause et al. 2018. In front of any other optimiser each of the three works alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from seqjax._internal import checks
from seqjax.core.products import accumulator
from seqjax.core.scan import strong
from seqjax.training.dynamic_evaluation import check_windows, window_gradient
from seqjax.training.loss_functions import check_learned, check_loss_fn


def mean_squared_gradients(
    loss_fn: Callable[..., Any], params: Any, carry: Any, windows: Any, *, key=None
) -> Any:
    """The mean square of each param's gradient over training windows, for fixed params.

        MS = 1/N Σₙ (∂ℓₙ/∂θ)²

    What `scale_by_mean_squares` and `decay_towards` measure their steps by: large for params that
    training windows disagree on. Windows of the same size, and batches, as those of the evaluation
    give it the right scale. A gradient of a mean over B rows is smaller than that of one row.

    Args:
      loss_fn: (params, carry, window, key) -> (loss [], carry), as for `dynamic_evaluation`.
      params: the trained ones, leaves [...].
      carry: where the first window starts, leaves [B, ...].
      windows: leaves [N, ...], N windows stacked.
      key: a typed key, of which window n is given `fold_in(key, n)`; None gives None.

    Returns:
      A tree like params, leaves [...].

    Raises:
      ValueError: as `dynamic_evaluation`.

    Example:
      >>> loss_fn = lambda guess, carry, x, key: ((guess - x) ** 2, carry)
      >>> print(mean_squared_gradients(loss_fn, jnp.float32(0), (), jnp.array([1.0, 2.0])))
      10.0

    References:
      Krause, Kahembwe, Murray and Renals, Dynamic Evaluation of Neural Sequence Models, 2018.
    """
    check_loss_fn(loss_fn)
    check_learned(params)
    count = check_windows(windows)
    if key is not None:
        checks.key(key)

    def one(state, inputs):
        total, carry = state
        n, window = inputs
        own = None if key is None else jax.random.fold_in(key, n)
        _, grads, carry = window_gradient(loss_fn, params, carry, window, own)
        add = lambda a, g: a + jnp.square(g.astype(a.dtype))
        return (jax.tree.map(add, total, grads), carry), None

    zeros = jax.tree.map(lambda a: jnp.zeros_like(a, accumulator(a.dtype)), strong(params))
    inputs = jnp.arange(count, dtype=jnp.int32), windows
    (total, _), _ = jax.lax.scan(one, (zeros, strong(carry)), inputs)
    return jax.tree.map(
        lambda a, p: (a / max(count, 1)).astype(jnp.asarray(p).dtype), total, params
    )


def scale_by_mean_squares(mean_squares: Any, epsilon: float = 1e-3) -> optax.GradientTransformation:
    """Divides gradients by the root of fixed mean squares: RMSprop whose averages are given.

        g ← g / (√MS + ε)

    Args:
      mean_squares: a tree like params, leaves [...], as of `mean_squared_gradients`.
      epsilon: ε > 0, in the unit of a gradient: no param moves faster than g / ε.

    Returns:
      An `optax.GradientTransformation` without state.

    Raises:
      ValueError: if epsilon is not a positive number, or mean_squares, where it is known, holds
        negative numbers.

    Example:
      >>> scale = scale_by_mean_squares(jnp.array([4.0, 0.0]), epsilon=0.5)
      >>> print(scale.update(jnp.array([5.0, 5.0]), scale.init(None))[0])
      [ 2. 10.]

    References:
      Krause, Kahembwe, Murray and Renals, Dynamic Evaluation of Neural Sequence Models, 2018.
    """
    checks.finite_number("epsilon", epsilon)
    checks.require(epsilon > 0, f"epsilon is {epsilon!r}; expected a positive number.")
    _check_squares(mean_squares)

    def update(updates, state, params=None):
        del params
        scaled = lambda g, ms: g / (jnp.sqrt(ms) + epsilon).astype(g.dtype)
        return jax.tree.map(scaled, updates, mean_squares), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def decay_towards(
    anchor: Any, rate: float, mean_squares: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Adds to updates a pull back to fixed params, such as the trained ones.

        u ← u + min(λ s, 1) (θ_g - θ),    s = √MS / mean(√MS), or 1 without mean squares

    Place it last, after the learning rate: it is a share of the way back, a step. Params whose
    gradients are large change fast, and are drawn back faster; the mean is over all numbers of all
    leaves. The share is at most 1, so that no step leads past the anchor.

    Args:
      anchor: θ_g, a tree like params, leaves [...].
      rate: λ in [0, 1], the mean share a step.
      mean_squares: a tree like params, as of `mean_squared_gradients`.

    Returns:
      An `optax.GradientTransformation` without state, whose `update` needs params.

    Raises:
      ValueError: if rate is not a number in [0, 1], mean_squares, where it is known, holds negative
        numbers, or `update` is called without params.

    Example:
      >>> pull = decay_towards(jnp.array([1.0, 1.0]), rate=0.25)
      >>> params = jnp.array([1.0, 5.0])
      >>> print(pull.update(jnp.zeros(2), pull.init(params), params)[0])
      [ 0. -1.]

    References:
      Krause, Kahembwe, Murray and Renals, Dynamic Evaluation of Neural Sequence Models, 2018.
    """
    ok = checks.is_number(rate) and 0 <= rate <= 1
    checks.require(ok, f"rate is {rate!r}; expected a share of the way back with 0 <= rate <= 1.")
    shares = jax.tree.map(lambda a: jnp.asarray(rate, jnp.asarray(a).dtype), anchor)
    if mean_squares is not None:
        _check_squares(mean_squares)
        roots = jax.tree.map(lambda ms: jnp.sqrt(ms.astype(accumulator(ms.dtype))), mean_squares)
        leaves = jax.tree.leaves(roots)
        mean = sum(jnp.sum(a) for a in leaves) / max(sum(a.size for a in leaves), 1)
        unit = jnp.where(mean == 0, 1, mean)  # without any gradient there is nothing to draw back
        share = lambda root, a: jnp.minimum(rate * root / unit, 1).astype(jnp.asarray(a).dtype)
        shares = jax.tree.map(share, roots, anchor)

    def update(updates, state, params=None, **extra):
        del extra
        checks.require(
            params is not None, "params is None; expected the params that the updates are for."
        )
        pull = lambda u, share, a, p: u + share * (a - p)
        return jax.tree.map(pull, updates, shares, anchor, params), state

    init = lambda params: optax.EmptyState()
    return optax.GradientTransformationExtraArgs(init, update)


def _check_squares(mean_squares: Any) -> None:
    """Refuses negative or non-finite mean squares where their values are known."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(mean_squares)[0]:
        known = checks.concrete(leaf)
        checks.require(
            known is None or bool((known >= 0).all()),
            f"mean_squares{jax.tree_util.keystr(path)} holds numbers that are not >= 0; expected "
            "mean squares, as mean_squared_gradients gives them.",
        )
