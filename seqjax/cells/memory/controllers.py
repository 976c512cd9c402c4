"""The network that a memory is attached to: any cell that can be stepped."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.cells.stack import output_size
from seqjax.core.cell import check_cell_like, is_encoder


def check_controller(controller: Any) -> None:
    """Raises ValueError unless the controller is a cell with a step."""
    check_cell_like("controller", controller)
    checks.require(
        not is_encoder(controller),
        f"controller is {type(controller).__name__}, an encoder; expected a cell with a step: "
        "what is read at a step depends on the controller's output at that step.",
    )


def init_controller(controller: Any, key: jax.Array, input_size: int, reads: int):
    """The controller's params for inputs [B, D] beside numbers read, and its output's width H."""
    size = checks.positive_int("input_size", input_size) + reads
    params = controller.init(key, size)
    return params, output_size(controller, params, size)


def control(controller: Any, params: Any, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
    """One step of the controller over [x, what was read]: x [B, D] -> its carry, h [B, H].

    Raises:
      ValueError: if x is not floats [B, D].
    """
    checks.require(
        checks.is_float(x),
        f"xs has dtype {x.dtype}; expected floating point. Embed or one-hot tokens first.",
    )
    checks.require(x.ndim == 2, f"x has shape {x.shape}; expected [B, D], one step of a batch.")
    reads = carry.reads.reshape(carry.reads.shape[0], -1).astype(x.dtype)
    return controller.step(params, carry.controller, jnp.concatenate([x, reads], axis=-1))


def beside_reads(h: jax.Array, reads: jax.Array) -> jax.Array:
    """The output [B, H + N W] of h [B, H] and what was read [B, N, W], in h's dtype."""
    return jnp.concatenate([h, reads.reshape(h.shape[0], -1).astype(h.dtype)], axis=-1)


def parts(told: jax.Array, sizes: Sequence[int]) -> list[jax.Array]:
    """The parts [B, n] of told [B, sum of sizes]."""
    return jnp.split(told, list(itertools.accumulate(sizes))[:-1], axis=-1)
