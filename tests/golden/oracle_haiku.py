# pyright: reportMissingImports=false
"""Haiku's cores under dynamic_unroll, which knows no lengths."""

from collections.abc import Callable
from importlib.metadata import version

import haiku
import jax
import jax.numpy as jnp
from by_jax import record_jax, shapes
from record import BATCH, HIDDEN, INPUT, LENGTH

VERSIONS = {"dm-haiku": version("dm-haiku"), "jax": jax.__version__}


def make(core: Callable, carry_type: type | None = None) -> Callable:
    """Records a core; carry_type is the tuple its state is, None for one array."""

    def forward(xs, state):
        return haiku.dynamic_unroll(core(HIDDEN, name="core"), xs, state, time_major=False)

    transformed = haiku.without_apply_rng(haiku.transform(forward))
    fields = ("h",) if carry_type is None else carry_type._fields
    pack = (lambda a: a) if carry_type is None else carry_type

    def apply(weights, carry, xs):
        nested: dict = {}
        for path, value in weights.items():
            module, name = path.rsplit(".", 1)
            nested.setdefault(module, {})[name] = value
        ys, final = transformed.apply(nested, xs, pack(*(carry[field] for field in fields)))
        final = (final,) if carry_type is None else final
        return ys, dict(zip(fields, final, strict=True))

    carry = {field: (BATCH, HIDDEN) for field in fields}
    zeros = [jnp.zeros((BATCH, HIDDEN)) for _ in fields]
    params = transformed.init(jax.random.key(0), jnp.zeros((BATCH, LENGTH, INPUT)), pack(*zeros))
    flat = {f"{module}.{name}": a for module, ps in params.items() for name, a in ps.items()}
    return lambda case: record_jax(case, shapes(flat), carry, apply)


CASES = {
    "haiku_vanilla": make(haiku.VanillaRNN),
    "haiku_lstm": make(haiku.LSTM, haiku.LSTMState),
    "haiku_gru": make(haiku.GRU),
}
