"""How fast small differences in a state grow."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry, Params, Tree
from seqjax.core.scan import check_xs
from seqjax.core.steps import swap_time
from seqjax.diagnostics.states import packed_start


@own_ranks
def lyapunov_exponents(
    cell: Any,
    params: Params,
    xs: Tree,
    *,
    count: int = 1,
    carry: Carry | None = None,
    skip: int = 0,
) -> jax.Array:
    """Computes a cell's largest Lyapunov exponents along its inputs, in nats a step.

        Qₜ Rₜ = Jₜ Qₜ₋₁,   λᵢ = mean over t of ln |Rₜ,ᵢᵢ|,   Jₜ = ∂hₜ/∂hₜ₋₁

    Small differences in the state grow where λ > 0 (chaos, exploding gradients) and vanish where
    λ < 0. Q is orthonormalised again at every step, because a product over time would over- or
    underflow. Benettin et al. 1980.

    Args:
      cell: a cell with a step, whose carry has floats only.
      params: from `cell.init`.
      xs: [B, T, ...] inputs; a pytree of such arrays is allowed.
      count: how many exponents, at most N, the numbers in a row's carry.
      carry: where to start, leaves [B, ...]; None means `cell.initial_carry(params, B)`.
      skip: how many first steps to run without counting them, while Q turns towards the directions
        that grow fastest.

    Returns:
      [B, count], largest first in the limit of long sequences; -inf for a direction that vanishes
      entirely.

    Raises:
      ValueError: if cell is not a cell, its carry is empty or contains anything but floats, xs has
        no batch and time axes, count is not in 1..N, or skip is not in 0..T - 1.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.Elman(2, activation="identity", w_h_init=sj.initializers.Orthogonal(0.5))
      >>> params = cell.init(jax.random.key(0), input_size=1)
      >>> xs = jnp.ones((1, 100, 1))
      >>> print(sj.diagnostics.lyapunov_exponents(cell, params, xs, count=2).round(3))
      [[-0.693 -0.693]]
    """
    batch_size, length = check_xs(xs)
    _, start, step = packed_start(cell, params, batch_size, carry)
    size = start.shape[-1]
    checks.positive_int("count", count)
    checks.require(
        count <= size, f"count is {count}; expected at most {size}, the numbers in a row's carry."
    )
    checks.require(
        isinstance(skip, int) and 0 <= skip < length,
        f"skip is {skip!r}; expected an integer of 0..T - 1 = {length - 1}.",
    )

    def body(state, x):
        h, directions = state  # [B, N], [B, N, count]
        h, push = jax.linearize(lambda h: step(h, x), h)
        moved = jax.vmap(push, in_axes=2, out_axes=2)(directions)
        directions, upper = jnp.linalg.qr(moved)
        return (h, directions), jnp.log(jnp.abs(jnp.diagonal(upper, axis1=1, axis2=2)))

    # Random directions: along an axis, units that see only themselves would never leave it.
    directions = jax.random.normal(jax.random.key(0), (size, size), start.dtype)[:, :count]
    directions = jnp.broadcast_to(jnp.linalg.qr(directions)[0], (batch_size, size, count))
    xs = swap_time(jax.tree.map(jnp.asarray, xs))
    _, growth = jax.lax.scan(body, (start, directions), xs)
    return jnp.mean(growth[skip:], axis=0)
