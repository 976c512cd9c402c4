"""Every diagnostic of one network, as plain lists."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.gradients.arms import LETTERS, Arm, test_windows

FLOW_ROWS, UNIT_ROWS, CONTEXT_ROWS = 2, 16, 16
CONTEXT, POSITIONS = 96, 16  # characters, and the places in their second half that are looked from


def all_of(arm: Arm, stacked: Any, length: int) -> list[dict[str, Any]]:
    """What each seed's network shows; params are stacked, [seeds, ...]."""
    seeds = jax.tree.leaves(stacked)[0].shape[0]
    pick = lambda i: jax.tree.map(lambda a: a[i], stacked)
    found = [one(arm, pick(i), length) for i in range(seeds)]
    return [jax.tree.map(lambda a: np.asarray(a).tolist(), each) for each in found]


@functools.partial(jax.jit, static_argnums=(0, 2))
def one(arm: Arm, params: Any, length: int) -> dict[str, Any]:
    """Means over rows where rows are alike: of logarithms, exponents and influences."""
    cell, weights = arm.network.cell, params["cell"]
    xs = jax.nn.one_hot(test_windows(FLOW_ROWS, length), len(LETTERS))
    flow = sj.diagnostics.gradient_flow(cell, weights, xs)
    norms = flow.log_norms.mean(axis=0)
    inputs = flow.log_input_norms
    influence = context(arm, params)
    return {
        "log_norms": norms,
        "log_gains": flow.log_gains.mean(axis=0),
        "log_input_norms": None if inputs is None else inputs.mean(axis=0),
        "memory": sj.diagnostics.memory_length(norms),
        "half_life": sj.diagnostics.memory_length(norms, share=0.5),
        "exponents": flow.exponents.mean(axis=0),
        "saturation": {name: each._asdict() for name, each in units(cell, weights).items()},
        "influence": influence.influence,
        "influence_half_life": influence.half_life,
    }


def units(cell: Any, params: Any) -> dict[str, sj.diagnostics.Saturation]:
    """Saturation of gates; of a network without gates, of its units.

    A tanh unit is at one end below -0.8 and at the other above 0.8, as σ is below 0.1 and above
    0.9; one of ReLU is at its end where it is 0.
    """
    xs = jax.nn.one_hot(test_windows(UNIT_ROWS, CONTEXT), len(LETTERS))
    if found := sj.diagnostics.gate_saturation(cell, params, xs):
        return found
    _, ys = sj.unroll(cell, params, xs)
    left, right = (ys <= 0, ys < 0) if cell.activation == "relu" else (ys < -0.8, ys > 0.8)
    share = lambda flags: jnp.mean(flags, axis=(0, 1), dtype=jnp.float32)
    return {"h": sj.diagnostics.Saturation(share(left), share(right))}


def context(arm: Arm, params: Any) -> sj.diagnostics.ContextInfluence:
    """By distance, how much characters count for the probability of the next one."""
    tokens = test_windows(CONTEXT_ROWS, CONTEXT + 1)
    cell = arm.network.cell

    def log_probs(xs):
        _, ys = sj.unroll(cell, params["cell"], xs)
        logits = ys @ params["w_o"] + params["b_o"]
        return -sj.token_losses(logits, tokens[:, 1:])

    xs = jax.nn.one_hot(tokens[:, :-1], len(LETTERS))
    positions = jnp.linspace(CONTEXT // 2, CONTEXT - 1, POSITIONS).astype(jnp.int32)
    return sj.diagnostics.context_influence(
        log_probs, xs, max_lag=CONTEXT // 2, positions=positions
    )
