"""A train step over any recurrent loss: clip, update, carry on, skip what is not finite.

    loss_fn(params, carry, batch, key) -> (loss, carry) or (loss, carry, aux)

is all that a step needs to know. Truncated backpropagation through time is that signature called
once a window: the carry enters as a constant and leaves as the next window's start.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seqjax._internal import checks
from seqjax.training.donation import Donating
from seqjax.training.loss_functions import call_loss, check_learned, check_loss_fn


class TrainState(NamedTuple):
    """Everything a training run needs to continue, a plain pytree.

    Fields:
      params: what is learned, leaves [...].
      opt_state: of the optimiser.
      carry: where the next window starts, leaves [B, ...]; `()` for a loss without one.
      key: [] typed key of the run, never advanced; step n draws from `fold_in(key, n)`.
      step: [] int32, windows seen, skipped ones included.
      skipped: [] int32, windows skipped because something was not finite.
    """

    params: Any
    opt_state: Any
    carry: Any
    key: jax.Array
    step: jax.Array
    skipped: jax.Array


class Metrics(NamedTuple):
    """What one step measured.

    Fields:
      loss: [] as `loss_fn` returned it, before the update; nats for `cross_entropy`.
      grad_norm: [] global norm of the gradient before clipping.
      skipped: [] bool, whether this window was skipped.
      aux: a pytree, the third result of `loss_fn`; `()` for a loss without one.
    """

    loss: jax.Array
    grad_norm: jax.Array
    skipped: jax.Array
    aux: Any = ()


def global_norm(tree) -> jax.Array:
    """The Euclidean norm of all numbers of a tree, as one vector.

        ‖g‖ = m √Σ (gᵢ / m)²    with m = max |gᵢ|

    The division by m keeps squares from overflowing (1e25² is inf in float32) and from vanishing.

    Args:
      tree: floating-point or complex arrays [...] of any shapes.

    Returns:
      A scalar [], float32 (float64 where a leaf is); NaN or inf where a leaf is not finite.

    Raises:
      ValueError: if a leaf holds integers.

    Example:
      >>> print(global_norm({"w": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}))
      5.0

    References:
      Blue, A Portable Fortran Program to Find the Euclidean Norm of a Vector, 1978, for scaling.
    """
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree) if jnp.size(leaf)]
    for leaf in leaves:
        checks.require(
            jnp.issubdtype(leaf.dtype, jnp.inexact),
            f"tree has a leaf of dtype {leaf.dtype}; expected floating-point or complex numbers. "
            "Leave out what has no gradient.",
        )
    wide = any(jnp.finfo(leaf.dtype).bits == 64 for leaf in leaves)
    sizes = [jnp.abs(leaf).astype(jnp.float64 if wide else jnp.float32) for leaf in leaves]
    if not sizes:
        return jnp.zeros((), jnp.float32)
    # The result does not depend on m, so its gradient must not either.
    largest = jax.lax.stop_gradient(jnp.max(jnp.stack([jnp.max(size) for size in sizes])))
    zero = largest == 0
    unit = jnp.where(zero, 1, largest)
    total = sum((jnp.sum(jnp.square(size / unit)) for size in sizes), start=jnp.zeros_like(unit))
    # The derivative of √ at 0 is inf, and inf / inf is NaN: neither is what was asked for.
    norm = jnp.where(zero, 0, unit * jnp.sqrt(jnp.where(zero, 1, total)))
    return jnp.where(jnp.isinf(largest), largest, norm)


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Scales a gradient down to a largest norm, its direction kept.

        g ← g · min(1, θ / ‖g‖)

    Differs from `optax.clip_by_global_norm` where that one fails: θ = ‖g‖ = 0 gives 0, not NaN;
    the norm is accumulated in float32 for half-precision leaves and does not overflow; leaves may
    have different dtypes. A gradient with NaN or inf passes unchanged, so that whoever
    decides about the step sees it; `make_train_step` skips the step.

    Place it before the optimiser, so that the moments see clipped gradients, and inside
    `optax.MultiSteps`, so that it sees the accumulated ones.

    Args:
      max_norm: θ, at least 0.

    Returns:
      An `optax.GradientTransformation` without state, of gradients with leaves [...].

    Raises:
      ValueError: if max_norm is negative or not a finite number.

    Example:
      >>> clip = clip_by_global_norm(1.0)
      >>> updates, _ = clip.update({"w": jnp.array([3.0, 4.0])}, clip.init({}))
      >>> print(jax.tree.map(lambda g: round(float(g), 3), list(updates["w"])))
      [0.6, 0.8]

    References:
      Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013,
      algorithm 1.
    """
    _check_max_norm(max_norm)

    def update(updates, state, params=None):
        del params
        return _clip(updates, global_norm(updates), max_norm), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def init_train_state(params, optimizer, *, key, carry=()) -> TrainState:
    """The state before the first step.

    Every array is copied: the step donates its state's buffers, and must not take the caller's.

    Dropout, zoneout and other noise act only if the carry was started with a key, here or in
    `loss_fn`: `core.has_noise(state.carry)` tells, `core.start_noise` and `core.stop_noise` change
    it. For a loss that starts each batch by itself, give `unroll` the key that `loss_fn` receives.

    Args:
      params: what `loss_fn` takes first, leaves [...].
      optimizer: any `optax.GradientTransformation`.
      key: [] a typed key, the root of all randomness in training.
      carry: where the first window starts, leaves [B, ...], such as
        `cell.initial_carry(params, batch_size, key=key)`; without the key it draws no noise.

    Returns:
      A `TrainState` at step 0.

    Raises:
      ValueError: if params contain integers, key is not a single typed key, or optimizer is not an
        optax transformation.

    Example:
      >>> state = init_train_state({"w": jnp.ones(2)}, optax.sgd(0.1), key=jax.random.key(0))
      >>> print(state.step, state.carry)
      0 ()
    """
    _check_optimizer(optimizer)
    checks.key(key)
    check_learned(params)
    with jax.numpy_dtype_promotion("standard"):  # optax is written for it
        opt_state = optimizer.init(params)
    zero = jnp.zeros((), jnp.int32)
    return jax.tree.map(_copy, TrainState(params, opt_state, carry, key, zero, zero))


