"""Real-time recurrent learning of units that see only themselves: exact, and as small as params."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.jaxprs import depend_on
from seqjax.core.products import accumulator
from seqjax.core.scan import strong
from seqjax.gradients.truncated_bptt import scan_windows
from seqjax.gradients.vectors import check_params


def elementwise_rtrl(loss_fn: Callable[..., Any], window: int = 1) -> Callable:
    """`rtrl` for one layer of units that have no state of one another's.

        eₙ = (∂hₙ/∂hₙ₋₁) ⊙ eₙ₋₁ + ∂hₙ/∂θ,   a number for each parameter, row and leaf of the carry
        dL/dθ = Σₙ ∂ℓₙ/∂θ + (∂ℓₙ/∂hₙ₋₁) ⊙ eₙ₋₁

    Zucchet et al. 2023, section 3.2; Irie et al. 2023. Where unit j's next state depends on its own
    state and its own params alone, of dh/dθ only that unit's entries are not zero, and they are all
    that is kept: memory is B times that of params, where `rtrl` needs H times more,
    and time that of a backward pass of a window for each row and leaf. The objective and its
    gradient are the same, and exact.

    This holds for one layer of `DiagonalGRU`, `DiagonalLSTM`, `MinGRU`, `MinLSTM`, `SRU` or `LRU`,
    with anything behind it that has no state. It does not hold for `LSTM` and its like, for gates
    that see all of a projected input (`RGLRU` with a w_in), nor for two layers, whose second sees
    the whole of the first: there the result is wrong, and nothing warns. Do not use it there.

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), of one window, as for
        `truncated_value_and_grad`.
      window: K, the steps of a window. The last one is shorter where K does not divide T.

    Returns:
      A function (params, carry, batch, key=None) -> ((loss [], carry), gradients), for a batch with
      leaves [B, T, ...] and a carry that is taken as a constant. Window n is given fold_in(key, n).
      Every leaf of the carry is [B, H]; params that the state depends on end in an axis of H, or of
      blocks of H, as all of the library's do.

    Raises:
      ValueError: if window is not an integer of at least 1; when called, if params hold anything
        but floats, the carry is not floats of one shape [B, H], params of the state end otherwise,
        the batch's leaves are not [B, T, ...] with one T of at least 1, the loss is no scalar or
        the carry changes form.

    Example:
      >>> def loss_fn(decay, carry, xs, key):  # leaky sums of xs [B, 1] should be 1
      ...     carry = decay * carry + xs
      ...     return jnp.sum((carry - 1) ** 2), carry
      >>> value_and_grad = elementwise_rtrl(loss_fn)
      >>> args = jnp.array([0.5, 0.0]), jnp.zeros((1, 2)), jnp.ones((1, 3))
      >>> _, gradient = value_and_grad(*args)
      >>> print(gradient)
      [4. 0.]
    """
    size = checks.positive_int("window", window)

    def run(params, carry, batch, key=None):
        check_params(params)
        params, carry = strong(params), strong(carry)
        states, structure = _states(carry)
        leaves, form = jax.tree.flatten(params)
        units = states.shape[1]

        def body(state, call, n):
            del n
            states, traces, grads = state

            def function(leaves, states):
                after = jax.tree.unflatten(structure, list(jnp.moveaxis(states, -1, 0)))
                loss, after = call(jax.tree.unflatten(form, leaves), _like(carry, after))
                return loss, _states(after)[0]

            _check_owned(function, leaves, states, owned)
            (loss, new), pull = jax.vjp(function, leaves, states)
            direct, d_loss = pull((jnp.ones_like(loss), jnp.zeros_like(new)))
            # A row and a leaf of the carry at a time, all units at once: they do not meet.
            d_leaves, d_states = jax.vmap(jax.vmap(pull))(_seeds(loss, new))
            rows = jnp.arange(new.shape[0])
            jacobian = d_states[rows, :, rows]  # [B, k, H, k]
            for i, trace in traces.items():
                part = jnp.einsum("buq,bqmu->mu", d_loss, trace).reshape(leaves[i].shape)
                grads = [g + part if i == j else g for j, g in enumerate(grads)]
                step = d_leaves[i].reshape(trace.shape).astype(trace.dtype)
                traces = traces | {i: jnp.einsum("bpuq,bqmu->bpmu", jacobian, trace) + step}
            grads = [g + d.astype(g.dtype) for g, d in zip(grads, direct, strict=True)]
            return (new, traces, grads), loss

        owned = [leaf.ndim > 0 and leaf.shape[-1] % units == 0 for leaf in leaves]
        shape = (states.shape[0], states.shape[2])
        traces = {
            i: jnp.zeros((*shape, leaf.size // units, units), accumulator(leaf.dtype))
            for i, leaf in enumerate(leaves)
            if owned[i]
        }
        start = states, traces, [jnp.zeros(a.shape, accumulator(a.dtype)) for a in leaves]
        (states, _, grads), loss = scan_windows(body, start, loss_fn, batch, key, size)
        after = _like(carry, jax.tree.unflatten(structure, list(jnp.moveaxis(states, -1, 0))))
        return (loss, after), _like(params, jax.tree.unflatten(form, grads))

    return run


def _states(carry: Any) -> tuple[jax.Array, Any]:
    """The numbers of all units, [B, H, k], in at least float32, and the structure of the carry."""
    leaves, structure = jax.tree.flatten(carry)
    shapes = {leaf.shape for leaf in leaves}
    ok = len(shapes) == 1 and all(leaf.ndim == 2 and checks.is_float(leaf) for leaf in leaves)
    checks.require(
        ok,
        f"carry has leaves of shapes {checks.describe(carry)}; expected floats [B, H] in all, a "
        "number of each unit. Use rtrl.",
    )
    wide = jnp.result_type(*[accumulator(leaf.dtype) for leaf in leaves])
    return jnp.stack([leaf.astype(wide) for leaf in leaves], axis=-1), structure


def _like(other: Any, tree: Any) -> Any:
    """The tree in the dtypes of another one."""
    return jax.tree.map(lambda a, b: b.astype(a.dtype), other, tree)


def _seeds(loss: jax.Array, states: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cotangents of (loss, states) that pick a row and a leaf: [B, k] and [B, k, B, H, k]."""
    rows, units, parts = states.shape
    of_row = jnp.eye(rows, dtype=states.dtype)[:, None, :, None, None]
    of_part = jnp.eye(parts, dtype=states.dtype)[None, :, None, None, :]
    picked = jnp.broadcast_to(of_row * of_part, (rows, parts, rows, units, parts))
    return jnp.zeros((rows, parts), loss.dtype), picked


def _check_owned(function: Callable, leaves: list, states: jax.Array, owned: list[bool]) -> None:
    """Raises ValueError if the state depends on a leaf that does not divide among the units."""
    traced = jax.make_jaxpr(lambda leaves: function(leaves, states)[1])(leaves).jaxpr
    for leaf, var, divides in zip(leaves, traced.invars, owned, strict=True):
        checks.require(
            divides or not any(depend_on(traced, [var])),
            f"params have a leaf {list(leaf.shape)} on which the state depends; expected a last "
            f"axis of H = {states.shape[1]}, or of blocks of H. Use rtrl.",
        )
