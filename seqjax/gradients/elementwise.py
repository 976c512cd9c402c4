"""Real-time recurrent learning for units that see only themselves: exact, as small as params."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.jaxprs import depend_on
from seqjax._internal.types import Carry, Params, Tree
from seqjax.core.products import accumulator
from seqjax.core.scan import strong
from seqjax.gradients.loss_windows import LossFn, ValueAndGrad, scan_windows
from seqjax.training.loss_functions import check_learned, check_loss_fn


class ElementwiseRTRLState(NamedTuple):
    """What `elementwise_rtrl` carries from call to call.

    Fields:
      carry: what the loss function takes, k leaves [B, H].
      traces: dh/dθ, a pytree like params: [B, k, ...] for each leaf [...] whose last axis is H or
        blocks of H; None for a leaf that the state cannot depend on.
    """

    carry: Carry
    traces: Tree


def init_elementwise_rtrl_state(params: Params, carry: Carry) -> ElementwiseRTRLState:
    """The state of `elementwise_rtrl` before params have influenced the carry: dh/dθ = 0.

    Zucchet et al. 2023.

    Args:
      params: pytree of floats.
      carry: pytree of floats, all leaves [B, H].

    Returns:
      An `ElementwiseRTRLState` whose traces are zeros.

    Raises:
      ValueError: if params contain anything but floats, or the carry is not floats of one shape
        [B, H].

    Example:
      >>> state = init_elementwise_rtrl_state(jnp.ones((3, 5)), jnp.zeros((4, 5)))
      >>> state.traces.shape
      (4, 1, 3, 5)
    """
    check_learned(params, jnp.floating)
    rows, units, parts = _states(strong(carry))[0].shape

    def zeros(leaf):
        if leaf.ndim == 0 or leaf.shape[-1] % units:
            return None
        return jnp.zeros((rows, parts, *leaf.shape), accumulator(leaf.dtype))

    return ElementwiseRTRLState(carry, jax.tree.map(zeros, strong(params)))


def elementwise_rtrl(loss_fn: LossFn, window: int = 1) -> ValueAndGrad:
    """`rtrl` for one layer whose units see only their own state.

        eₙ = (∂hₙ/∂hₙ₋₁) ⊙ eₙ₋₁ + ∂hₙ/∂θ,   a number for each parameter, row and leaf of the carry
        dL/dθ = Σₙ ∂ℓₙ/∂θ + (∂ℓₙ/∂hₙ₋₁) ⊙ eₙ₋₁

    Zucchet et al. 2023, section 3.2; Irie et al. 2023. Where unit j's next state depends on its own
    state and its own params alone, only that unit's entries of dh/dθ differ from zero, and only
    they are kept. Memory is B times that of params, H times less than `rtrl` needs; a window costs
    one backward pass for each row and leaf of the carry. The gradient is that of `rtrl`, and exact.

    Use it for one layer of `DiagonalGRU`, `DiagonalLSTM`, `MinGRU`, `MinLSTM`, `SRU` or `LRU`, with
    anything stateless behind it. Do not use it for `LSTM` and its like, for gates that see all of a
    projected input (`RGLRU` with a w_in), or for two layers, the second of which sees all of the
    first: there the result is wrong, and nothing warns.

    Args:
      loss_fn: (params, carry, batch, key) -> (loss [], carry), for one window, as for
        `truncated_value_and_grad`.
      window: K, the steps of a window. The last one is shorter where K does not divide T.

    Returns:
      A function (params, state, batch, key=None) -> ((loss [], state), gradients). Start the
      `ElementwiseRTRLState` with `init_elementwise_rtrl_state`; batch has leaves [B, T, ...].
      Window n draws from fold_in(key, n). Params that the state depends on end in an axis of H, or
      of blocks of H, as all of the library's do.

    Raises:
      ValueError: if loss_fn does not take those arguments, or window is not an integer of at least
        1; when called, if state is not an `ElementwiseRTRLState` for these params, params contain
        anything but floats, the carry is not floats of one shape [B, H], params that the state
        depends on end in another axis, the batch's leaves are not [B, T, ...] with one T of at
        least 1, or loss_fn does not return a scalar loss and a carry of the same form.

    Example:
      >>> def loss_fn(decay, carry, xs, key):  # leaky sums of xs [B, 1] should be 1
      ...     carry = decay * carry + xs
      ...     return jnp.sum((carry - 1) ** 2), carry
      >>> value_and_grad = elementwise_rtrl(loss_fn)
      >>> decay = jnp.array([0.5, 0.0])
      >>> state = init_elementwise_rtrl_state(decay, jnp.zeros((1, 2)))
      >>> (loss, state), gradient = value_and_grad(decay, state, jnp.ones((1, 3)))
      >>> print(gradient)
      [4. 0.]
    """
    check_loss_fn(loss_fn)
    size = checks.positive_int("window", window)

    def value_and_grad(params: Params, state: ElementwiseRTRLState, batch: Any, key=None):
        _check_state(params, state)
        params, carry = strong(params), strong(state.carry)
        states, structure = _states(carry)
        leaves, form = jax.tree.flatten(params)

        def body(loop, call, n):
            del n
            states, traces, grads = loop

            def function(leaves, states):
                after = jax.tree.unflatten(structure, list(jnp.moveaxis(states, -1, 0)))
                loss, after = call(jax.tree.unflatten(form, leaves), _like(carry, after))
                return loss, _states(after)[0]

            _check_owned(function, leaves, states, traces)
            (loss, new), pull = jax.vjp(function, leaves, states)
            direct, d_loss = pull((jnp.ones_like(loss), jnp.zeros_like(new)))
            # A row and a leaf of the carry at a time, all units at once: they do not meet.
            d_leaves, d_states = jax.vmap(jax.vmap(pull))(_seeds(loss, new))
            rows = jnp.arange(new.shape[0])
            jacobian = d_states[rows, :, rows]  # [B, k, H, k]
            grads = [
                g + d.astype(g.dtype) + _through(d_loss, trace)
                for g, d, trace in zip(grads, direct, traces, strict=True)
            ]
            traces = [_after(jacobian, t, d) for t, d in zip(traces, d_leaves, strict=True)]
            return (new, traces, grads), loss

        traces = form.flatten_up_to(state.traces)
        start = states, traces, [jnp.zeros(a.shape, accumulator(a.dtype)) for a in leaves]
        (states, traces, grads), loss = scan_windows(body, start, loss_fn, batch, key, size)
        carry = _like(carry, jax.tree.unflatten(structure, list(jnp.moveaxis(states, -1, 0))))
        state = ElementwiseRTRLState(carry, jax.tree.unflatten(form, traces))
        return (loss, state), _like(params, jax.tree.unflatten(form, grads))

    return value_and_grad


def _through(d_loss: jax.Array, trace: jax.Array | None) -> Any:
    """The part of a leaf's gradient that reaches it through the state: (∂ℓ/∂h) ⊙ e, over rows."""
    if trace is None:
        return 0
    units = d_loss.shape[1]
    part = jnp.einsum("buq,bqmu->mu", d_loss, trace.reshape(*trace.shape[:2], -1, units))
    return part.reshape(trace.shape[2:])


