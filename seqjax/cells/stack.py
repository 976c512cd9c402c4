"""Cells on top of each other."""

from dataclasses import dataclass
from typing import Any, final

import jax

from seqjax._internal import checks
from seqjax.core.cell import ALL, Composite, check_cell_like, check_steppable, example_inputs
from seqjax.core.noise import fold_in
from seqjax.core.run import run
from seqjax.core.steps import Steps


@final
@dataclass(frozen=True)
class Stack(Composite):
    """Cells in series: the outputs of one are the inputs of the next.

        hⁱₜ, yⁱₜ = cellᵢ(hⁱₜ₋₁, yⁱ⁻¹ₜ),   y⁰ₜ = xₜ,   yₜ of the stack is that of the last cell

    Graves, Mohamed and Hinton 2013, section 2.

    Params and carry are plain tuples, one entry a member. Members map [B, T, D] floats to an array
    [B, T, N] of any width; embed tokens before. With an encoder among them the stack is an
    encoder too and has no `step`.

    Attributes:
      cells: the members, first to last.

    Raises:
      ValueError: if there is no member, or one is not a cell; otherwise as the members.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.Stack((sj.LSTM(4), sj.Dropout(0.5), sj.GRU(3)))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, ys = sj.unroll(cell, params, jnp.ones((2, 5, 2)), key=jax.random.key(1))
      >>> ys.shape
      (2, 5, 3)
    """

    cells: tuple[Any, ...]

    def __post_init__(self):
        checks.require(
            isinstance(self.cells, (tuple, list)),
            f"cells is {self.cells!r}; expected a tuple of cells, as in Stack((cell,)).",
        )
        object.__setattr__(self, "cells", tuple(self.cells))
        checks.require(bool(self.cells), "cells is empty; expected at least one cell.")
        for index, cell in enumerate(self.cells):
            check_cell_like(f"cells[{index}]", cell)

    def init(self, key: jax.Array, input_size: int) -> tuple[Any, ...]:
        """Draws each member's params, each for the width of the one before; the first reads D."""
        params, size = [], input_size
        for index, cell in enumerate(self.cells):
            params.append(cell.init(jax.random.fold_in(key, index), size))
            size = output_size(cell, params[-1], size)
        return tuple(params)

    def example_inputs(self, input_size: int) -> Any:
        """The first member's, B = T = 1."""
        return example_inputs(self.cells[0], input_size)

    def initial_carry(self, params: Any, batch_size: int, key=None) -> tuple[Any, ...]:
        """Each member's carry, leaves [B, ...]; member i's noise is from `fold_in(key, i)`."""
        return tuple(
            cell.initial_carry(p, batch_size, fold_in(key, index))
            for index, (cell, p) in enumerate(zip(self.cells, params, strict=True))
        )

    @property
    def members(self) -> tuple[Any, ...]:
        """The cells."""
        return self.cells

    def step(self, params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        """One step through all members: (carry, x [B, D]) -> (carry, y [B, N]).

        Raises:
          ValueError: if a member is an encoder.
        """
        check_steppable("cell", self)
        new = []
        for cell, p, c in zip(self.cells, params, carry, strict=True):
            c, x = cell.step(p, c, x)
            new.append(c)
        return tuple(new), x

    def unroll(self, params: Any, carry: Any, xs: Any, steps: Steps = ALL) -> tuple[Any, Any]:
        """Layer by layer: each member over the whole sequence in its fastest form.

        (carry, xs [B, T, D], which steps) -> (carry, ys [B, T, N]).
        """
        new = []
        for index, cell in enumerate(self.cells):
            own = steps.member(lambda carry: carry[index])  # noqa: B023
            c, xs = run(cell, params[index], carry[index], xs, own)
            new.append(c)
        return tuple(new), xs


@final
@dataclass(frozen=True)
class Residual(Composite):
    """Adds a cell's inputs to its outputs: y = x + cell(x). He et al. 2016; Wu et al. 2016.

    Inputs and outputs are [B, T, D]. Params and carry are the wrapped cell's.

    Attributes:
      cell: any cell or encoder whose outputs are as wide as its inputs.

    Raises:
      ValueError: if cell is not a cell; from `init` on, if the widths differ; otherwise as the
        wrapped cell.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.Residual(sj.GRU(3))
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> carry, ys = sj.unroll(cell, params, jnp.ones((2, 5, 3)))
      >>> ys.shape
      (2, 5, 3)
    """

    cell: Any

    def __post_init__(self):
        check_cell_like("cell", self.cell)

    def init(self, key: jax.Array, input_size: int) -> Any:
        """Draws the wrapped cell's params for inputs [..., D].

        Raises:
          ValueError: if the cell does not put out D for inputs of width D.
        """
        params = self.cell.init(key, input_size)
        self._check(output_size(self.cell, params, input_size), input_size)
        return params

    def example_inputs(self, input_size: int) -> Any:
        """The wrapped cell's, B = T = 1."""
        return example_inputs(self.cell, input_size)

    def initial_carry(self, params: Any, batch_size: int, key=None) -> Any:
        """The wrapped cell's, leaves [B, ...]."""
        return self.cell.initial_carry(params, batch_size, key)

    @property
    def members(self) -> tuple[Any, ...]:
        """The wrapped cell."""
        return (self.cell,)

    def step(self, params: Any, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        """One step: (carry, x [B, D]) -> (carry, x + y [B, D]).

        Raises:
          ValueError: if the wrapped cell is an encoder.
        """
        check_steppable("cell", self)
        carry, y = self.cell.step(params, carry, x)
        return carry, self._add(x, y)

    def unroll(
        self, params: Any, carry: Any, xs: jax.Array, steps: Steps = ALL
    ) -> tuple[Any, jax.Array]:
        """The wrapped cell over the whole sequence, plus its inputs where they are real.

        (carry, xs [B, T, D], which steps) -> (carry, ys [B, T, D]).
        """
        xs = steps.zero_padding(xs)
        carry, ys = run(self.cell, params, carry, xs, steps)
        return carry, self._add(xs, ys)

    def _add(self, x: jax.Array, y: jax.Array) -> jax.Array:
        self._check(y.shape[-1], x.shape[-1])
        return x.astype(y.dtype) + y

    def _check(self, output: int, inputs: int) -> None:
        checks.require(
            output == inputs,
            f"{type(self.cell).__name__} puts out width {output} for inputs of width {inputs}; "
            "a Residual needs them equal. Put a cell of another width in a Stack outside it.",
        )


def output_size(cell: Any, params: Any, input_size: int) -> int:
    """The width of a cell's outputs, found without computing any."""

    def outputs(params):
        xs = example_inputs(cell, input_size)
        return run(cell, params, cell.initial_carry(params, 1), xs)[1]

    return jax.eval_shape(outputs, params).shape[-1]
