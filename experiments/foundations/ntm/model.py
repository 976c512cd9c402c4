"""The two networks and how each problem is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

import seqjax as sj
from experiments.foundations.ntm.data import Problem, Rows


@dataclass(frozen=True)
class Plan:
    """How a problem is trained: the cell, steps, learning rates, the norm of a gradient kept."""

    cell: Any
    steps: int
    rates: tuple[float, ...]
    max_norm: float = 0.1


def ntm(hidden_size: int = 100, heads: int = 1) -> sj.cells.NTM:
    """The paper's feed-forward set-up: 128 slots of 20, shifts by one."""
    controller = sj.cells.Feedforward(hidden_size)
    return sj.cells.NTM(controller, slots=128, width=20, read_heads=heads, write_heads=heads)


ARMS = "NTM", "LSTM"
PLANS = {  # of each arm
    "copy": (Plan(ntm(), 5000, (2e-3, 3e-3)), Plan(sj.LSTM(256), 4000, (1e-3, 3e-3))),
    "repeat": (Plan(ntm(), 5000, (2e-3, 3e-3)), Plan(sj.LSTM(256), 4000, (1e-3, 3e-3))),
    "recall": (Plan(ntm(heads=2), 10_000, (2e-3, 3e-3)), Plan(sj.LSTM(256), 8000, (1e-3, 3e-3))),
    "ngrams": (Plan(ntm(), 5000, (1e-3, 2e-3)), Plan(sj.LSTM(128), 5000, (1e-3, 3e-3))),
    "sort": (Plan(ntm(heads=4), 10_000, (2e-3, 3e-3)), Plan(sj.LSTM(256), 8000, (1e-3, 3e-3))),
}


def network(cell: Any, problem: Problem) -> sj.Stack:
    """A cell and its read-out."""
    return sj.Stack((cell, sj.cells.Feedforward(problem.outputs, activation="identity")))


def costs(net: sj.Stack, params: Any, rows: Rows) -> jax.Array:
    """Nats [B] that the network needs for the targets of each row."""
    logits = sj.unroll(net, params, rows.xs)[1]
    each = optax.sigmoid_binary_cross_entropy(logits, rows.targets).sum(axis=-1)
    return jnp.where(rows.mask, each, 0).sum(axis=1)


def one_span(loss: Callable, spans: tuple) -> Callable:
    """(params, key) -> the loss over one of the spans, drawn; no other one costs anything.

    The gradient is taken inside of the branch: outside of it, what each branch stores for the
    backward pass is stored by all.
    """

    def both(params, key):
        key_s, key_b = jax.random.split(key)
        chosen = jax.random.randint(key_s, (), 0, len(spans))
        branches = [
            lambda params, key, span=span: jax.value_and_grad(loss)(params, key, span)
            for span in spans
        ]
        return jax.lax.switch(chosen, branches, params, key_b)

    @jax.custom_vjp
    def value(params, key):
        return both(params, key)[0]

    scale = lambda grads, g: (jax.tree.map(lambda a: g * a, grads), None)
    value.defvjp(both, scale)
    return value
