"""The quasi-recurrent network."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.activations import squash
from seqjax.core.products import add_bias, dot
from seqjax.initializers.gate_biases import Gates
from seqjax.initializers.weights import GlorotUniform, Initializer, blocks
from seqjax.linear.causal import ConvolvedCarry, ConvolvedCell
from seqjax.linear.linear_cell import check_method
from seqjax.linear.linear_scan import Method
from seqjax.linear.min_gru import zero_state


class QRNNParams(NamedTuple):
    """The params of `QRNN`; blocks in the order z, f, o, and f = 1 keeps, as in the paper.

    Fields:
      w_x: [K, D, 3H] of the last K inputs, oldest first.
      b: [3H].
    """

    w_x: jax.Array
    b: jax.Array

    GATES = Gates("zfo", keep="f")


@final
@dataclass(frozen=True)
class QRNN(ConvolvedCell):
    """The quasi-recurrent network with fo-pooling. Bradbury et al. 2017, eq. 1-4.

        z, f, o = [xₜ₋ₖ₊₁, ..., xₜ] w_x + b     a causal convolution over time, K = kernel_size
        cₜ = σ(f) ⊙ cₜ₋₁ + (1 - σ(f)) ⊙ tanh(z)
        yₜ = σ(o) ⊙ cₜ

    Before the first input stand zeros, as in the paper. With kernel_size=1 gates see one input.

    The carry is `ConvolvedCarry`, the last inputs [B, K - 1, D] and c [B, H].

    Attributes:
      hidden_size: H.
      kernel_size: K.
      w_x_init: initialiser of each [K D, H] block of w_x.
      method: how `unroll` evaluates the recurrence, see `linear_scan`.

    Raises:
      ValueError: if a size, or input_size in `init`, is not a positive integer, method is none of
        its options, or in a step if inputs are not floats [..., D].

    Example:
      >>> cell = QRNN(hidden_size=3)
      >>> params = cell.init(jax.random.key(0), input_size=2)
      >>> carry, y = cell.step(params, cell.initial_carry(params, 4), jnp.ones((4, 2)))
      >>> y.shape, carry.inputs.shape, carry.h.shape
      ((4, 3), (4, 1, 2), (4, 3))
    """

    hidden_size: int
    _: KW_ONLY
    kernel_size: int = 2
    w_x_init: Initializer = GlorotUniform()
    method: Method = "auto"

    def __post_init__(self):
        checks.hold_ints(self, "hidden_size", "kernel_size")
        check_method(self.method)

    def init(self, key: jax.Array, input_size: int) -> QRNNParams:
        """Draws `QRNNParams` for inputs [..., D]; b is 0."""
        checks.positive_int("input_size", input_size)
        shape = (self.kernel_size * input_size, self.hidden_size)
        return QRNNParams(
            w_x=blocks(self.w_x_init, key, shape, 3).reshape(self.kernel_size, input_size, -1),
            b=jnp.zeros(3 * self.hidden_size),
        )

    def initial_carry(self, params: QRNNParams, batch_size: int, key=None) -> ConvolvedCarry:
        """Inputs [B, K - 1, D] and c [B, H], all 0."""
        kernel_size, width, _ = params.w_x.shape
        inputs = jnp.zeros((batch_size, kernel_size - 1, width), params.w_x.dtype)
        return ConvolvedCarry(inputs, zero_state(params.b, batch_size, params.b.shape[0] // 3))

    def enter(self, params: QRNNParams, xs: jax.Array) -> tuple[jax.Array, None]:
        """The inputs [..., D] themselves."""
        width = params.w_x.shape[1]
        checks.require(
            checks.is_float(xs) and xs.shape[-1] == width,
            f"xs is {xs.dtype}{list(xs.shape)}; expected floats [..., {width}], the size that "
            "these params were initialised for. Embed or one-hot tokens first.",
        )
        return xs.astype(params.w_x.dtype), None

    def project(self, params: QRNNParams, lags: list[jax.Array], rest: None) -> list[jax.Array]:
        """tanh(z), σ(f) and σ(o), [..., H], from K lags [..., D]."""
        windows, w_x = jnp.concatenate(lags, axis=-1), params.w_x
        products = dot("xs", windows, w_x.reshape(-1, w_x.shape[-1]))
        return squash(add_bias(products, params.b), "tss", "zfo")

    def coefficients(self, params: QRNNParams, zs: list) -> tuple[jax.Array, jax.Array]:
        """a = σ(f) and b = (1 - σ(f)) tanh(z), both [..., H]."""
        z, f, _ = zs
        return f, (1 - f) * z

    def output(self, params: QRNNParams, h: jax.Array, z: list) -> jax.Array:
        """σ(o) c, [..., H]."""
        return (z[2] * h).astype(params.b.dtype)
