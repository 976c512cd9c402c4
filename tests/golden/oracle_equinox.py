# pyright: reportMissingImports=false
"""Equinox's cells, which take one step of one example: mapped over the batch, scanned over time."""

from collections.abc import Callable

import equinox
import jax
import jax.numpy as jnp
from by_jax import record_jax
from record import BATCH, HIDDEN, INPUT

VERSIONS = {"equinox": equinox.__version__, "jax": jax.__version__}


def make(cell_type: Callable, fields: tuple[str, ...], names: tuple[str, ...]) -> Callable:
    """Records a cell whose state has these fields and whose weights these names."""
    template = cell_type(INPUT, HIDDEN, key=jax.random.key(0))

    def apply(weights, carry, xs):
        get = lambda cell: [getattr(cell, name) for name in names]
        cell = equinox.tree_at(get, template, [weights[name] for name in names])

        def step(state, x):
            state = jax.vmap(cell)(x, state)
            return state, state[0] if len(fields) > 1 else state

        state = tuple(carry[field] for field in fields)
        state, ys = jax.lax.scan(
            step, state if len(fields) > 1 else state[0], jnp.swapaxes(xs, 0, 1)
        )
        final = state if len(fields) > 1 else (state,)
        return jnp.swapaxes(ys, 0, 1), dict(zip(fields, final, strict=True))

    weights = {name: getattr(template, name).shape for name in names}
    carry = {field: (BATCH, HIDDEN) for field in fields}
    return lambda case: record_jax(case, weights, carry, apply)


WEIGHTS = ("weight_ih", "weight_hh", "bias")
CASES = {
    "equinox_lstm": make(equinox.nn.LSTMCell, ("h", "c"), WEIGHTS),
    "equinox_gru": make(equinox.nn.GRUCell, ("h",), (*WEIGHTS, "bias_n")),
}
