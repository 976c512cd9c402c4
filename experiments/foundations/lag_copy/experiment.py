"""Truncated backpropagation: what lies further back than the window is not learned."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.lab import tables
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.network import Network
from experiments.lab.record import Report, Table
from experiments.lab.task import Task, estimate

SYMBOLS, LAG = 8, 20
WARM, SCORED, TEST_ROWS = 200, 100, 512


@dataclass(frozen=True)
class Config(SweepSettings):
    """Say the symbol of 20 steps ago, learned from endless streams by windows of K steps."""

    read: int = 250_000
    """Steps that each of 32 streams is read for; a million takes half an hour."""
    hidden_size: int = 64
    """Units."""


def draw(past: jax.Array, key: jax.Array, window: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The next symbols [B, K] of streams whose last LAG are `past`, those LAG before, the last."""
    symbols = jax.random.randint(key, (past.shape[0], window), 0, SYMBOLS)
    both = jnp.concatenate([past, symbols], axis=1)
    return symbols, both[:, :window], both[:, window:]


def lag_copy(name: str, window: int, gate: float, config: Config, trained: bool = True) -> Task:
    """Say the symbol of LAG steps ago, learned from endless streams by windows of K steps.

    The carry crosses the windows, the gradient does not: no window of K <= LAG steps holds a
    symbol and the place where it is asked for, one of K > LAG holds K - LAG such pairs. What a
    network of shorter windows still gets right it owes to what its recurrence happens to keep, as
    one whose recurrence is never trained does (Jaeger 2001: an echo state network).
    """
    network = Network(sj.GRU(config.hidden_size), SYMBOLS, SYMBOLS)

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
        name=name,
        init=network.init,
        loss=loss,
        evaluate=evaluate,
        metric="accuracy",
        optimum={"accuracy": 1.0},
        baseline=1 / SYMBOLS,
        gate=gate,
        steps=max(config.read // window, 1),
        rates=(2e-3, 3e-3),
        carry=begin,
    )


def tasks(config: Config) -> list[Task]:
    """Windows longer and shorter than the lag; what cannot be learned has to reach nothing."""
    return [
        lag_copy("windows of 25", 25, 0.99, config),
        lag_copy("windows of 10", 10, 0.0, config),
        lag_copy("windows of 5", 5, 0.0, config),
        lag_copy("untrained recurrence", 25, 0.0, config, trained=False),
    ]


def report(config: Config, results: Results) -> Report:
    """The accuracy of each length of windows."""
    test = {name: found["test"]["accuracy"] for name, found in results.found.items()}
    rows = [[name, f"{one['mean']:.3f}", tables.seeds(one, 3)] for name, one in test.items()]
    caption = f"Accuracy after {config.read:,} steps of each stream; a guess: {1 / SYMBOLS:g}:"
    line = ", ".join(f"{row[0]} {row[1]}" for row in rows)
    return Report(f"Accuracy: {line}.", [Table(["", "mean", "each seed"], rows, caption)])


EXPERIMENT = Experiment(
    name="lag_copy",
    source="Williams and Peng 1990; Jaeger 2001",
    data="drawn: endless streams of 8 symbols",
    minutes=8,
    config=Config,
    tasks=tasks,
    report=report,
    quick={"seeds": 1, "read": 20_000},
    tiny={"seeds": 1, "read": 50, "hidden_size": 4, "only": "of 25"},
)
