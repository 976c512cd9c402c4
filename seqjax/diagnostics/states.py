"""A cell's state as one vector a row, for derivatives with respect to it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.types import Carry, Params
from seqjax.core.cell import check_cell_like
from seqjax.core.layout import Layout
from seqjax.core.scan import check_batch


def packed_start(
    cell: Any, params: Params, batch_size: int, carry: Carry | None
) -> tuple[Layout, jax.Array, Callable]:
    """The layout of a carry, its first value as [B, N], and the step (h [B, N], x) -> h [B, N].

    Raises:
      ValueError: if cell is not a cell, or its carry is empty, not [B, ...], or not floats only.
    """
    check_cell_like("cell", cell)
    carry = cell.initial_carry(params, batch_size) if carry is None else carry
    carry = jax.tree.map(jnp.asarray, carry)
    check_batch("carry", carry, batch_size)
    for path, leaf in jax.tree_util.tree_flatten_with_path(carry)[0]:
        checks.require(
            checks.is_float(leaf),
            f"carry{jax.tree_util.keystr(path)} is {leaf.dtype}; expected floats, which have "
            "derivatives. Start a stochastic cell without a key.",
        )
    checks.require(
        bool(jax.tree.leaves(carry)), "the carry is empty; expected a cell that has a state."
    )
    layout = Layout.of(carry, "dense")

    def step(h, x):
        return layout.pack(cell.step(params, layout.unpack(h[:, None]), x)[0])[:, 0]

    return layout, layout.pack(carry)[:, 0], step
