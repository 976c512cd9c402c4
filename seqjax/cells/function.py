"""A function without params, as a cell."""

from dataclasses import dataclass
from typing import Any, final

import jax

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.cells.activations import Activation, activation_function, named_activation
from seqjax.core.cell import ALL
from seqjax.core.steps import Steps


@final
@dataclass(frozen=True)
class Lambda(Spec):
    """Applies a function to each step's input: y = f(x).

    For what stands between two members of a `Stack` and learns nothing: the nonlinearity between
    two `S5` or `LRU` layers, a scale, a choice of channels. It has no params, `()`, and its carry
    is `()`, for any batch [B]. The like of it in Keras and Equinox has the same name.

    The function works on the last axis, x [..., D] to y [..., N], and gets one step [B, D] or all
    of them [B, T, D]. A function of `jax.nn` goes by name, so that the spec can be read back from
    its repr; another one has to be equal to itself in a later run for specs to be equal.

    Goodfellow et al. 2016, section 6.3, for such functions.

    Attributes:
      function: a name in `jax.nn` ("gelu", "relu", ...) or any function of arrays.

    Raises:
      ValueError: if function is no name in `jax.nn` and no function, or in an unroll if it does
        not keep the axes [B, T] of its input.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.Stack((sj.linear.S5(4), sj.cells.Lambda("gelu"), sj.linear.S5(3)))
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, ys = sj.unroll(cell, params, jnp.ones((2, 5, 2)))
      >>> ys.shape, params[1]
      ((2, 5, 3), ())
    """

    function: Activation

    def __post_init__(self):
        object.__setattr__(self, "function", named_activation(self.function, "function"))

    def init(self, key: jax.Array, input_size: int) -> tuple[()]:
        """No params, whatever the width of the inputs [..., D]."""
        return ()

    def initial_carry(self, params: Any, batch_size: int, key=None) -> tuple[()]:
        """Nothing."""
        return ()

    def step(self, params: Any, carry: tuple[()], x: jax.Array) -> tuple[tuple[()], jax.Array]:
        """x [B, D] -> y [B, N]."""
        return carry, activation_function(self.function)(x)

    def unroll(
        self, params: Any, carry: tuple[()], xs: jax.Array, steps: Steps = ALL
    ) -> tuple[tuple[()], jax.Array]:
        """All steps at once: (carry, xs [B, T, D], which steps) -> (carry, ys [B, T, N])."""
        ys = activation_function(self.function)(steps.zero_padding(xs))
        checks.require(
            ys.shape[:2] == xs.shape[:2],
            f"function turns {list(xs.shape)} into {list(ys.shape)}; expected [B, T, ...] to stay, "
            "as of a function of the last axis.",
        )
        return carry, steps.zero_padding(ys)
