"""Dynamic evaluation: params that learn from each window after it has been scored."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seqjax._internal import checks
from seqjax.core.scan import strong
from seqjax.training.loss_functions import call_loss, check_learned, check_loss_fn


class DynamicEvaluation(NamedTuple):
    """What `dynamic_evaluation` found.

    Fields:
      losses: [N] of each window, by the params that had seen the windows before it.
      params: after the last window, leaves [...].
      carry: after the last window, leaves [B, ...].
      skipped: [] int32, windows that changed no params because their update was not finite.
    """

    losses: jax.Array
    params: Any
    carry: Any
    skipped: jax.Array


def dynamic_evaluation(
    loss_fn: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    params: Any,
    carry: Any,
    windows: Any,
    *,
    key: jax.Array | None = None,
) -> DynamicEvaluation:
    """Scores windows one after the other, and learns from each once it has been scored.

        ℓₙ = loss(θₙ, window n),    θₙ₊₁ = θₙ + update(∂ℓₙ/∂θₙ),    θ₀ = params

    This measures a predictor that may adapt to the past of the text it predicts. Each window is
    scored before the params learn from it, so no ℓₙ depends on later targets. Gradients are exact
    within a window and treat the carry that enters it as a constant (truncated backpropagation).
    It runs as one `lax.scan`. An optimiser whose updates are 0 makes it static evaluation, to the
    bit.

    Report such a loss as what it is: it is not comparable to a loss of fixed params, and windows
    must come in the order of the text. All rows of a batch share params, so that each adapts to the
    others' past as well. Take B = 1 for one row, and `jax.vmap` over carries and windows for many
    that adapt alone. It costs as much as training.

    Args:
      loss_fn: (params, carry, window, key) -> (loss [], carry), as for `make_train_step`, whose
        aux is dropped. For a mean over all tokens, where windows hold different numbers of them,
        let it be a sum, and divide; the size of its gradient counts too, in the optimiser's rate.
      optimizer: any `optax.GradientTransformation`, started afresh: `optax.sgd`, or the paper's
        rule, made of `scale_by_mean_squares`, `optax.scale_by_learning_rate` and `decay_towards`.
      params: the trained ones, leaves [...].
      carry: where the first window starts, leaves [B, ...]; `()` for a loss without one.
      windows: leaves [N, ...], N windows stacked: `jax.tree.map(lambda *w: np.stack(w), *corpus)`.
      key: a typed key, of which window n is given `fold_in(key, n)`; None gives None.

    Returns:
      A `DynamicEvaluation`. A window whose gradient or update is not finite is scored, and leaves
      params as they are.

    Raises:
      ValueError: if optimizer is not an optax transformation, params contain integers, windows has
        no leaves of one length N, key is no typed key, loss_fn does not take the four arguments or
        returns anything else, its loss is not one float, or it changes the carry's form.

    Example:
      >>> loss_fn = lambda guess, carry, x, key: ((guess - x) ** 2, carry)
      >>> text = jnp.array([2.0, 2.0, 2.0, 4.0])
      >>> static = dynamic_evaluation(loss_fn, optax.sgd(0.0), jnp.float32(0), (), text)
      >>> found = dynamic_evaluation(loss_fn, optax.sgd(0.5), jnp.float32(0), (), text)
      >>> print(static.losses, found.losses, found.params)
      [ 4.  4.  4. 16.] [4. 0. 0. 4.] 4.0

    References:
      Krause, Kahembwe, Murray and Renals, Dynamic Evaluation of Neural Sequence Models, 2018.
    """
    check_loss_fn(loss_fn)
    checks.require(
        hasattr(optimizer, "init") and hasattr(optimizer, "update"),
        f"optimizer is {optimizer!r}; expected an optax.GradientTransformation such as "
        "optax.sgd(1e-4).",
    )
    check_learned(params)
    count = check_windows(windows)
    if key is not None:
        checks.key(key)
    update = optax.with_extra_args_support(optimizer).update

    def one(state, inputs):
        params, opt_state, carry, skipped = state
        n, window = inputs
        own = None if key is None else jax.random.fold_in(key, n)
        loss, grads, after = window_gradient(loss_fn, params, carry, window, own)
        with jax.numpy_dtype_promotion("standard"):  # optax is written for it
            updates, new_state = update(grads, opt_state, params, value=loss, grad=grads)
            learned = optax.apply_updates(params, updates)
        fine = all_finite((grads, updates))
        choose = lambda new, old: jnp.where(fine, new, old)
        params, opt_state = jax.tree.map(choose, (learned, new_state), (params, opt_state))
        return (params, opt_state, after, skipped + (~fine).astype(jnp.int32)), loss

    with jax.numpy_dtype_promotion("standard"):
        opt_state = optimizer.init(params)
    state = strong((params, opt_state, carry, jnp.int32(0)))
    state, losses = jax.lax.scan(one, state, (jnp.arange(count, dtype=jnp.int32), windows))
    return DynamicEvaluation(losses, state[0], state[2], state[3])


def window_gradient(loss_fn, params, carry, window, key) -> tuple[jax.Array, Any, Any]:
    """The loss [] of a window, its gradient for the params, and the carry after it."""

    def loss_of(params):
        return call_loss(loss_fn, params, carry, window, key)[:2]

    (loss, after), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
    return loss, grads, after


def check_windows(windows: Any) -> int:
    """N of windows with leaves [N, ...], or ValueError."""
    counts = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(windows)}
    checks.require(
        len(counts) == 1 and counts != {()},
        f"windows has leaves of shapes {checks.describe(windows)}; expected [N, ...] with one N. "
        "Stack them: jax.tree.map(lambda *w: np.stack(w), *corpus).",
    )
    return counts.pop()[0]


def all_finite(tree: Any) -> jax.Array:
    """Whether all inexact numbers of a tree are finite, [] bool."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves], bool))
