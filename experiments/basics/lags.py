"""Truncated backpropagation: what lies further back than the window is not learned."""

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.basics.networks import Network
from experiments.sweeps import Task, estimate

SYMBOLS, LAG = 8, 20
READ = 1_000_000  # steps of each of the 32 streams; every arm reads as many
WARM, SCORED, TEST_ROWS = 200, 100, 512


def draw(past: jax.Array, key: jax.Array, window: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The next symbols [B, K] of streams whose last LAG are `past`, those LAG before, the last."""
    symbols = jax.random.randint(key, (past.shape[0], window), 0, SYMBOLS)
    both = jnp.concatenate([past, symbols], axis=1)
    return symbols, both[:, :window], both[:, window:]


def lag_copy(
    name: str, window: int, gate: float, trained: bool = True, read: int = READ, size: int = 64
) -> Task:
    """Say the symbol of LAG steps ago, learned from endless streams by windows of K steps.

    The carry crosses the windows, the gradient does not: no window of K <= LAG steps holds a
    symbol and the place where it is asked for, one of K > LAG holds K - LAG such pairs. What a
    network of shorter windows still gets right it owes to what its recurrence happens to keep, as
    one whose recurrence is never trained does (Jaeger 2001: an echo state network).
    """
    network = Network(sj.GRU(size), SYMBOLS, SYMBOLS)

    def logits(params, carry, symbols):
        if not trained:
            params = params | {"cell": jax.lax.stop_gradient(params["cell"])}
        return network.unroll(params, symbols, carry=carry)

    def begin(params, rows=32):
        past = jnp.zeros((rows, LAG), jnp.int32)
        return network.cell.initial_carry(params["cell"], batch_size=rows), past

    def loss(params, carry, key):
        carry, past = carry
        symbols, targets, past = draw(past, key, window)
        carry, scores = logits(params, carry, symbols)
        return sj.cross_entropy(scores, targets), (carry, past)

    def evaluate(params, key, split):
        del split  # fresh symbols, from another key
        carry, past = begin(params, TEST_ROWS)
        symbols, targets, _ = draw(past, key, WARM + SCORED)
        right = logits(params, carry, symbols)[1].argmax(axis=-1) == targets
        return {"accuracy": estimate(right[:, WARM:])}

    return Task(
        name=f"lag copy, {name}",
        init=network.init,
        loss=loss,
        evaluate=evaluate,
        metric="accuracy",
        optimum={"accuracy": 1.0},
        baseline=1 / SYMBOLS,
        gate=gate,
        steps=read // window,
        rates=(2e-3, 3e-3),
        carry=begin,
    )


def tasks() -> list[Task]:
    """All of this file; what cannot be learned has to reach nothing."""
    return [
        lag_copy("windows of 25", 25, gate=0.99),
        lag_copy("windows of 10", 10, gate=0.0),
        lag_copy("windows of 5", 5, gate=0.0),
        lag_copy("untrained recurrence", 25, gate=0.0, trained=False),
    ]
