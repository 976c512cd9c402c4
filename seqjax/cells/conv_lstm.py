"""The LSTM over images, whose products are convolutions."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.lstm import LSTMCarry, lstm_bias
from seqjax.cells.peephole import remember
from seqjax.core.products import Affine, accumulator, add_bias
from seqjax.core.recurrent import RecurrentCell
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, Orthogonal, blocks


class ConvLSTMParams(NamedTuple):
    """The params of `ConvLSTM` with N channels; gates in the order i, f, g, o.

    Fields:
      w_x: [K, ..., C, 4N] of the inputs, a K for each spatial axis.
      w_h: [K, ..., N, 4N] of the state.
      b: [4N].
      p_i: [*shape, N] peephole of the input gate, None without peepholes.
      p_f: [*shape, N] peephole of the forget gate, or None.
      p_o: [*shape, N] peephole of the output gate, or None.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    p_i: jax.Array | None
    p_f: jax.Array | None
    p_o: jax.Array | None

    GATES = Gates("ifgo", keep="f", write="i")


@final
@dataclass(frozen=True)
class ConvLSTM(RecurrentCell):
    """The convolutional LSTM. Shi et al. 2015.

        i, f, g, o = xₜ ∗ w_x + hₜ₋₁ ∗ w_h + b
        cₜ = σ(f + p_f ⊙ cₜ₋₁) ⊙ cₜ₋₁ + σ(i + p_i ⊙ cₜ₋₁) ⊙ tanh(g)
        hₜ = σ(o + p_o ⊙ cₜ) ⊙ tanh(cₜ),   yₜ = hₜ

    ∗ is a convolution over one, two or three spatial axes (a correlation, as everywhere) with
    zeros outside, so that images keep their shape; x is [B, *shape, C], y [B, *shape, N].
    Convolutions sum in at least float32.

    strides, dilation and padding belong to the convolution of the input. With them h, c and y have
    the shape `cell.state_shape` instead of that of x. The convolution of the state keeps it.

    The carry is `LSTMCarry`, h and c [B, *state_shape, N]. Without peepholes params do not depend
    on the shape: for images of another one take `dataclasses.replace(cell, shape=...)` and the same
    params.

    Attributes:
      channels: N.
      kernel_size: K, one number for all axes or one for each.
      shape: the spatial shape of the inputs, one to three sizes.
      forget_bias: initial value of b's forget gate.
      strides: places from one product with an input to the next, one number or one for each axis.
      dilation: places from one weight of w_x to the next, likewise.
      padding: "same", zeros outside of the input, or "valid", none.
      peepholes: whether gates see the memory, by one weight a place and channel as in the paper.
        They start at 0.
      w_x_init: initialiser of each gate's [K, ..., C, N] block of w_x.
      w_h_init: initialiser of each gate's [K, ..., N, N] block of w_h.

    Raises:
      ValueError: if channels, a size of shape, kernel_size, strides or dilation, or input_size (C)
        in `init`, is not a positive integer, shape has other than one to three of them, another
        does not fit it, padding is neither of the two or leaves no place, forget_bias is not a
        finite number, or in a step if inputs are not floats [..., *shape, C].

    Example:
      >>> cell = ConvLSTM(channels=4, kernel_size=3, shape=(8, 6))
      >>> params = cell.init(jax.random.key(0), input_size=1)
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params, 2), jnp.ones((2, 5, 8, 6, 1)))
      >>> ys.shape, carry.c.shape
      ((2, 5, 8, 6, 4), (2, 8, 6, 4))
      >>> ConvLSTM(channels=4, kernel_size=3, shape=(8, 6), strides=2).state_shape
      (4, 3)
    """

    channels: int
    _: KW_ONLY
    kernel_size: int | Sequence[int]
    shape: Sequence[int]
    forget_bias: float = 1.0
    strides: int | Sequence[int] = 1
    dilation: int | Sequence[int] = 1
    padding: Literal["same", "valid"] = "same"
    peepholes: bool = False
    w_x_init: Initializer = GlorotUniform()
    w_h_init: Initializer = Orthogonal()

    def __post_init__(self):
        checks.hold_ints(self, "channels")
        checks.hold_numbers(self, "forget_bias")
        shape = _sizes("shape", self.shape)
        checks.require(
            1 <= len(shape) <= 3,
            f"shape is {self.shape!r}; expected one to three spatial sizes, batch, time and "
            "channels left out.",
        )
        object.__setattr__(self, "shape", shape)
        for name in ("kernel_size", "strides", "dilation"):
            object.__setattr__(self, name, _for_each_axis(name, getattr(self, name), shape))
        checks.one_of("padding", self.padding, ("same", "valid"))
        checks.require(
            all(size > 0 for size in self.state_shape),
            f"shape is {self.shape}, on which a kernel of {self.kernel_size} with dilation "
            f"{self.dilation} has no place; expected a larger shape, or padding='same'.",
        )

    @property
    def state_shape(self) -> tuple[int, ...]:
        """The spatial shape of h, c and y."""
        kernel, strides, dilation = self._window()
        outside = 0 if self.padding == "same" else 1
        reach = [outside * (size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
        axes = zip(self.shape, reach, strides, strict=True)
        return tuple(-(-(size - lost) // stride) for size, lost, stride in axes)

    def _window(self) -> list[tuple[int, ...]]:
        """kernel_size, strides and dilation, a number for each axis."""
        given = {name: getattr(self, name) for name in ("kernel_size", "strides", "dilation")}
        return [_for_each_axis(name, sizes, self.shape) for name, sizes in given.items()]

    def init(self, key: jax.Array, input_size: int) -> ConvLSTMParams:
        """Draws `ConvLSTMParams` for inputs [..., *shape, C]; peepholes, where any, are 0."""
        checks.positive_int("input_size", input_size)
        kernel, size = self._window()[0], self.channels
        key_x, key_h = jax.random.split(key)
        peephole = lambda: jnp.zeros((*self.state_shape, size)) if self.peepholes else None
        return ConvLSTMParams(
            w_x=blocks(self.w_x_init, key_x, (*kernel, input_size, size), 4),
            w_h=blocks(self.w_h_init, key_h, (*kernel, size, size), 4),
            b=lstm_bias(size, self.forget_bias),
            p_i=peephole(),
            p_f=peephole(),
            p_o=peephole(),
        )

    def initial_carry(self, params: ConvLSTMParams, batch_size: int, key=None) -> LSTMCarry:
        """h = c = 0, both [B, *state_shape, N]."""
        dtype, size = params.w_h.dtype, params.w_h.shape[-2]
        zeros = lambda dtype: jnp.zeros((batch_size, *self.state_shape, size), dtype)
        return LSTMCarry(zeros(dtype), zeros(accumulator(dtype)))

    def example_inputs(self, input_size: int) -> jax.Array:
        """Zeros [1, 1, *shape, C]: what a `Stack` shows its members."""
        return jnp.zeros((1, 1, *self.shape, input_size))

    def project(self, params: ConvLSTMParams, xs: jax.Array) -> jax.Array:
        """xₜ ∗ w_x + b for all steps at once: [..., *shape, C] -> [..., *state_shape, 4N].

        Raises:
          ValueError: if xs is not floats [..., *shape, C].
        """
        own = (*self.shape, params.w_x.shape[-2])
        checks.require(
            xs.shape[-len(own) :] == own,
            f"xs has images of shape {xs.shape[-len(own) :]}; expected {own}: the cell's shape and "
            "the input_size that these params were initialised for. For images of another shape "
            "take dataclasses.replace(cell, shape=...).",
        )
        checks.require(
            checks.is_float(xs),
            f"xs has dtype {xs.dtype}; expected floating point. Cast it first.",
        )
        _, strides, dilation = self._window()
        z = _convolve(xs.reshape(-1, *own), params.w_x, strides, dilation, self.padding)
        return add_bias(z.reshape(*xs.shape[: -len(own)], *z.shape[1:]), params.b)

    def recur(
        self, params: ConvLSTMParams, carry: LSTMCarry, z: jax.Array, affine: Affine
    ) -> LSTMCarry:
        """The next h and c [B, *state_shape, N], given z [B, *state_shape, 4N]."""
        h, c = remember(z + _convolve(carry.h, params.w_h), carry.c, params)
        return LSTMCarry(h.astype(carry.h.dtype), c)

    def output(self, params: ConvLSTMParams, carry: LSTMCarry) -> jax.Array:
        """h [B, *state_shape, N], the output."""
        return carry.h


def _convolve(x: jax.Array, w: jax.Array, strides=None, dilation=None, padding="same") -> jax.Array:
    """x [N, *S, C] by w [*K, C, M]: [N, *S', M] in w's dtype, at least float32."""
    space = "DHW"[-(w.ndim - 2) :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    wide = accumulator(w.dtype)
    # Rounded to w's dtype, as in a product of matrices, and then convolved in a wider one.
    x, w = x.astype(w.dtype).astype(wide), w.astype(wide)
    return jax.lax.conv_general_dilated(
        x,
        w,
        strides or (1,) * len(space),
        padding.upper(),
        rhs_dilation=dilation,
        dimension_numbers=layout,
    )


def _for_each_axis(name: str, sizes: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """A number for each spatial axis, of one for all of them or of one for each."""
    each = isinstance(sizes, (tuple, list))
    found = _sizes(name, sizes if each else (sizes,) * len(shape))
    checks.require(
        len(found) == len(shape),
        f"{name} is {sizes!r} but shape is {shape!r}; expected one number for all spatial axes, or "
        "one for each.",
    )
    return found


def _sizes(name: str, sizes: Any) -> tuple[int, ...]:
    """A tuple of Python's own positive integers."""
    checks.require(
        isinstance(sizes, (tuple, list)),
        f"{name} is {sizes!r}; expected a tuple of integers, one for each spatial axis.",
    )
    return tuple(checks.positive_int(f"{name}[{i}]", size) for i, size in enumerate(sizes))
