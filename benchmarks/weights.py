"""What other libraries' weights are in seqjax's terms.

Each function takes the flat dict of one layer's arrays under the library's own names and gives
seqjax's params. All are differentiable, so that a gradient with respect to seqjax's params can be
read in the library's layout.
"""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax.cells.conv_lstm import ConvLSTMParams
from seqjax.cells.elman import ElmanParams
from seqjax.cells.gru import GRUParams, negate_update_gate
from seqjax.cells.lstm import LSTMParams
from seqjax.cells.projected import ProjectedLSTMParams

Flat = dict[str, Any]


def permute(a: jax.Array, order: tuple[int, ...]) -> jax.Array:
    """The gates' blocks of the last axis, rearranged: block j of the result is block order[j]."""
    gates = jnp.split(a, len(order), axis=-1)
    return jnp.concatenate([gates[index] for index in order], axis=-1)


def under(prefix: str, flat: Flat) -> Flat:
    """The entries whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): a for name, a in flat.items() if name.startswith(prefix)}


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


def linen_conv_lstm(w: Flat) -> ConvLSTMParams:
    w = {name: permute(a, (0, 2, 1, 3)) for name, a in w.items()}  # i, g, f, o there
    b = w["ih.bias"] + w["hh.bias"]
    gate = b.shape[0] // 4
    b = b.at[gate : 2 * gate].add(1)  # which is added as it runs
    return ConvLSTMParams(w["ih.kernel"], w["hh.kernel"], b, None, None, None)


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
