"""Regularisers as functions: of params before an unroll, of outputs after it.

Each is one line of a loss, and knows of no trainer and no cell:

    params = drop_weights(params, key, rate=0.5)
    carry, ys = unroll(cell, params, xs, mask=mask, reset=reset)
    loss += 2 * activation_penalty(ys, mask) + temporal_penalty(ys, mask, reset)
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.products import accumulator
from seqjax.core.scan import check_flags
from seqjax.core.steps import zero_rows


def drop_weights(params: Any, key: jax.Array, rate: Any, names: Sequence[str] = ("w_h",)) -> Any:
    """Zeroes a share of the recurrent weights for a whole sequence: weight-drop, DropConnect.

        w ← m ⊙ w / (1 - rate),   m ~ Bernoulli(1 - rate) a weight, one draw a call

    The loss that is trained is E_m[ℓ(m ⊙ w / (1 - rate))]; a draw's value and gradient are
    unbiased estimates of it and of its gradient, and gradients pass kept weights only. The same
    weights are missing at all steps and in all rows, so that the state itself is never noisy: what
    it remembers is not erased, as dropout on hₜ would. Evaluate with the params as they are.

    Not for weights that are no matrix but a parametrisation (decays of a linear recurrence), whose
    zero means something else; and not for a recurrence kept orthogonal, which it would undo.

    Args:
      params: any tree of NamedTuples and dicts (those of a `Stack` or `Bidirectional` too), the
        dropped leaves floats [...].
      key: a typed key. Equal keys drop equal weights; take a new one a training step.
      rate: probability of dropping, 0 <= rate < 1; 0 is the identity. A traced one is allowed.
      names: fields (or dict keys) whose leaves are dropped, wherever they stand in the tree.

    Returns:
      The params with these leaves changed, of their dtypes.

    Raises:
      ValueError: if rate, where it is known, is outside [0, 1), key is not a typed key, a name
        matches no leaf of the tree, or one that holds no floats.

    Example:
      >>> import seqjax as sj
      >>> params = sj.LSTM(4).init(jax.random.key(0), input_size=2)
      >>> dropped = sj.training.drop_weights(params, jax.random.key(1), rate=0.5)
      >>> sorted(set(jnp.abs(dropped.w_h / params.w_h).round(1).ravel().tolist()))
      [0.0, 2.0]
      >>> bool((dropped.w_x == params.w_x).all())
      True

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, Regularization of Neural Networks using DropConnect,
      2013. Merity, Keskar and Socher, Regularizing and Optimizing LSTM Language Models, 2018,
      section 2, for recurrent weights.
    """
    known = checks.concrete(rate)
    if known is not None:
        checks.rate("rate", known.item() if isinstance(rate, jax.Array) else rate)
    checks.key(key)
    names = (names,) if isinstance(names, str) else tuple(names)
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    chosen = [index for index, (path, _) in enumerate(leaves) if _name(path) in names]
    found = {_name(leaves[index][0]) for index in chosen}
    missing = [name for name in names if name not in found]
    checks.require(
        bool(names) and not missing,
        f"names is {names!r} but no leaf of params is called {', '.join(map(repr, missing))}; "
        f"expected some of {', '.join(sorted({_name(path) for path, _ in leaves}))}.",
    )
    new = [leaf for _, leaf in leaves]
    for number, index in enumerate(chosen):
        path, leaf = leaves[index]
        where = "params" + jax.tree_util.keystr(path)
        checks.require(
            checks.is_float(jnp.asarray(leaf)), f"{where} is {leaf!r}; expected floats to drop."
        )
        new[index] = _drop(jax.random.fold_in(key, number), rate, jnp.asarray(leaf))
    return jax.tree.unflatten(structure, new)


def activation_penalty(ys: Any, mask: Any = None) -> jax.Array:
    """The mean square of outputs: activation regularisation, AR.

        mean of yₜᵢ² over real steps t and all units i

    A penalty to add to a loss, times a weight (2 in the paper's models). It is exact, not
    estimated: its gradient is 2 yₜᵢ / n. The paper's α L2(m ⊙ hₜ) is this mean in the authors'
    program, m the dropout on the outputs: give the outputs after dropout. It draws outputs to 0;
    not for a cell whose outputs are logits or have a scale that carries meaning.

    Args:
      ys: [B, T, ...] outputs of a recurrent layer, floats.
      mask: [B, T] bool, True = real. None means that every step is real.

    Returns:
      A scalar [] in at least float32, 0 where no step is real. What stands at masked steps, NaN
      included, reaches neither it nor a gradient.

    Raises:
      ValueError: if ys is not floats [B, T, ...] or mask not [B, T] bool.

    Example:
      >>> ys = jnp.array([[[1.0, 2.0], [jnp.nan, 0.0]]])
      >>> print(activation_penalty(ys, jnp.array([[True, False]])))
      2.5

    References:
      Merity, McCann and Socher, Revisiting Activation Regularization for Language RNNs, 2017.
    """
    ys, real, _ = _checked(ys, mask, None)
    return _mean_square(ys, jnp.ones(ys.shape[:2], bool) if real is None else real)


def temporal_penalty(ys: Any, mask: Any = None, reset: Any = None) -> jax.Array:
    """The mean squared change of outputs from step to step: temporal activation regularisation.

        mean of (yₜᵢ - yₜ₋₁ᵢ)² over real neighbours t - 1, t of one sequence and all units i

    TAR, a penalty to add to a loss, times a weight (1 in the paper's models), exact and not
    estimated; for slow outputs. Not for tasks whose answer changes at every step. Steps that a
    masked one separates are no neighbours; the first step of a window has none before it. Give the
    outputs before dropout, whose draws would count as changes.

    Args:
      ys: [B, T, ...] outputs of a recurrent layer, floats.
      mask: [B, T] bool, True = real. None means that every step is real.
      reset: [B, T] bool, True where a new sequence begins, as in `unroll`: no change is counted
        from the step before.

    Returns:
      A scalar [] in at least float32, 0 where there is no such pair. What stands at masked steps,
      NaN included, reaches neither it nor a gradient.

    Raises:
      ValueError: if ys is not floats [B, T, ...], or mask or reset not [B, T] bool.

    Example:
      >>> ys = jnp.array([[[1.0], [3.0], [7.0], [8.0]]])
      >>> reset = jnp.array([[True, False, True, False]])
      >>> print(temporal_penalty(ys), temporal_penalty(ys, reset=reset))
      7.0 2.5

    References:
      Merity, McCann and Socher, Revisiting Activation Regularization for Language RNNs, 2017.
    """
    ys, real, begun = _checked(ys, mask, reset)
    pairs = jnp.ones((ys.shape[0], max(ys.shape[1] - 1, 0)), bool)
    if real is not None:
        pairs = real[:, 1:] & real[:, :-1]
    if begun is not None:
        pairs = pairs & ~begun[:, 1:]
    return _mean_square(ys[:, 1:] - ys[:, :-1], pairs)


def _drop(key: jax.Array, rate: Any, w: jax.Array) -> jax.Array:
    """A leaf with a share of its numbers zeroed and the others scaled, in its dtype."""
    keep = jax.random.bernoulli(key, 1 - jnp.asarray(rate, jnp.float32), w.shape)
    wide = accumulator(w.dtype)
    scaled = w.astype(wide) / (1 - jnp.asarray(rate, wide))
    return jnp.where(keep, scaled, 0).astype(w.dtype)


def _name(path: tuple) -> str:
    """The name of the field, dict key or place that a leaf stands in."""
    last = path[-1] if path else ""
    return str(getattr(last, "name", getattr(last, "key", getattr(last, "idx", last))))


def _checked(ys: Any, mask: Any, reset: Any):
    """ys in at least float32, mask and reset; raises where they do not fit."""
    ys = jnp.asarray(ys)
    checks.require(
        ys.ndim >= 2 and checks.is_float(ys),
        f"ys is {ys.dtype}{list(ys.shape)}; expected floats [B, T, ...], outputs of `unroll`.",
    )
    real = check_flags("mask", mask, *ys.shape[:2])
    begun = check_flags("reset", reset, *ys.shape[:2])
    return ys.astype(accumulator(ys.dtype)), real, begun


def _mean_square(a: jax.Array, counted: jax.Array) -> jax.Array:
    """The mean of a² [B, T, ...] over the steps that count [B, T], 0 where there is none."""
    units = a[0, 0].size if a.size else 0
    number = jnp.sum(counted, dtype=a.dtype) * units
    return jnp.sum(jnp.square(zero_rows(counted, a))) / jnp.maximum(number, 1)
