"""A network that tells two kinds of sequences apart."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.cells.bidirectional import Bidirectional
from seqjax.cells.feedforward import Feedforward
from seqjax.cells.gru import GRU
from seqjax.core.cell import check_cell_like
from seqjax.core.run import run as run_cell
from seqjax.core.steps import Steps


class DiscriminatorParams(NamedTuple):
    """The params of `Discriminator`.

    Fields:
      encoder: `BidirectionalParams` of the cell.
      layers: `FeedforwardParams` of each layer, w [H, H'], the last [H, 1].
    """

    encoder: Any
    layers: tuple[Any, ...]


@final
@dataclass(frozen=True)
class Discriminator(Spec, doors=("logits",)):
    """Tells whether a sequence of behaviour is teacher-forced: two directions, then layers.

        h = mean over real t of [fₜ; bₜ],   logit = w · relu(W₂ relu(W₁ h + b₁) + b₂) + b

    σ(logit) is the probability of teacher forcing. Lamb et al. 2016, section 2: a bidirectional
    network of gated units, then three layers; the mean over time is this library's choice.

    Attributes:
      cell: reads xs [B, T, N] in each direction, with params of its own.
      layer_sizes: widths of the hidden layers after it.

    Raises:
      ValueError: if cell is none or a size is not a positive integer.

    Example:
      >>> discriminator = Discriminator(GRU(4), layer_sizes=(8,))
      >>> params = discriminator.init(jax.random.key(0), input_size=3)
      >>> discriminator.logits(params, jnp.ones((2, 5, 3))).shape
      (2,)
    """

    cell: Any = GRU(64)
    _: KW_ONLY
    layer_sizes: tuple[int, ...] = (64, 64)

    def __post_init__(self):
        check_cell_like("cell", self.cell)
        sizes = tuple(self.layer_sizes)
        named = (checks.positive_int(f"layer_sizes[{i}]", n) for i, n in enumerate(sizes))
        object.__setattr__(self, "layer_sizes", tuple(named))

    def init(self, key: jax.Array, input_size: int) -> DiscriminatorParams:
        """Draws `DiscriminatorParams` for behaviour [..., N], N = input_size."""
        key_e, key_l = jax.random.split(key)
        encoder = Bidirectional(self.cell).init(key_e, input_size)
        size = jax.eval_shape(self._summary, encoder, jnp.zeros((1, 1, input_size))).shape[-1]
        layers = []
        for index, layer in enumerate(self._layers()):
            layers.append(layer.init(jax.random.fold_in(key_l, index), size))
            size = layer.hidden_size
        return DiscriminatorParams(encoder, tuple(layers))

    def logits(self, params: DiscriminatorParams, xs: jax.Array, mask: Any = None) -> jax.Array:
        """Log-odds [B] of teacher forcing, from behaviour xs [B, T, N], mask [B, T] or None."""
        h = self._summary(params.encoder, xs, mask)
        for layer, own in zip(self._layers(), params.layers, strict=True):
            _, h = layer.step(own, (), h)
        return h[:, 0]

    def _layers(self) -> list[Feedforward]:
        return [
            *(Feedforward(n, activation="relu") for n in self.layer_sizes),
            Feedforward(1, activation="identity"),
        ]

    def _summary(self, params: Any, xs: jax.Array, mask: Any = None) -> jax.Array:
        """The mean output of the real steps, [B, H]; 0 where there is none."""
        cell = Bidirectional(self.cell)
        _, ys = run_cell(cell, params, cell.initial_carry(params, xs.shape[0]), xs, Steps(mask))
        real = jnp.ones(xs.shape[:2], bool) if mask is None else mask
        count = jnp.maximum(jnp.sum(real, axis=1, keepdims=True), 1).astype(ys.dtype)
        return jnp.sum(ys, axis=1) / count