def _after(jacobian: jax.Array, trace: jax.Array | None, direct: jax.Array) -> jax.Array | None:
    """The next trace: (∂hₙ/∂hₙ₋₁) ⊙ e + ∂hₙ/∂θ, with jacobian [B, k, H, k]."""
    if trace is None:
        return None
    flat = trace.reshape(*trace.shape[:2], -1, jacobian.shape[2])
    carried = jnp.einsum("bpuq,bqmu->bpmu", jacobian, flat)
    return carried.reshape(trace.shape) + direct.astype(trace.dtype)


def _states(carry: Carry) -> tuple[jax.Array, Any]:
    """All units' numbers, [B, H, k], in at least float32, and the structure of the carry."""
    leaves, structure = jax.tree.flatten(carry)
    shapes = {leaf.shape for leaf in leaves}
    ok = len(shapes) == 1 and all(leaf.ndim == 2 and checks.is_float(leaf) for leaf in leaves)
    checks.require(
        ok,
        f"carry has leaves {checks.describe(carry)}; expected floats of one shape [B, H], with a "
        "number for each unit. For other carries use rtrl.",
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


def _check_state(params: Params, state: Any) -> None:
    """Raises ValueError if state is not an `ElementwiseRTRLState` for these params."""
    maker = "init_elementwise_rtrl_state(params, carry)"
    checks.require(
        isinstance(state, ElementwiseRTRLState),
        f"state is {type(state).__name__}; expected ElementwiseRTRLState. Make it with {maker}.",
    )
    expected = jax.eval_shape(lambda: init_elementwise_rtrl_state(params, state.carry).traces)
    checks.same_structure("state.traces", state.traces, expected, f"{maker} makes them")


def _check_owned(function: Callable, leaves: list, states: jax.Array, traces: list) -> None:
    """Raises ValueError if the state depends on a leaf without a trace."""
    traced = jax.make_jaxpr(lambda leaves: function(leaves, states)[1])(leaves).jaxpr
    for leaf, var, trace in zip(leaves, traced.invars, traces, strict=True):
        checks.require(
            trace is not None or not any(depend_on(traced, [var])),
            f"params have a leaf {list(leaf.shape)} on which the state depends; expected a last "
            f"axis of H = {states.shape[1]}, or of blocks of H. For other params use rtrl.",
        )
