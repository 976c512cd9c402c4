"""What a cell is, and the two ways of running one over time.

Notation, here and in every docstring of the package:
  B batch · T time · S memory length · D input size · H hidden size · P projection size
  V vocabulary · K beams · L decoded length
  xₜ input · hₜ state · yₜ output · ⊙ elementwise product · σ logistic function
"""

import abc
import inspect
from typing import Any, Protocol, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.core.deferred import recur_over_time
from seqjax.core.products import Affine, add_bias, affine, dot
from seqjax.core.scan import Reset, scan, swap_time, zero_rows


class Cell(Protocol):
    """A frozen spec with pure methods over plain pytrees.

    Configuration lives in the spec, numbers in `params`, the past in `carry`. A class of one's
    own with these three methods is a cell; `seqjax.testing.check_cell` proves that it keeps the
    contract. With an `unroll(params, carry, xs, mask)` besides, it is a `SequenceCell`.

        hₜ, yₜ = step(hₜ₋₁, xₜ),   leaves of h [B, ...], x [B, D], y [B, ...]

    Goodfellow et al. 2016, section 10.1.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> class Total:
      ...     def init(self, key, input_size):
      ...         return ()
      ...     def initial_carry(self, params, batch_size, key=None):
      ...         return jnp.zeros((batch_size, 2))
      ...     def step(self, params, carry, x):
      ...         return carry + x, carry + x
      >>> carry, ys = sj.unroll(Total(), (), jnp.ones((3, 5, 2)))
      >>> ys.shape, carry[0].tolist()
      ((3, 5, 2), [5.0, 5.0])
    """

    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws params for inputs [..., input_size]."""
        ...

    def initial_carry(self, params: Any, batch_size: int, key: jax.Array | None = None) -> Any:
        """The carry before the first step; every leaf is [B, ...].

        With a key (or [B] keys) a stochastic cell puts `Noise.from_key(key, batch_size)` into its
        carry; without one it is its deterministic self.
        """
        ...

    def step(self, params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        """One step: (carry, x [B, D]) -> (carry, y [B, ...])."""
        ...


class SequenceCell(Cell, Protocol):
    """A cell with the same recurrence over a whole sequence, equal to its steps and faster.

    Its `unroll` owes what stepping gives: masked inputs are zeroed before they are used, the carry
    is held there and ys are 0. `reset` may be left out; there, the cell is stepped.

        xs [B, T, ...], mask [B, T], leaves of the carry [B, ...] -> carry, ys [B, T, ...]

    Such forms: Appleyard, Kočiský and Blunsom 2016 (input products of all steps at once); Martin
    and Cundy 2018 (linear recurrences in parallel).

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> class Total:
      ...     def init(self, key, input_size):
      ...         return ()
      ...     def initial_carry(self, params, batch_size, key=None):
      ...         return jnp.zeros((batch_size, 2))
      ...     def step(self, params, carry, x):
      ...         return carry + x, carry + x
      ...     def unroll(self, params, carry, xs, mask):
      ...         real = jnp.ones(xs.shape[:2], bool) if mask is None else mask
      ...         xs = jnp.where(real[..., None], xs, 0)
      ...         ys = carry[:, None] + jnp.cumsum(xs, axis=1)
      ...         return carry + jnp.sum(xs, axis=1), jnp.where(real[..., None], ys, 0)
      >>> carry, ys = sj.unroll(Total(), (), jnp.ones((2, 3, 2)), lengths=jnp.array([3, 1]))
      >>> ys[..., 0].tolist(), carry[:, 0].tolist()
      ([[1.0, 2.0, 3.0], [1.0, 0.0, 0.0]], [3.0, 1.0])
    """

    def unroll(
        self, params: Any, carry: Any, xs: Any, mask: Any, reset: Reset | None = None
    ) -> tuple[Any, Any]:
        """(carry, xs [B, T, ...], mask [B, T] or None) -> (carry, ys [B, T, ...])."""
        ...


class EncoderError(ValueError, AttributeError):
    """Raised when an encoder, which reads whole sequences, is asked to take one step.

    It is an AttributeError too: an encoder is a cell without the attribute `step`.
    """


def run(
    cell: Any, params: Any, carry: Any, xs: Any, mask=None, reset: Reset | None = None
) -> tuple[Any, Any]:
    """Runs a cell over xs [B, T, ...] by its `unroll` where it has one, else step by step.

    Composite cells run their members with it. A cell whose `unroll` takes no `reset` is stepped
    when there is one.
    """
    if hasattr(cell, "unroll"):
        if reset is None:
            return cell.unroll(params, carry, xs, mask)
        if takes(cell.unroll, "reset"):
            return cell.unroll(params, carry, xs, mask, reset=reset)
        checks.require(
            hasattr(cell, "step"),
            f"reset was given but {type(cell).__name__}, an encoder, has an unroll that takes "
            "none; give it a reset argument.",
        )
    return run_steps(cell, params, carry, xs, mask, reset)


def run_steps(cell: Any, params: Any, carry: Any, xs: Any, mask=None, reset: Reset | None = None):
    """Runs a cell over xs [B, T, ...] by its `step`: the definition that `unroll` must equal."""
    flags, initial = reset or (None, None)
    step = lambda carry, x: cell.step(params, carry, x)
    return scan(step, carry, xs, mask=mask, reset=flags, initial=initial)


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
    def unroll(
        self, params: Any, carry: Any, xs: jax.Array, mask=None, reset: Reset | None = None
    ) -> tuple[Any, Any]:
        """Over time: xs [B, T, D], mask [B, T] or None -> carry, ys [B, T, H]."""
        checks.vectors(xs)
        if mask is not None:
            xs = zero_rows(mask, xs)
        flags, initial = reset or (None, carry)
        xs, mask, flags = swap_time(xs), swap_time(mask), swap_time(flags)
        offset = None
        if type(self).project is RecurrentCell.project:
            zs, offset = dot("xs", xs, params.w_x), params.b  # [T, B, N], [N]
        else:
            zs = self.project(params, xs)
        how = (mask, flags, initial, offset)
        carry, carries = recur_over_time(self.recur, params, carry, zs, *how)
        ys = jax.vmap(self.output, (None, 0))(params, carries)
        return carry, swap_time(ys if mask is None else zero_rows(mask, ys))


def check_cell_like(name: str, cell: Any) -> None:
    """Raises ValueError unless an object has what a cell or an encoder must have."""
    shape = getattr(cell, "shape", None)
    checks.require(
        hasattr(cell, "init") or shape is None,
        f"{name} is an array of shape {shape}; expected a cell. The order is "
        "unroll(cell, params, xs).",
    )
    ok = hasattr(cell, "init") and hasattr(cell, "initial_carry") and not isinstance(cell, type)
    checks.require(
        ok and (hasattr(cell, "step") or hasattr(cell, "unroll")),
        f"{name} is {cell!r}; expected a cell: an object with init, initial_carry and step.",
    )


def example_inputs(cell: Any, input_size: int) -> Any:
    """Zeros of B = T = 1 as a cell reads them: [1, 1, D], or its own `example_inputs(D)`."""
    own = getattr(cell, "example_inputs", None)
    return jnp.zeros((1, 1, input_size)) if own is None else own(input_size)


def takes(function: Any, name: str) -> bool:
    """Whether a function has a parameter of this name."""
    return name in inspect.signature(function).parameters
