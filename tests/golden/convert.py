"""What other libraries' weights are in seqjax's terms: one entry a golden file.

The conversions are differentiable functions of flat dicts under the library's own names, so that a
gradient with respect to seqjax's params can be read in the library's layout.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import seqjax as sj
from golden.record import HIDDEN, PROJECTION
from seqjax.cells.bidirectional import BidirectionalCarry, BidirectionalParams
from seqjax.cells.elman import ElmanParams
from seqjax.cells.gru import GRUParams, negate_update_gate
from seqjax.cells.lstm import LSTMCarry, LSTMParams
from seqjax.cells.projected import ProjectedLSTMParams

Flat = dict[str, Any]


class Converter(NamedTuple):
    """A cell, and its params and carry from the library's weights and carry."""

    cell: Any
    params: Callable[[Flat], Any]
    carry: Callable[[Flat], Any]


def permute(a: jax.Array, order: tuple[int, ...]) -> jax.Array:
    """The gates' blocks of the last axis, rearranged: block j of the result is block order[j]."""
    gates = jnp.split(a, len(order), axis=-1)
    return jnp.concatenate([gates[index] for index in order], axis=-1)


def under(prefix: str, flat: Flat) -> Flat:
    """The entries whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): a for name, a in flat.items() if name.startswith(prefix)}


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


# torch: rows are gates, two biases, a suffix a layer and direction, carries stacked on axis 0


def torch_arrays(w: Flat, suffix: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    b = w[f"bias_ih_{suffix}"] + w[f"bias_hh_{suffix}"]
    return w[f"weight_ih_{suffix}"].T, w[f"weight_hh_{suffix}"].T, b


def torch_elman(w: Flat, suffix: str) -> ElmanParams:
    return ElmanParams(*torch_arrays(w, suffix))


def torch_lstm(w: Flat, suffix: str) -> LSTMParams:
    return LSTMParams(*torch_arrays(w, suffix))  # i, f, g, o as here


def torch_projected(w: Flat, suffix: str) -> ProjectedLSTMParams:
    return ProjectedLSTMParams(*torch_arrays(w, suffix), w_p=w[f"weight_hr_{suffix}"].T)


def torch_gru(w: Flat, suffix: str) -> GRUParams:
    w_h = w[f"weight_hh_{suffix}"].T
    size = w_h.shape[0]
    b_x, b_h = w[f"bias_ih_{suffix}"], w[f"bias_hh_{suffix}"]
    # Those of r and z are one; the candidate's second bias stands inside r * (...).
    b = b_x + b_h.at[2 * size :].set(0)
    return GRUParams(w[f"weight_ih_{suffix}"].T, w_h, b, b_h[2 * size :])


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


# keras: columns are gates; i, f, c, o and z, r, h


def keras_elman(w: Flat) -> ElmanParams:
    return ElmanParams(w["kernel"], w["recurrent_kernel"], w["bias"])


def keras_lstm(w: Flat) -> LSTMParams:
    return LSTMParams(w["kernel"], w["recurrent_kernel"], w["bias"])


def keras_gru(w: Flat) -> GRUParams:
    w_x, w_h, b = (permute(w[name], (1, 0, 2)) for name in ("kernel", "recurrent_kernel", "bias"))
    if b.ndim == 1:  # reset_after=False has one bias
        return GRUParams(w_x, w_h, b, None)
    size = w_h.shape[0]
    return GRUParams(w_x, w_h, b[0] + b[1].at[2 * size :].set(0), b[1, 2 * size :])


# haiku: LSTM over [x, h] with gates i, g, f, o and 1 added to f as it runs; GRU with gates z, r, a


def haiku_elman(w: Flat) -> ElmanParams:
    x, h = under("core/linear.", w), under("core/linear_1.", w)
    return ElmanParams(x["w"], h["w"], x["b"] + h["b"])


def haiku_lstm(w: Flat) -> LSTMParams:
    matrix, b = (permute(w[f"core/linear.{name}"], (0, 2, 1, 3)) for name in ("w", "b"))
    size = b.shape[0] // 4
    b = b.at[size : 2 * size].add(1)
    return LSTMParams(matrix[:-size], matrix[-size:], b)


def haiku_carry(flat: Flat) -> LSTMCarry:
    return LSTMCarry(flat["hidden"], flat["cell"])


def haiku_gru(w: Flat) -> GRUParams:
    w_x, w_h, b = (permute(w[f"core.{name}"], (1, 0, 2)) for name in ("w_i", "w_h", "b"))
    return negate_update_gate(GRUParams(w_x, w_h, b, None))  # h = (1 - z) h + z a


# flax: one dense layer a gate in linen, also where it computes them as one; nnx stores them fused


def flax_gates(w: Flat, side: str, gates: str, what: str) -> jax.Array:
    return jnp.concatenate([w[f"{side}{gate}.{what}"] for gate in gates], axis=-1)


def linen_elman(w: Flat) -> ElmanParams:
    return ElmanParams(w["i.kernel"], w["h.kernel"], w["i.bias"])


def flax_lstm(w: Flat) -> LSTMParams:
    w = {name.replace("if_", "if"): a for name, a in w.items()}  # nnx: `if` is a keyword
    return LSTMParams(
        flax_gates(w, "i", "ifgo", "kernel"),
        flax_gates(w, "h", "ifgo", "kernel"),
        flax_gates(w, "h", "ifgo", "bias"),
    )


def linen_gru(w: Flat) -> GRUParams:
    return GRUParams(
        flax_gates(w, "i", "rzn", "kernel"),
        flax_gates(w, "h", "rzn", "kernel"),
        flax_gates(w, "i", "rzn", "bias"),
        w["hn.bias"],
    )


def nnx_elman(w: Flat) -> ElmanParams:
    return ElmanParams(w["dense_i.kernel"], w["dense_h.kernel"], w["dense_i.bias"])


def nnx_fused_lstm(w: Flat) -> LSTMParams:
    return LSTMParams(w["dense_i.kernel"], w["dense_h.kernel"], w["dense_h.bias"])


def nnx_gru(w: Flat) -> GRUParams:
    w_h = w["dense_h.kernel"]
    no_b_n = jnp.zeros(w_h.shape[0], w_h.dtype)
    return GRUParams(w["dense_i.kernel"], w_h, w["dense_i.bias"], no_b_n)


# equinox: as torch, but with one bias, and b_n apart


def equinox_lstm(w: Flat) -> LSTMParams:
    return LSTMParams(w["weight_ih"].T, w["weight_hh"].T, w["bias"])


def equinox_gru(w: Flat) -> GRUParams:
    return GRUParams(w["weight_ih"].T, w["weight_hh"].T, w["bias"], w["bias_n"])


ELMAN, LSTM, AFTER = sj.Elman(HIDDEN), sj.LSTM(HIDDEN), sj.GRU(HIDDEN)
RELU, BEFORE = sj.Elman(HIDDEN, "relu"), sj.GRU(HIDDEN, reset="before")
PROJECTED = sj.ProjectedLSTM(PROJECTION, HIDDEN)
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
