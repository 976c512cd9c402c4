"""Params and the floats of a carry as one vector each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.flatten_util import ravel_pytree

from seqjax import _checks, _trees
from seqjax.scan import strong


class Vectors(NamedTuple):
    """Both vectors, and the way back.

    Fields:
      theta: [P], of params.
      h: [N], of the floats of the carry.
      rest: the carry's other leaves, None in place of floats.
      params: [P] -> params.
      floats: [N] -> the floats of a carry.
    """

    theta: jax.Array
    h: jax.Array
    rest: Any
    params: Callable
    floats: Callable

    @classmethod
    def of(cls, params: Any, carry: Any) -> "Vectors":
        """Flattens both.

        Raises:
          ValueError: if params hold anything but floats, or the carry none or complex numbers.
        """
        params, carry = strong(params), strong(carry)
        check_params(params)
        for path, leaf in jax.tree_util.tree_flatten_with_path(carry)[0]:
            _checks.require(
                _checks.is_float(leaf) or not _trees.is_inexact(leaf),
                f"carry{jax.tree_util.keystr(path)} is {leaf.dtype}; expected real numbers, "
                "such as a Complex pair of them.",
            )
        floats = _trees.inexact(carry)
        _checks.require(
            bool(jax.tree.leaves(floats)) and bool(jax.tree.leaves(params)),
            "params or carry holds no floats; expected some in both: without a state there is "
            "nothing to carry forward.",
        )
        theta, to_params = ravel_pytree(params)
        h, to_floats = ravel_pytree(floats)
        return cls(theta, h, _trees.exact(carry), to_params, to_floats)

    def carry(self, h: jax.Array, rest: Any) -> Any:
        """The carry of its floats [N] and its other leaves."""
        return _trees.merge(self.floats(h), rest)

    def function(self, call: Callable, rest: Any) -> Callable:
        """(theta, h) -> ((loss, h), rest) of a window's call (params, carry) -> (loss, carry)."""

        def one(theta, h):
            loss, after = call(self.params(theta), self.carry(h, rest))
            return (loss, ravel_pytree(_trees.inexact(after))[0]), _trees.exact(after)

        return one


def check_params(params: Any) -> None:
    """Raises ValueError if params hold anything but floats."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(strong(params))[0]:
        _checks.require(
            _checks.is_float(leaf),
            f"params{jax.tree_util.keystr(path)} is {leaf.dtype}; expected floats only. Close over "
            "what is not learned.",
        )
