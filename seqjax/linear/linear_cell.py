"""Cells whose recurrence is linear in the state, so that it need not be stepped."""

import abc
from typing import Any, final

import jax

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.core.cell import ALL
from seqjax.core.products import add_bias, dot
from seqjax.core.steps import Steps
from seqjax.core.windows import split_time
from seqjax.linear.linear_scan import METHODS, Method, linear_scan
from seqjax.linear.pairs import add, multiply


class LinearCell(Spec, abc.ABC):
    """A cell whose next state is linear in the present one, unit by unit.

        zₜ = project(xₜ);   aₜ, bₜ = coefficients(zₜ);   hₜ = aₜ ⊙ hₜ₋₁ + bₜ;   yₜ = output(hₜ, zₜ)

    Write `coefficients` and `output` (and `project`, where it is not x w_x + b) and get both forms:
    `step`, and an `unroll` whose only loop over time is `linear_scan`. Martin and Cundy 2018.

    x is [B, D], z a tree of [B, ...]; the carry is h [B, ...], in at least float32, or a `Complex`
    of two such arrays. A spec has a field `method`, as in `linear_scan`, and may have a field
    `remat`, the steps whose coefficients and states are kept, where these are larger than z.

    Raises:
      TypeError: if a subclass leaves a method out.
      ValueError: in `unroll`, if method is none of `linear_scan`'s; in a step, if inputs are not
        floats [..., D].

    Example:
      >>> import jax.numpy as jnp
      >>> class Average(LinearCell):
      ...     def init(self, key, input_size):
      ...         return jnp.full(input_size, 0.9)
      ...     def initial_carry(self, params, batch_size, key=None):
      ...         return jnp.zeros((batch_size, *params.shape))
      ...     def project(self, params, xs):
      ...         return xs
      ...     def coefficients(self, params, zs):
      ...         return params, (1 - params) * zs
      ...     def output(self, params, h, z):
      ...         return h
      >>> cell = Average()
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params, 3), jnp.ones((3, 5, 2)))
      >>> carry.shape, round(float(ys[0, 1, 0]), 2)
      ((3, 2), 0.19)
    """

    method: Method = "auto"
    remat: int | None = None

    @abc.abstractmethod
    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws params for inputs [..., input_size]."""

    @abc.abstractmethod
    def initial_carry(self, params: Any, batch_size: int, key: jax.Array | None = None) -> Any:
        """The state before the first step, [B, ...]."""

    def project(self, params: Any, xs: jax.Array) -> Any:
        """What needs no state, for all steps at once: [..., D] -> [..., N]; here x w_x + b.

        Raises:
          ValueError: if xs is not floats [..., D].
        """
        return add_bias(dot("xs", xs, params.w_x), params.b)

    @abc.abstractmethod
    def coefficients(self, params: Any, zs: Any) -> tuple[Any, Any]:
        """a, which broadcasts to b, and b [..., H] of the recurrence, from projected inputs."""

    @abc.abstractmethod
    def output(self, params: Any, h: Any, z: Any) -> jax.Array:
        """The outputs [..., H] that go with states and projected inputs."""

    @final
    def step(self, params: Any, carry: Any, x: jax.Array) -> tuple[Any, Any]:
        """One step: (carry, x [B, D]) -> (carry, y [B, H])."""
        return step_linear(self, params, carry, self.project(params, x))

    @final
    def unroll(self, params: Any, carry: Any, xs: jax.Array, steps: Steps = ALL) -> tuple[Any, Any]:
        """Over time: (carry, xs [B, T, D], which steps) -> (carry, ys [B, T, H])."""
        checks.vectors(xs)
        zs = self.project(params, steps.zero_padding(xs))
        carry, ys = unroll_linear(self, params, carry, zs, steps)
        return carry, steps.zero_padding(ys)


def check_method(method: Any) -> None:
    """Raises ValueError unless a spec's field `method` is one of `linear_scan`."""
    checks.one_of("method", method, METHODS)


def step_linear(cell: Any, params: Any, h: Any, z: Any) -> tuple[Any, Any]:
    """One step of a cell with `coefficients` and `output`: (h, z) [B, ...] -> (h, y)."""
    a, b = cell.coefficients(params, z)
    h = add(multiply(a, h), b)
    return h, cell.output(params, h, z)


def unroll_linear(cell: Any, params: Any, h: Any, zs: Any, steps: Steps) -> tuple[Any, Any]:
    """`step_linear` over zs [B, T, ...]; what stands in ys at padding is arbitrary."""

    def block(shared, h, inputs):
        (params, initial), (zs, mask, reset) = shared, inputs
        a, b = cell.coefficients(params, zs)
        how = {"mask": mask, "reset": reset, "initial": initial, "method": cell.method}
        h, hs = linear_scan(a, b, h, **how)
        return h, cell.output(params, hs, zs)

    if cell.remat is not None:
        block = split_time(jax.checkpoint(block, prevent_cse=False), cell.remat)
    return block((params, steps.initial), h, (zs, steps.mask, steps.reset))
