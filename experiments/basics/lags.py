"""Truncated backpropagation: what lies further back than the window is not learned."""

import jax

import seqjax as sj
from experiments.basics.networks import Network
from experiments.basics.training import Task, estimate

SYMBOLS, LAG, LENGTH = 8, 20, 75
TEST_ROWS = 512


def lag_copy(
    name: str, window: int, gate: float, trained: bool = True, steps: int = 4000, size: int = 64
) -> Task:
    """Say the symbol of LAG steps ago, learned through windows of K steps.

    The carry crosses the windows, the gradient does not: no window of K <= LAG steps holds a
    symbol and the place where it is asked for. What such a network still gets right it owes to
    what its recurrence happens to keep, as one whose recurrence is never trained does (Jaeger
    2001: an echo state network).
    """
    network = Network(sj.GRU(size), SYMBOLS, SYMBOLS)

    def logits(params, symbols):
        if not trained:
            params = params | {"cell": jax.lax.stop_gradient(params["cell"])}
        return network.unroll(params, symbols, truncate=window)[1][:, LAG:]

    def draw(key, rows):
        return jax.random.randint(key, (rows, LENGTH), 0, SYMBOLS)

    def loss(params, key):
        symbols = draw(key, 32)
        return sj.cross_entropy(logits(params, symbols), symbols[:, :-LAG])

    def evaluate(params, key, split):
        del split  # fresh symbols, from another key
        symbols = draw(key, TEST_ROWS)
        right = logits(params, symbols).argmax(axis=-1) == symbols[:, :-LAG]
        return {"accuracy": estimate(right)}

    return Task(
        name=f"lag copy, {name}",
        init=network.init,
        loss=loss,
        evaluate=evaluate,
        metric="accuracy",
        optimum={"accuracy": 1.0},
        baseline=1 / SYMBOLS,
        gate=gate,
        steps=steps,
        rates=(3e-3, 6e-3),
    )


def tasks() -> list[Task]:
    """All of this file; what cannot be learned has to reach nothing."""
    return [
        lag_copy("whole rows", LENGTH, gate=0.99),
        lag_copy("windows of 25", 25, gate=0.99),
        lag_copy("windows of 10", 10, gate=0.0),
        lag_copy("windows of 5", 5, gate=0.0),
        lag_copy("untrained recurrence", LENGTH, gate=0.0, trained=False),
    ]
