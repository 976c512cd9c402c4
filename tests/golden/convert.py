"""The cell, its params and its carry for each golden file, from the library's own arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import seqjax as sj
from benchmarks.weights import (
    Flat,
    equinox_gru,
    equinox_lstm,
    flax_lstm,
    haiku_elman,
    haiku_gru,
    haiku_lstm,
    keras_elman,
    keras_gru,
    keras_lstm,
    linen_conv_lstm,
    linen_elman,
    linen_gru,
    nnx_elman,
    nnx_fused_lstm,
    nnx_gru,
    torch_elman,
    torch_gru,
    torch_lstm,
    torch_projected,
    under,
)
from golden.record import HIDDEN, PROJECTION
from seqjax.cells.bidirectional import BidirectionalCarry, BidirectionalParams
from seqjax.cells.lstm import LSTMCarry


class Converter(NamedTuple):
    """A cell, and its params and carry from the library's weights and carry."""

    cell: Any
    params: Callable[[Flat], Any]
    carry: Callable[[Flat], Any]


# Carries


def named_carry(flat: Flat) -> Any:
    return LSTMCarry(flat["h"], flat["c"]) if "c" in flat else flat["h"]


def plain(cell: Any, params: Callable[[Flat], Any]) -> Converter:
    """One cell whose carry's fields are named h and c."""
    return Converter(cell, params, named_carry)


def two_way(cell: sj.Bidirectional, one: Callable[[Flat], Any]) -> Converter:
    """Two cells under the prefixes `forward.` and `backward.`."""

    def both(pair, one):
        return lambda flat: pair(one(under("forward.", flat)), one(under("backward.", flat)))

    return Converter(cell, both(BidirectionalParams, one), both(BidirectionalCarry, named_carry))


# Layers and directions of torch: row n * ways + way of a stacked carry


def torch_layers(cell: Any, one: Callable, layers: int = 1, ways: int = 1) -> Converter:
    """`layers` of a cell, read in one or two directions: row n * ways + way of the carry."""

    def arrange(leaf: Callable[[int, int], Any], pair: type) -> Any:
        both = lambda n: pair(leaf(n, 0), leaf(n, 1)) if ways == 2 else leaf(n, 0)
        return tuple(both(n) for n in range(layers)) if layers > 1 else both(0)

    def params(w):
        suffix = lambda n, way: f"l{n}" + ("_reverse" if way else "")
        return arrange(lambda n, way: one(w, suffix(n, way)), BidirectionalParams)

    def carry(flat):
        row = lambda n, way: named_carry({name: a[n * ways + way] for name, a in flat.items()})
        return arrange(row, BidirectionalCarry)

    member = sj.Bidirectional(cell) if ways == 2 else cell
    return Converter(sj.Stack((member,) * layers) if layers > 1 else member, params, carry)


def haiku_carry(flat: Flat) -> LSTMCarry:
    return LSTMCarry(flat["hidden"], flat["cell"])


ELMAN, LSTM, AFTER = sj.Elman(HIDDEN), sj.LSTM(HIDDEN), sj.GRU(HIDDEN)
RELU, BEFORE = sj.Elman(HIDDEN, activation="relu"), sj.GRU(HIDDEN, reset="before")
PROJECTED = sj.cells.ProjectedLSTM(PROJECTION, projection_size=HIDDEN)
CONVERTERS = {
    "keras_simple_masked": plain(ELMAN, keras_elman),
    "keras_lstm_masked": plain(LSTM, keras_lstm),
    "keras_gru_after_masked": plain(AFTER, keras_gru),
    "keras_gru_before_masked": plain(BEFORE, keras_gru),
    "keras_lstm_concat_masked": two_way(sj.Bidirectional(LSTM), keras_lstm),
    "keras_gru_sum_masked": two_way(sj.Bidirectional(AFTER, merge="sum"), keras_gru),
    "haiku_vanilla": plain(RELU, haiku_elman),
    "haiku_lstm": Converter(LSTM, haiku_lstm, haiku_carry),
    "haiku_gru": plain(BEFORE, haiku_gru),
    "linen_simple": plain(ELMAN, linen_elman),
    "linen_lstm": plain(LSTM, flax_lstm),
    "linen_optimized_lstm": plain(LSTM, flax_lstm),
    "linen_conv_lstm": plain(
        sj.cells.ConvLSTM(HIDDEN, kernel_size=(3, 2), shape=(3, 4)), linen_conv_lstm
    ),
    "linen_gru": plain(AFTER, linen_gru),
    "linen_gru_bidirectional": two_way(sj.Bidirectional(AFTER), linen_gru),
    "nnx_simple": plain(ELMAN, nnx_elman),
    "nnx_lstm": plain(LSTM, flax_lstm),
    "nnx_optimized_lstm": plain(LSTM, nnx_fused_lstm),
    "nnx_gru": plain(AFTER, nnx_gru),
    "nnx_lstm_bidirectional": two_way(sj.Bidirectional(LSTM), nnx_fused_lstm),
    "equinox_lstm": plain(LSTM, equinox_lstm),
    "equinox_gru": plain(AFTER, equinox_gru),
    "torch_lstm_projected_ragged": torch_layers(PROJECTED, torch_projected),
    "torch_lstm_stacked_bidirectional_ragged": torch_layers(LSTM, torch_lstm, layers=2, ways=2),
}
CONVERTERS |= {
    name.replace("_masked", "_ragged"): converter
    for name, converter in CONVERTERS.items()
    if name.endswith("_masked")
}
TORCH = {
    "rnn_tanh": (ELMAN, torch_elman),
    "rnn_relu": (RELU, torch_elman),
    "lstm": (LSTM, torch_lstm),
    "gru": (AFTER, torch_gru),
}
for _name, (_cell, _one) in TORCH.items():
    CONVERTERS[f"torch_{_name}_ragged"] = torch_layers(_cell, _one)
    CONVERTERS[f"torch_{_name}_bidirectional_ragged"] = torch_layers(_cell, _one, ways=2)
    CONVERTERS[f"torch_{_name}_stacked"] = torch_layers(_cell, _one, layers=2)
