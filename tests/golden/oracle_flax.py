# pyright: reportMissingImports=false
"""Flax's cells, linen and nnx, under RNN and Bidirectional with seq_lengths.

Lengths are 1 or more: for length 0 flax picks the carry after padding.
"""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
from by_jax import join, record_jax, shapes, split
from flax import linen, nnx
from record import BATCH, HIDDEN, INPUT, LENGTH, LENGTHS

VERSIONS = {"flax": flax.__version__, "jax": jax.__version__}
DIRECTIONS = ("forward", "backward")


def pack(carry: dict):
    """A flat carry as flax's own: h, or the tuple (c, h)."""
    return (carry["c"], carry["h"]) if "c" in carry else carry["h"]


def unpack(carry) -> dict:
    """The other way round."""
    return dict(zip(("c", "h"), carry, strict=True)) if isinstance(carry, tuple) else {"h": carry}


def carry_shapes(gated: bool) -> dict:
    return {name: (BATCH, HIDDEN) for name in (("c", "h") if gated else ("h",))}


def new_linen(cell: Callable):
    return cell(HIDDEN, param_dtype=jnp.float64)  # which its initial carry takes too


def make_linen(cell: Callable, gated: bool = False) -> Callable:
    """Records a linen cell; gated says that the carry is (c, h)."""
    layer = linen.RNN(new_linen(cell), return_carry=True)

    def apply(weights, carry, xs):
        params = {"params": {"cell": split(weights)}}
        final, ys = layer.apply(params, xs, initial_carry=pack(carry), seq_lengths=LENGTHS)
        return ys, unpack(final)

    params = layer.init(jax.random.key(0), jnp.zeros((BATCH, LENGTH, INPUT)))["params"]["cell"]
    weights = shapes(join(params))
    return lambda case: record_jax(case, weights, carry_shapes(gated), apply, lengths=LENGTHS)


def make_linen_conv(kernel_size: tuple[int, ...], shape: tuple[int, ...]) -> Callable:
    """Records linen's ConvLSTMCell, whose forget gate has 1 added as it runs."""
    cell = linen.ConvLSTMCell(HIDDEN, kernel_size, param_dtype=jnp.float64)
    layer = linen.RNN(cell, return_carry=True)

    def apply(weights, carry, xs):
        params = {"params": {"cell": split(weights)}}
        final, ys = layer.apply(params, xs, initial_carry=pack(carry), seq_lengths=LENGTHS)
        return ys, unpack(final)

    xs = jnp.zeros((BATCH, LENGTH, *shape, INPUT))
    weights = shapes(join(layer.init(jax.random.key(0), xs)["params"]["cell"]))
    carry = {name: (BATCH, *shape, HIDDEN) for name in ("c", "h")}
    how = {"lengths": LENGTHS, "features": (*shape, INPUT)}
    return lambda case: record_jax(case, weights, carry, apply, **how)


def make_linen_bidirectional(cell: Callable) -> Callable:
    """Records a linen cell without c in both directions."""
    layer = linen.Bidirectional(
        linen.RNN(new_linen(cell)), linen.RNN(new_linen(cell)), return_carry=True
    )

    def apply(weights, carry, xs):
        start = tuple(carry[f"{direction}.h"] for direction in DIRECTIONS)
        nested = {f"{name}_rnn": {"cell": tree} for name, tree in split(weights).items()}
        final, ys = layer.apply({"params": nested}, xs, initial_carry=start, seq_lengths=LENGTHS)
        return ys, {f"{name}.h": a for name, a in zip(DIRECTIONS, final, strict=True)}

    params = layer.init(jax.random.key(0), jnp.zeros((BATCH, LENGTH, INPUT)))["params"]
    weights = shapes(join({name: params[f"{name}_rnn"]["cell"] for name in DIRECTIONS}))
    carry = {f"{name}.h": (BATCH, HIDDEN) for name in DIRECTIONS}
    return lambda case: record_jax(case, weights, carry, apply, lengths=LENGTHS)


def new_nnx(cell: Callable):
    # In float64 from the start: nnx cells cast to dtype, float32 by default.
    return cell(INPUT, HIDDEN, dtype=jnp.float64, param_dtype=jnp.float64, rngs=nnx.Rngs(0))


def nnx_parts(layer) -> tuple:
    """What is not a weight, the flat weights of the cell, and the rest of the state."""
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    return graph, join(nnx.to_pure_dict(params)), rest


def make_nnx(cell: Callable, gated: bool = False) -> Callable:
    """Records an nnx cell; gated says that the carry is (c, h)."""
    graph, params, rest = nnx_parts(nnx.RNN(new_nnx(cell), return_carry=True))

    def apply(weights, carry, xs):
        layer = nnx_layer(graph, {f"cell.{name}": a for name, a in weights.items()}, rest)
        final, ys = layer(xs, initial_carry=pack(carry), seq_lengths=jnp.asarray(LENGTHS))
        return ys, unpack(final)

    weights = {name.removeprefix("cell."): s for name, s in shapes(params).items()}
    return lambda case: record_jax(case, weights, carry_shapes(gated), apply, lengths=LENGTHS)


def make_nnx_bidirectional(cell: Callable) -> Callable:
    """Records an nnx cell with c in both directions."""
    layers = [nnx.RNN(new_nnx(cell)) for _ in DIRECTIONS]
    graph, params, rest = nnx_parts(nnx.Bidirectional(*layers, return_carry=True))

    def apply(weights, carry, xs):
        long = {name.replace(".", "_rnn.cell.", 1): a for name, a in weights.items()}
        start = tuple(pack(tree) for _, tree in sorted(split(carry).items(), reverse=True))
        lengths = jnp.asarray(LENGTHS)
        final, ys = nnx_layer(graph, long, rest)(xs, initial_carry=start, seq_lengths=lengths)
        parts = zip(DIRECTIONS, final, strict=True)
        return ys, join({name: unpack(part) for name, part in parts})

    weights = {name.replace("_rnn.cell.", ".", 1): s for name, s in shapes(params).items()}
    carry = {f"{name}.{field}": (BATCH, HIDDEN) for name in DIRECTIONS for field in "ch"}
    return lambda case: record_jax(case, weights, carry, apply, lengths=LENGTHS)


def nnx_layer(graph, weights: dict, rest):
    """A layer with these flat weights."""
    params = nnx.State(jax.tree.map(nnx.Param, split(weights)))
    return nnx.merge(graph, params, rest)


CASES = {
    "linen_simple": make_linen(linen.SimpleCell),
    "linen_lstm": make_linen(linen.LSTMCell, gated=True),
    "linen_optimized_lstm": make_linen(linen.OptimizedLSTMCell, gated=True),
    "linen_gru": make_linen(linen.GRUCell),
    "linen_conv_lstm": make_linen_conv((3, 2), (3, 4)),
    "linen_gru_bidirectional": make_linen_bidirectional(linen.GRUCell),
    "nnx_simple": make_nnx(nnx.SimpleCell),
    "nnx_lstm": make_nnx(nnx.LSTMCell, gated=True),
    "nnx_optimized_lstm": make_nnx(nnx.OptimizedLSTMCell, gated=True),
    "nnx_gru": make_nnx(nnx.GRUCell),
    "nnx_lstm_bidirectional": make_nnx_bidirectional(nnx.OptimizedLSTMCell),
}