def make_train_step(
    loss_fn: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    max_norm: float | None = None,
    donate: bool = True,
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """Builds the jitted function that learns from one batch or window.

    A window counts as unseen if its loss, gradient or update is not finite, or its new carry
    contains NaN: params, opt_state and carry stay as they were, `skipped` and `step` go up by one.

    Gradients are clipped before the optimiser sees them. (With `optax.MultiSteps`, leave max_norm
    None and put `clip_by_global_norm` inside it.) A loss that is a mean over real tokens gives
    a window with few of them as much weight as a full one; divide by a constant to avoid it.

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), or (loss [], carry, aux). The
        carry that comes in is a constant; the one that goes out has its structure, shapes and
        dtypes. aux is any pytree of further measurements, returned in `Metrics`.
      optimizer: any `optax.GradientTransformation`; `value`, `grad` and `value_fn` are passed to
        those that take them.
      max_norm: clip the global norm of the gradient to this; None does not clip.
      donate: reuse the memory of the state that comes in, which is then deleted, and cannot be
        used again: continue from the state that came back, copy what you want to keep
        (`jax.tree.map(jnp.copy, state.params)`), or pass donate=False.

    Returns:
      train_step(state, batch) -> (state, `Metrics`), one compilation for batches of equal shapes.

    Raises:
      ValueError: if loss_fn does not take the four arguments, max_norm is negative or not finite,
        or optimizer is not an optax transformation; when first called, if loss_fn returns anything
        else, the loss is not a scalar or the carry changes form; for a state that a step has taken.

    Example:
      >>> loss_fn = lambda w, carry, x, key: (jnp.sum((w - x) ** 2), carry)
      >>> train_step = make_train_step(loss_fn, optax.sgd(0.5), max_norm=10.0)
      >>> state = init_train_state(jnp.zeros(2), optax.sgd(0.5), key=jax.random.key(0))
      >>> state, metrics = train_step(state, jnp.array([3.0, 4.0]))
      >>> print(state.params, metrics.loss, metrics.grad_norm, state.skipped)
      [3. 4.] 25.0 10.0 0

      A third result is measured as well:

      >>> loss_fn = lambda w, carry, x, key: (jnp.sum((w - x) ** 2), carry, {"size": x.size})
      >>> state, metrics = make_train_step(loss_fn, optax.sgd(0.5))(state, jnp.array([3.0, 5.0]))
      >>> print(metrics.loss, metrics.aux)
      1.0 {'size': Array(2, dtype=int32, weak_type=True)}

    References:
      Williams and Peng, An efficient gradient-based algorithm for on-line training of recurrent
      network trajectories, 1990, for truncated backpropagation through time.
    """
    check_loss_fn(loss_fn)
    _check_optimizer(optimizer)
    if max_norm is not None:
        _check_max_norm(max_norm)
    update = optax.with_extra_args_support(optimizer).update

    def train_step(state: TrainState, batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        carry = jax.tree.map(jax.lax.stop_gradient, state.carry)

        def loss_of(params):
            loss, *others = call_loss(loss_fn, params, carry, batch, key)
            return loss, others

        (loss, others), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        new_carry, aux = others
        norm = global_norm(grads)
        clipped = grads if max_norm is None else _clip(grads, norm, max_norm)
        extra = {"value": loss, "grad": clipped, "value_fn": lambda params: loss_of(params)[0]}
        with jax.numpy_dtype_promotion("standard"):  # optax is written for it
            updates, opt_state = update(clipped, state.opt_state, state.params, **extra)
            params = optax.apply_updates(state.params, updates)
        fine = jnp.isfinite(loss) & jnp.isfinite(norm) & _no(jnp.isnan, new_carry)
        fine = fine & _no(lambda x: ~jnp.isfinite(x), updates)
        new = state._replace(params=params, opt_state=opt_state, carry=new_carry)
        kept = jax.tree.map(lambda new, old: _choose(fine, new, old), new, state)
        skipped = state.skipped + (~fine).astype(jnp.int32)
        return kept._replace(step=state.step + 1, skipped=skipped), Metrics(loss, norm, ~fine, aux)

    return Donating(train_step) if donate else jax.jit(train_step)


def _clip(grads, norm, max_norm: float):
    """The gradients scaled to max_norm where their (finite) norm exceeds it."""
    exceeds = jnp.isfinite(norm) & (norm > max_norm)
    # Divided by 1 where it does not exceed: no 0 / 0, neither here nor in a derivative of this.
    scale = jnp.where(exceeds, max_norm / jnp.where(exceeds, norm, 1), 1)

    def scaled(grad):
        real = jnp.finfo(grad.dtype).dtype
        if jnp.finfo(real).bits >= 32:
            return grad * scale.astype(real).astype(grad.dtype)
        return (grad.astype(scale.dtype) * scale).astype(grad.dtype)

    return jax.tree.map(scaled, grads)


def _choose(condition, new, old):
    """new where the condition is True, in the dtype of old: a state never changes its form."""
    if not jnp.issubdtype(old.dtype, jax.dtypes.extended):
        new = jnp.asarray(new, old.dtype)
    return jnp.where(condition, new, old)


def _no(test, tree) -> jax.Array:
    """Whether the test is False for every number in the tree's inexact leaves."""
    found = jnp.zeros((), bool)
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            found = found | jnp.any(test(leaf))
    return ~found


def _copy(leaf):
    """A strongly typed copy in a buffer of its own."""
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return jnp.array(leaf, copy=True)
    return jnp.array(leaf, leaf.dtype, copy=True)


def _check_max_norm(max_norm) -> None:
    checks.finite_number("max_norm", max_norm)
    checks.require(max_norm >= 0, f"max_norm is {max_norm!r}; expected a norm of at least 0.")


def _check_optimizer(optimizer) -> None:
    checks.require(
        hasattr(optimizer, "init") and hasattr(optimizer, "update"),
        f"optimizer is {optimizer!r}; expected an optax.GradientTransformation such as "
        "optax.adam(1e-3).",
    )
