"""Recording of oracles that are JAX functions."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import INPUT, Arrays, Shapes, padding_mask, record


def record_jax(
    case: str,
    weights: Shapes,
    carry: Shapes,
    apply: Callable,
    *,
    lengths: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    dtype: type = np.float64,
    features: tuple[int, ...] = (INPUT,),
) -> Arrays:
    """Records apply(weights, carry, xs) -> (ys, final), all flat dicts but xs and ys.

    What an oracle puts out at padding is its own business (flax: the cell run on padding; keras:
    the output before): it is zeroed here, and so is its gradient.
    """
    real = mask if lengths is None else padding_mask(lengths)

    def run_masked(inputs):
        ys, final = apply(inputs["weights"], inputs["carry"], inputs["xs"])
        if real is None:
            return ys, final
        return jnp.where(real.reshape(*real.shape, *[1] * (ys.ndim - 2)), ys, 0), final

    def total(inputs, loss):
        ys, final = run_masked(inputs)
        return jnp.sum(ys * loss[0]) + sum(jnp.sum(final[name] * a) for name, a in loss[1].items())

    def run(inputs):
        return jax.tree.map(np.asarray, run_masked(jax.tree.map(jnp.asarray, inputs)))

    def grad(inputs, loss):
        return jax.tree.map(np.asarray, jax.grad(total)(jax.tree.map(jnp.asarray, inputs), loss))

    steps = {"lengths": lengths, "mask": mask}
    steps = {name: a for name, a in steps.items() if a is not None}
    return record(case, weights, carry, run, grad, steps, dtype, features)


def join(tree: Any, prefix: str = "") -> dict:
    """A nested dict as a flat one, with names joined by a dot."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= join(value, f"{prefix}{name}.")
        else:
            flat[prefix + str(name)] = value
    return flat


def split(flat: dict) -> dict:
    """The nested dict that `join` made flat."""
    tree: dict = {}
    for path, value in flat.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def shapes(flat: dict) -> Shapes:
    """The shapes of a flat dict of arrays."""
    return {name: tuple(a.shape) for name, a in flat.items()}
