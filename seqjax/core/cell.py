"""What a cell is.

Notation, here and in every docstring of the package:
  B batch · T time · S memory length · D input size · H hidden size · P projection size
  V vocabulary · K beams · L decoded length
  xₜ input · hₜ state · yₜ output · ⊙ elementwise product · σ logistic function
"""

import abc
from typing import Any, Protocol, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.core.steps import Steps

ALL = Steps()  # every step is real, and none begins again


class Cell(Protocol):
    """A frozen spec with pure methods over plain pytrees.

    Configuration lives in the spec, numbers in `params`, the past in `carry`. A class of one's
    own with these three methods is a cell; `seqjax.testing.check_cell` proves that it keeps the
    contract. One that also has an `unroll(params, carry, xs, steps)` is a `SequenceCell`.

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

    Its `unroll` owes what stepping gives: it obeys `steps`, whose methods say each rule.

        xs [B, T, ...], leaves of the carry [B, ...] -> carry, ys [B, T, ...]

    Such forms: Appleyard, Kočiský and Blunsom 2016 (input products of all steps at once); Martin
    and Cundy 2018 (linear recurrences in parallel).

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> class Double:
      ...     def init(self, key, input_size):
      ...         return ()
      ...     def initial_carry(self, params, batch_size, key=None):
      ...         return ()
      ...     def step(self, params, carry, x):
      ...         return carry, 2 * x
      ...     def unroll(self, params, carry, xs, steps):
      ...         return carry, 2 * steps.zero_padding(xs)
      >>> carry, ys = sj.unroll(Double(), (), jnp.ones((2, 3, 1)), lengths=jnp.array([3, 1]))
      >>> ys[..., 0].tolist()
      [[2.0, 2.0, 2.0], [2.0, 0.0, 0.0]]
    """

    def unroll(self, params: Any, carry: Any, xs: Any, steps: Steps) -> tuple[Any, Any]:
        """(carry, xs [B, T, ...], which steps) -> (carry, ys [B, T, ...])."""
        ...


class Composite(Spec, abc.ABC):
    """A cell made of cells, which are its `members`. With an encoder among them it is one too.

    Its `unroll` runs each member by `core.run(member, params, carry, xs, steps.member(select))`,
    leaves of a carry [B, ...], xs [B, T, ...].

    Graves, Mohamed and Hinton 2013, section 2, for a stack of recurrent layers.

    Raises:
      TypeError: if a subclass does not name its members.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.Residual(sj.GRU(4))
      >>> cell.members == (sj.GRU(4),)
      True
    """

    @property
    @abc.abstractmethod
    def members(self) -> tuple[Any, ...]:
        """The cells inside."""


class Encoder(Composite, doors=("initial_carry", "unroll")):
    """A cell that reads whole sequences: it has an `unroll`, and cannot be stepped.

    One that runs other cells names them as its `members`, so that `remat` and `truncate` of an
    unroll reach them.

    Schuster and Paliwal 1997, for networks whose output at a step depends on later ones.

        xs [B, T, ...], leaves of the carry [B, ...] -> carry, ys [B, T, ...]

    Raises:
      TypeError: if a subclass leaves a method out.
      ValueError: from `step`, always.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> class Mean(Encoder):
      ...     def init(self, key, input_size):
      ...         return ()
      ...     def initial_carry(self, params, batch_size, key=None):
      ...         return ()
      ...     def unroll(self, params, carry, xs, steps):
      ...         mean = steps.zero_padding(xs).mean(axis=1, keepdims=True)
      ...         return carry, steps.zero_padding(jnp.broadcast_to(mean, xs.shape))
      >>> sj.unroll(Mean(), (), jnp.array([[[1.0], [3.0]]]))[1][..., 0].tolist()
      [[2.0, 2.0]]
    """

    @abc.abstractmethod
    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws params for inputs [..., input_size]."""

    @abc.abstractmethod
    def initial_carry(self, params: Any, batch_size: int, key: jax.Array | None = None) -> Any:
        """The carry before a run, leaves [B, ...]."""

    @abc.abstractmethod
    def unroll(self, params: Any, carry: Any, xs: Any, steps: Steps) -> tuple[Any, Any]:
        """(carry, xs [B, T, ...], which steps) -> (carry, ys [B, T, ...])."""

    @property
    def members(self) -> tuple[Any, ...]:
        """The cells inside; here none."""
        return ()

    @final
    def step(self, params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        """There is none, for x [B, ...].

        Raises:
          ValueError: always.
        """
        raise ValueError(
            f"{type(self).__name__} cannot be stepped: its output at a step depends on the steps "
            "after it. Run it with unroll, or use its cell alone where inputs come one at a time."
        )


def is_encoder(cell: Any) -> bool:
    """Whether a cell reads whole sequences, so that it cannot be stepped."""
    return isinstance(cell, Encoder) or any(map(is_encoder, members_of(cell)))


def members_of(cell: Any) -> tuple[Any, ...]:
    """The cells inside a `Composite`; of any other cell none."""
    return cell.members if isinstance(cell, Composite) else ()


def check_steppable(name: str, cell: Any, remedy: str = "Run it with unroll.") -> None:
    """Raises ValueError, with a remedy, if a cell, called `name`, is or holds an encoder."""
    inner = next((member for member in members_of(cell) if is_encoder(member)), None)
    inside = "" if inner is None else f", in which {type(inner).__name__} is"
    checks.require(
        not is_encoder(cell),
        f"{name} is {type(cell).__name__}{inside or ','} an encoder, which reads whole sequences "
        f"and cannot be stepped. {remedy}",
    )


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
        ok and hasattr(cell, "step"),
        f"{name} is {cell!r}; expected a cell: an object with init, initial_carry and step, or one "
        "of a class that derives from core.Encoder.",
    )


def example_inputs(cell: Any, input_size: int) -> Any:
    """Zeros of B = T = 1 as a cell reads them: [1, 1, D], or its own `example_inputs(D)`."""
    own = getattr(cell, "example_inputs", None)
    return jnp.zeros((1, 1, input_size)) if own is None else own(input_size)
