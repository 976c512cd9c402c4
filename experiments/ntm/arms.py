"""The networks that are trained, as tasks of a sweep."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import seqjax as sj
from experiments.lab.task import Task, estimate
from experiments.ntm.problems import PROBLEMS, Problem, Rows

ROWS = 16  # of a training batch
TEST_ROWS = 128


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


PLANS = {
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


def task(name: str, arm: str, plan: Plan, steps: int | None = None) -> Task:
    """One arm on one problem; the loss is nats a target bit."""
    problem = PROBLEMS[name]
    net = network(plan.cell, problem)

    def loss(params, key, span):
        rows = problem.draw(key, ROWS, *span)
        targets = problem.outputs * rows.mask.sum().astype(jnp.float32)
        return costs(net, params, rows).sum() / targets

    def evaluate(params, key, split):
        del split  # fresh rows, from another key
        found = {}
        for index, (test, span) in enumerate(problem.tests.items()):
            rows = problem.draw(jax.random.fold_in(key, index), TEST_ROWS, *span)
            bits = costs(net, params, rows) / jnp.log(2.0)
            found[test] = estimate(bits if problem.known is None else bits - problem.known(rows))
        return found

    first = next(iter(problem.tests))
    return Task(
        name=f"{name}, {arm}",
        init=lambda key: net.init(key, problem.inputs),
        loss=one_span(loss, problem.spans),
        evaluate=evaluate,
        metric=first,
        optimum=dict.fromkeys(problem.tests, 0.0),
        baseline=coin_bits(problem, problem.tests[first]),
        gate=problem.gate,
        steps=steps or plan.steps,
        rates=plan.rates,
        rises=False,
        margins=problem.margins,
        max_norm=plan.max_norm,
    )


def coin_bits(problem: Problem, span: tuple[int, ...]) -> float:
    """The metric of a predictor that says 1/2 wherever a target is not the same in all rows."""
    rows = jax.tree.map(np.asarray, problem.draw(jax.random.key(0), 512, *span))
    varies = (rows.targets != rows.targets[:1]).any(axis=0)
    known = 0.0 if problem.known is None else float(problem.known(rows).mean())
    return float((varies & rows.mask[0][:, None]).sum()) - known


def tasks(name: str, steps: int | None = None) -> list[Task]:
    """Both arms on a problem."""
    return [
        task(name, arm, plan, steps) for arm, plan in zip(("NTM", "LSTM"), PLANS[name], strict=True)
    ]
