"""How far back a gradient flows through a recurrence."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks, trees
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry, Params, Tree
from seqjax.core.layout import Layout
from seqjax.core.scan import check_xs
from seqjax.core.steps import swap_time
from seqjax.diagnostics.gates import Saturation, gate_saturation
from seqjax.diagnostics.lyapunov import lyapunov_exponents
from seqjax.diagnostics.memory_length import memory_length
from seqjax.diagnostics.states import packed_start


class GradientFlow(NamedTuple):
    """What `gradient_flow` finds. The state h has N numbers, k is the lag, logarithms are natural.

    Fields:
      log_norms: [B, T + 1], ln ‖∂h_T/∂h_(T-k)‖₂ for k = 0..T, by the largest singular value.
      log_gains: [B, T + 1], ln (‖∂h_T/∂h_(T-k)‖_F / √N), by the root mean square of the singular
        values: how much a gradient of random direction grows.
      log_input_norms: [B, T], ln ‖∂h_T/∂x_(T-k)‖₂ for k = 0..T - 1; None if xs holds no floats.
      memory: [B], the lag after which the norm stays below 1/e of its maximum.
      half_life: [B], the lag after which it stays below 1/2 of its maximum.
      exponents: [B, N], the Lyapunov exponents, in nats a step.
      saturation: `Saturation` by name of the gate; {} for a cell without gates.
    """

    log_norms: jax.Array
    log_gains: jax.Array
    log_input_norms: jax.Array | None
    memory: jax.Array
    half_life: jax.Array
    exponents: jax.Array
    saturation: dict[str, Saturation]


@own_ranks
def gradient_flow(
    cell: Any,
    params: Params,
    xs: Tree,
    *,
    carry: Carry | None = None,
    select: Callable[[Carry], Tree] | None = None,
) -> GradientFlow:
    """Measures how the gradient of the last state vanishes or explodes going back, lag by lag.

        ∂h_T/∂h_(T-k) = J_T J_(T-1) ... J_(T-k+1),   Jₜ = ∂hₜ/∂hₜ₋₁

    Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013, eq. 5-7, who bound the norm
    by (‖W‖₂ max|act'|)ᵏ. As k grows, the slope of log_norms tends to the largest Lyapunov exponent.
    The gradient of a weight sums over all lags, which hides that these Jacobians vanish.

    The product is built from its late end, all rows at once, and rescaled at every step, so that a
    thousand steps neither over- nor underflow in float32. Each step costs N vector-Jacobian
    products and the eigenvalues of an N x N matrix. A derivative of 0 has the logarithm -inf.

    Args:
      cell: a cell with a step, whose carry has floats only.
      params: from `cell.init`.
      xs: [B, T, ...] inputs; a pytree of such arrays is allowed.
      carry: where to start, leaves [B, ...]; None means `cell.initial_carry(params, B)`.
      select: a function from a carry to the part of it whose norms are measured, such as
        `lambda carry: carry.c`; it picks leaves or entries and computes nothing. Gradients still
        flow through the whole state. None measures all of it.

    Returns:
      A `GradientFlow`.

    Raises:
      ValueError: if cell is not a cell, its carry is empty or contains anything but floats, xs has
        no batch and time axes, or select picks nothing.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.Elman(2, activation="identity", w_h_init=sj.initializers.Orthogonal(0.5))
      >>> params = cell.init(jax.random.key(0), input_size=1)
      >>> flow = sj.diagnostics.gradient_flow(cell, params, jnp.ones((1, 100, 1)))
      >>> print(flow.log_norms[0, :3].round(3), flow.half_life.round(2))  # ln 0.5 a step
      [ 0.    -0.693 -1.386] [1.]
    """
    batch_size, _ = check_xs(xs)
    xs = jax.tree.map(jnp.asarray, xs)
    layout, start, step = packed_start(cell, params, batch_size, carry)
    chosen = _chosen(layout, select)
    norms, gains, inputs = _norms(step, start, swap_time(xs), chosen)
    return GradientFlow(
        log_norms=norms,
        log_gains=gains,
        log_input_norms=inputs,
        memory=memory_length(norms),
        half_life=memory_length(norms, share=0.5),
        exponents=lyapunov_exponents(cell, params, xs, count=start.shape[1], carry=carry),
        saturation=gate_saturation(cell, params, xs, carry=carry),
    )


def _chosen(layout: Layout, select: Callable | None) -> np.ndarray:
    """The places [n], in a packed state, of the numbers that `select` picks."""
    sizes = [int(np.prod(shape)) for shape in layout.shapes]
    places = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    rows = [a.reshape(1, *shape) for a, shape in zip(places, layout.shapes, strict=True)]
    carry = jax.tree.unflatten(layout.structure, rows)
    leaves = jax.tree.leaves(carry if select is None else select(carry))
    found = np.concatenate([np.ravel(leaf) for leaf in leaves]) if leaves else np.zeros(0, int)
    checks.require(
        found.size > 0 and bool(np.isin(found, np.arange(sum(sizes))).all()),
        "select picks nothing of the carry; expected a function that returns leaves of it or "
        "entries of them, such as lambda carry: carry.c.",
    )
    return found


def _norms(step: Callable, start: jax.Array, xs: Tree, chosen: np.ndarray):
    """log_norms, log_gains and log_input_norms, over time-major xs."""
    _, befores = jax.lax.scan(lambda h, x: (step(h, x), h), start, xs)

    def back(state, inputs):
        rows, powers = state  # [n, B, N]; the product itself is 2^powers [B] times as large
        h, x = inputs
        _, pull = jax.vjp(lambda h, part: step(h, trees.with_inexact(x, part)), h, floats(x))
        rows, d_x = jax.vmap(pull)(rows)
        of_x = [d.reshape(*d.shape[:2], -1).astype(rows.dtype) for d in jax.tree.leaves(d_x)]
        scale = lambda powers: np.log(2).astype(rows.dtype) * powers.astype(rows.dtype)
        entering = None
        if of_x:
            entering = scale(powers) + _log_norms(jnp.concatenate(of_x, axis=-1))[0]
        # Scaling by powers of two rounds nothing, and neither does their sum.
        _, more = jnp.frexp(jnp.max(jnp.abs(rows), axis=(0, 2)))
        rows, powers = jnp.ldexp(rows, -more[:, None]), powers + more
        norm, gain = _log_norms(rows[..., chosen])
        return (rows, powers), (scale(powers) + norm, scale(powers) + gain, entering)

    floats = trees.inexact
    rows = jnp.zeros((len(chosen), *start.shape), start.dtype)
    rows = rows.at[np.arange(len(chosen)), :, chosen].set(1)
    zero = jnp.zeros_like(start[:, 0])
    powers = jnp.zeros(zero.shape, jnp.int32)
    _, found = jax.lax.scan(back, (rows, powers), (befores, xs), reverse=True)
    late_first = lambda a: None if a is None else jnp.flip(a, axis=0).T
    norms, gains, entering = map(late_first, found)
    at_0 = lambda curve: jnp.concatenate([zero[:, None], curve], axis=1)
    return at_0(norms), at_0(gains), entering


def _log_norms(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """ln ‖·‖₂ and ln (‖·‖_F / √n) of matrices [n, B, m], both [B]."""
    a = jnp.swapaxes(rows, 0, 1)
    largest = jnp.max(jnp.abs(a), axis=(1, 2))
    a = a / jnp.where(largest == 0, 1, largest)[:, None, None]
    squares = jnp.einsum("bnm,bkm->bnk" if a.shape[1] <= a.shape[2] else "bnm,bnk->bmk", a, a)
    total = jnp.trace(squares, axis1=1, axis2=2)
    top = jnp.clip(jnp.linalg.eigvalsh(squares)[:, -1], 0, total)
    scale = jnp.log(largest)
    lost = largest == 0
    log = lambda square: scale + 0.5 * jnp.log(jnp.where(lost, 1, square))
    return log(top), log(total) - 0.5 * np.log(rows.shape[0])
