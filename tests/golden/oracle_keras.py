# pyright: reportMissingImports=false
"""Keras's recurrent layers on its jax backend, with a mask of any pattern or of right padding.

In float32: that backend's activations round to it even where everything else is float64.
"""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from by_jax import record_jax
from record import BATCH, HIDDEN, INPUT, LENGTH, LENGTHS, MASK, padding_mask

VERSIONS = {"keras": keras.__version__, "jax": jax.__version__}
DIRECTIONS = ("forward", "backward")
OPTIONS = {"return_sequences": True, "return_state": True}


def make(new: Callable, fields: tuple[str, ...], **padding: Any) -> Callable:
    """Records what new() builds; fields name its states, padding is `lengths` or `mask`."""
    layer = new()
    layer.build((BATCH, LENGTH, INPUT))
    names = [short_name(variable.path) for variable in layer.trainable_variables]
    mask = padding["mask"] if "mask" in padding else padding_mask(padding["lengths"])

    def apply(weights, carry, xs):
        trainable = [weights[name] for name in names]
        others = [variable.value for variable in layer.non_trainable_variables]
        state = [carry[field] for field in fields]
        (ys, *final), _ = layer.stateless_call(
            trainable, others, xs, initial_state=state, mask=mask
        )
        return ys, dict(zip(fields, final, strict=True))

    variables = zip(names, layer.trainable_variables, strict=True)
    shapes = {name: tuple(variable.shape) for name, variable in variables}
    carry = {field: (BATCH, HIDDEN) for field in fields}
    return lambda case: record_jax(case, shapes, carry, apply, dtype=np.float32, **padding)


def short_name(path: str) -> str:
    """`kernel`, or in a bidirectional layer `forward.kernel`."""
    inner = [name for name in DIRECTIONS if f"/{name}_" in path]
    return ".".join([*inner, path.split("/")[-1]])


def both(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{direction}.{field}" for direction in DIRECTIONS for field in fields)


def lstm():
    return keras.layers.LSTM(HIDDEN, **OPTIONS)


def gru(reset_after: bool = True):
    return keras.layers.GRU(HIDDEN, reset_after=reset_after, **OPTIONS)


def bidirectional(layer, merge: str):
    return keras.layers.Bidirectional(layer, merge_mode=merge)


LAYERS = {
    "simple": (lambda: keras.layers.SimpleRNN(HIDDEN, **OPTIONS), ("h",)),
    "lstm": (lstm, ("h", "c")),
    "gru_after": (gru, ("h",)),
    "gru_before": (lambda: gru(reset_after=False), ("h",)),
    "lstm_concat": (lambda: bidirectional(lstm(), "concat"), both(("h", "c"))),
    "gru_sum": (lambda: bidirectional(gru(), "sum"), both(("h",))),
}
CASES = {}
for _name, (_new, _fields) in LAYERS.items():
    CASES[f"keras_{_name}_masked"] = make(_new, _fields, mask=MASK)
    CASES[f"keras_{_name}_ragged"] = make(_new, _fields, lengths=LENGTHS)
