"""Four language models of characters with equally many parameters, and what is seen inside."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.foundations.gradients.data import LETTERS, test_windows
from experiments.lab.network import Network
from experiments.lab.task import of_size

FLOW_ROWS, UNIT_ROWS, CONTEXT_ROWS = 2, 16, 16
POSITIONS = 16  # places in the second half of a context that are looked from


class Arm(NamedTuple):
    """A name and a network."""

    name: str
    network: Network


CELLS: dict[str, Callable[[int], Any]] = {
    "Elman": sj.Elman,
    "IRNN": lambda size: sj.Elman(
        size,
        activation="relu",
        w_x_init=sj.initializers.Normal(0.001),
        w_h_init=sj.initializers.Identity(),
    ),
    "GRU": sj.GRU,
    "LSTM": sj.LSTM,
}


def arms(budget: int) -> list[Arm]:
    """The networks, each of the width with which it has nearly so many parameters."""
    size = len(LETTERS)
    build = lambda cell, units: Network(cell(units), size, size)
    widths = range(2, 512)
    return [
        Arm(name, of_size(lambda units, cell=cell: build(cell, units), budget, widths))
        for name, cell in CELLS.items()
    ]


def initial(arm: Arm, seeds: int) -> Any:
    """Params at initialisation, stacked; those that `sweep` begins with."""
    keys = [jax.random.split(jax.random.key(seed))[0] for seed in range(seeds)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(arm.network.init, keys))


def losses(network: Network, params: Any, tokens: jax.Array) -> jax.Array:
    """Nats of each character but the first, [B, T - 1]."""
    return sj.token_losses(network.unroll(params, tokens[:, :-1])[1], tokens[:, 1:])


def look(arm: Arm, stacked: Any, length: int, size: int) -> list[dict[str, Any]]:
    """What each seed's network shows over `length` steps and of contexts of `size` characters.

    Params are stacked, [seeds, ...].
    """
    seeds = jax.tree.leaves(stacked)[0].shape[0]
    pick = lambda i: jax.tree.map(lambda a: a[i], stacked)
    found = [diagnose(arm, pick(i), length, size) for i in range(seeds)]
    return [jax.tree.map(lambda a: np.asarray(a).tolist(), each) for each in found]


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def diagnose(arm: Arm, params: Any, length: int, size: int) -> dict[str, Any]:
    """Means over rows where rows are alike: of logarithms, exponents and influences."""
    cell, weights = arm.network.cell, params["cell"]
    xs = jax.nn.one_hot(test_windows(FLOW_ROWS, length), len(LETTERS))
    flow = sj.diagnostics.gradient_flow(cell, weights, xs)
    norms = flow.log_norms.mean(axis=0)
    inputs = flow.log_input_norms
    influence = context(arm, params, size)
    return {
        "log_norms": norms,
        "log_gains": flow.log_gains.mean(axis=0),
        "log_input_norms": None if inputs is None else inputs.mean(axis=0),
        "memory": sj.diagnostics.memory_length(norms),
        "half_life": sj.diagnostics.memory_length(norms, share=0.5),
        "exponents": flow.exponents.mean(axis=0),
        "saturation": {name: each._asdict() for name, each in units(cell, weights, size).items()},
        "influence": influence.influence,
        "influence_half_life": influence.half_life,
    }


def units(cell: Any, params: Any, size: int) -> dict[str, sj.diagnostics.Saturation]:
    """Saturation of gates; of a network without gates, of its units.

    A tanh unit is at one end below -0.8 and at the other above 0.8, as σ is below 0.1 and above
    0.9; one of ReLU is at its end where it is 0.
    """
    xs = jax.nn.one_hot(test_windows(UNIT_ROWS, size), len(LETTERS))
    if found := sj.diagnostics.gate_saturation(cell, params, xs):
        return found
    _, ys = sj.unroll(cell, params, xs)
    left, right = (ys <= 0, ys < 0) if cell.activation == "relu" else (ys < -0.8, ys > 0.8)
    share = lambda flags: jnp.mean(flags, axis=(0, 1), dtype=jnp.float32)
    return {"h": sj.diagnostics.Saturation(share(left), share(right))}


def context(arm: Arm, params: Any, size: int) -> sj.diagnostics.ContextInfluence:
    """By distance, how much characters count for the probability of the next one."""
    tokens = test_windows(CONTEXT_ROWS, size + 1)
    cell = arm.network.cell

    def log_probs(xs):
        _, ys = sj.unroll(cell, params["cell"], xs)
        logits = ys @ params["w_o"] + params["b_o"]
        return -sj.token_losses(logits, tokens[:, 1:])

    xs = jax.nn.one_hot(tokens[:, :-1], len(LETTERS))
    positions = jnp.linspace(size // 2, size - 1, POSITIONS).astype(jnp.int32)
    return sj.diagnostics.context_influence(log_probs, xs, max_lag=size // 2, positions=positions)
