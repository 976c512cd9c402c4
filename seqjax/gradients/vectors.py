"""Params, and the floats of a carry, as one vector each in at least float32."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks, trees
from seqjax._internal.types import Carry, Params, Tree
from seqjax.core.products import accumulator
from seqjax.core.scan import strong
from seqjax.training.loss_functions import check_learned


class Vectors(NamedTuple):
    """Both vectors, and the way back.

    Fields:
      theta: [P], params.
      h: [N], the floats of the carry.
      rest: the carry's other leaves, with None in place of floats.
      params: [P] -> params.
      floats: [N] -> the floats of a carry.
    """

    theta: jax.Array
    h: jax.Array
    rest: Tree
    params: Callable
    floats: Callable

    @classmethod
    def of(cls, params: Params, carry: Carry) -> "Vectors":
        """Flattens both.

        Raises:
          ValueError: if params contain anything but floats, or the carry has no floats or has
            complex numbers.
        """
        params, carry = strong(params), strong(carry)
        check_learned(params, jnp.floating)
        for path, leaf in jax.tree_util.tree_flatten_with_path(carry)[0]:
            checks.require(
                checks.is_float(leaf) or not trees.is_inexact(leaf),
                f"carry{jax.tree_util.keystr(path)} is {leaf.dtype}; expected real numbers, "
                "such as a Complex pair of them.",
            )
        floats = trees.inexact(carry)
        checks.require(
            bool(jax.tree.leaves(floats)) and bool(jax.tree.leaves(params)),
            "params or carry has no floats; expected some in both, as a derivative is carried "
            "forward. Without a state use jax.value_and_grad.",
        )
        theta, to_params = ravel(params)
        h, to_floats = ravel(floats)
        return cls(theta, h, trees.exact(carry), to_params, to_floats)

    def carry(self, h: jax.Array, rest: Tree) -> Carry:
        """The carry with floats h [N] and the other leaves."""
        return trees.merge(self.floats(h), rest)

    def function(self, call: Callable, rest: Tree) -> Callable:
        """A window's call (params, carry) -> (loss, carry) as (theta, h) -> ((loss, h), rest)."""

        def one(theta, h):
            loss, after = call(self.params(theta), self.carry(h, rest))
            return (loss, ravel(trees.inexact(after))[0]), trees.exact(after)

        return one


def ravel(tree: Tree) -> tuple[jax.Array, Callable]:
    """All floats of a tree as one vector in their widest dtype, and the way back."""
    leaves, structure = jax.tree.flatten(tree)
    wide = max((accumulator(leaf.dtype) for leaf in leaves), key=lambda dtype: dtype.itemsize)
    ends = [sum(leaf.size for leaf in leaves[: i + 1]) for i in range(len(leaves) - 1)]
    forms = [(leaf.shape, leaf.dtype) for leaf in leaves]

    def back(vector):
        parts = zip(jnp.split(vector, ends), forms, strict=True)
        return jax.tree.unflatten(structure, [a.reshape(s).astype(d) for a, (s, d) in parts])

    return jnp.concatenate([leaf.reshape(-1).astype(wide) for leaf in leaves]), back
