"""Cells whose input enters by a projection: fast over time, from two methods and no loop."""

import abc
from typing import Any, final

import jax

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.core.cell import ALL
from seqjax.core.deferred import recur_over_time
from seqjax.core.products import Affine, add_bias, affine, dot
from seqjax.core.steps import Steps, swap_time


class RecurrentCell(Spec, abc.ABC):
    """A cell whose input enters by a projection and whose output is read off its carry.

        zₜ = project(xₜ),  hₜ = recur(hₜ₋₁, zₜ),  yₜ = output(hₜ)

    Write `recur` and `output` (and `project`, where it is not x w_x + b) and get both forms:
    `step`, and an `unroll` that projects all steps in one large product before the loop and sums
    the gradient of each weight in one after it. This is what makes a gated cell fast, one's own
    included. Appleyard, Kočiský and Blunsom 2016.

    x is [B, D], z [B, N], y [B, H]; leaves of the carry are [B, ...].

    Raises:
      TypeError: if a subclass leaves a method out.
      ValueError: in a step, if `project` is not overridden and inputs are not floats [..., D].

    Example:
      >>> import jax.numpy as jnp
      >>> class Leaky(RecurrentCell):
      ...     def init(self, key, input_size):
      ...         return jax.random.normal(key, (input_size + 4, 4))
      ...     def initial_carry(self, params, batch_size, key=None):
      ...         return jnp.zeros((batch_size, 4))
      ...     def project(self, params, xs):
      ...         return xs @ params[4:]
      ...     def recur(self, params, carry, z, affine):
      ...         return 0.9 * carry + 0.1 * jnp.tanh(affine(carry, params[:4], z))
      ...     def output(self, params, carry):
      ...         return carry
      >>> cell = Leaky()
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params, 3), jnp.ones((3, 5, 2)))
      >>> carry.shape, ys.shape
      ((3, 4), (3, 5, 4))
    """

    @abc.abstractmethod
    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws params for inputs [..., input_size]."""

    @abc.abstractmethod
    def initial_carry(self, params: Any, batch_size: int, key: jax.Array | None = None) -> Any:
        """The carry before the first step, leaves [B, ...]."""

    def project(self, params: Any, xs: Any) -> Any:
        """What needs no state, for all steps at once: [..., D] -> [..., N]; here x w_x + b.

        Raises:
          ValueError: if xs is not floats [..., D].
        """
        return add_bias(dot("xs", xs, params.w_x), params.b)

    @abc.abstractmethod
    def recur(self, params: Any, carry: Any, z: Any, affine: Affine) -> Any:
        """The next carry, leaves [B, ...], from the present one and a projected input z [B, N].

        `affine(x, w, b)` is x w + b, x [B, N], w [N, M] made from params alone, b [B, M], [M] or
        None. `unroll` keeps its results for the backward pass, which computes the rest again, and
        sums the gradient of w in one product over all steps. Other uses of params are right too,
        and slower.
        """

    @abc.abstractmethod
    def output(self, params: Any, carry: Any) -> Any:
        """The output [B, H] that goes with a carry."""

    @final
    def step(self, params: Any, carry: Any, x: jax.Array) -> tuple[Any, Any]:
        """One step: (carry, x [B, D]) -> (carry, y [B, H])."""
        carry = self.recur(params, carry, self.project(params, x), affine)
        return carry, self.output(params, carry)

    @final
    def unroll(self, params: Any, carry: Any, xs: jax.Array, steps: Steps = ALL) -> tuple[Any, Any]:
        """Over time: (carry, xs [B, T, D], which steps) -> (carry, ys [B, T, H])."""
        checks.vectors(xs)
        xs = swap_time(steps.zero_padding(xs))
        if type(self).project is RecurrentCell.project:
            zs, offset = dot("xs", xs, params.w_x), params.b  # [T, B, N], [N]
        else:
            zs, offset = self.project(params, xs), None
        carry, carries = recur_over_time(self.recur, params, carry, zs, steps, offset)
        ys = jax.vmap(self.output, (None, 0))(params, carries)
        return carry, steps.zero_padding(swap_time(ys))
