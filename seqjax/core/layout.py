"""A carry as blocks of numbers, each of which a step's Jacobian couples with itself."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.products import accumulator

Kind = Literal["dense", "diagonal", "units"]


@dataclass(frozen=True)
class Layout:
    """How carries, leaves [..., *shape], are packed into [..., U, k]: U blocks of k numbers.

    Attributes:
      structure: of the carry.
      shapes: of its leaves, without the leading axes.
      dtypes: of its leaves.
      kind: "dense" (one block of everything), "diagonal" (blocks of one number) or "units" (a
        block for each unit, of its numbers in all leaves).
    """

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    kind: Kind

    @classmethod
    def of(cls, carry: Any, kind: Kind) -> "Layout":
        """The layout of a carry, leaves [B, ...].

        Raises:
          ValueError: if a leaf holds no floats, or the leaves of "units" differ in shape.
        """
        for path, leaf in jax.tree_util.tree_flatten_with_path(carry)[0]:
            checks.require(
                checks.is_float(leaf),
                f"carry{jax.tree_util.keystr(path)} is {leaf.dtype}; expected floats, of which "
                "Newton's method needs the derivatives. Run this cell by unroll.",
            )
        leaves, structure = jax.tree.flatten(carry)
        shapes = tuple(leaf.shape[1:] for leaf in leaves)
        checks.require(
            bool(leaves), "the carry is empty; expected a cell with a state. Run it by unroll."
        )
        checks.require(
            kind != "units" or len(set(shapes)) == 1,
            f"the carry's leaves have shapes {checks.describe(carry)}; block-newton expects one "
            "shape, a number of each unit in every leaf. Use method='newton'.",
        )
        return cls(structure, shapes, tuple(leaf.dtype for leaf in leaves), kind)

    def pack(self, carry: Any) -> jax.Array:
        """Leaves [..., *shape] as one array [..., U, k], in at least float32."""
        dtype = jnp.result_type(*[accumulator(dtype) for dtype in self.dtypes])
        rows = []
        for leaf, shape in zip(jax.tree.leaves(carry), self.shapes, strict=True):
            lead = leaf.shape[: leaf.ndim - len(shape)]
            rows.append(leaf.reshape(*lead, math.prod(shape)).astype(dtype))
        if self.kind == "units":
            return jnp.stack(rows, axis=-1)
        packed = jnp.concatenate(rows, axis=-1)
        return packed[..., None, :] if self.kind == "dense" else packed[..., :, None]

    def unpack(self, packed: jax.Array) -> Any:
        """The carry of an array [..., U, k], in its own dtypes."""
        lead, sizes = packed.shape[:-2], [math.prod(shape) for shape in self.shapes]
        if self.kind == "units":
            rows = [packed[..., i] for i in range(len(sizes))]
        else:
            ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
            rows = jnp.split(packed.reshape(*lead, sum(sizes)), ends, axis=-1)
        leaves = [
            row.reshape(*lead, *shape).astype(dtype)
            for row, shape, dtype in zip(rows, self.shapes, self.dtypes, strict=True)
        ]
        return jax.tree.unflatten(self.structure, leaves)
