"""Predicting the next symbol of a source whose entropy is known: temporal XOR, a Markov chain."""

import math
from typing import Any

import jax

import seqjax as sj
from experiments.foundations.basics.data import XOR_OPTIMUM, MarkovSource, xor_stream
from experiments.lab.network import Network
from experiments.lab.task import Task, estimate

COIN = math.log(2)
SOURCE = MarkovSource.random(16, concentration=0.3, seed=0)
TEST_ROWS = 2048


def next_symbol_losses(network: Network, params, symbols: jax.Array) -> jax.Array:
    """Nats of each symbol [B, T] but the first, given those before it: [B, T - 1]."""
    _, logits = network.unroll(params, symbols[:, :-1])
    return sj.token_losses(logits, symbols[:, 1:])


def temporal_xor(name: str, cell: Any, classes: int | None, steps: int, length: int = 60) -> Task:
    """a, b, a xor b, ...: only every third bit can be predicted (Elman 1990)."""
    network = Network(cell, 2, classes)

    def loss(params, key):
        return next_symbol_losses(network, params, xor_stream(key, 32, length + 1)).mean()

    def evaluate(params, key, split):
        del split  # fresh streams, from another key
        losses = next_symbol_losses(network, params, xor_stream(key, TEST_ROWS, length + 1))
        phases = {"xor": losses[:, 1::3], "a": losses[:, 2::3], "b": losses[:, ::3]}
        return {"nats/bit": estimate(losses)} | {
            f"nats/bit, {phase}": estimate(values) for phase, values in phases.items()
        }

    optimum = {"nats/bit, xor": 0.0, "nats/bit, a": COIN, "nats/bit, b": COIN}
    return Task(
        name=f"temporal XOR, {name}",
        init=network.init,
        loss=loss,
        evaluate=evaluate,
        metric="nats/bit",
        optimum={"nats/bit": XOR_OPTIMUM} | optimum,
        baseline=COIN,
        gate=0.48,
        steps=steps,
        rates=(1e-2, 3e-2, 1e-1),
        rises=False,
        margins={"nats/bit, xor": 0.05, "nats/bit, a": 0.02, "nats/bit, b": 0.02},
    )


def markov(source: MarkovSource = SOURCE, length: int = 32, steps: int = 400) -> Task:
    """An order-1 chain: the loss falls from the unigram's to the entropy rate and no further."""
    size = len(source.transition)
    network = Network(sj.GRU(32), size, size)

    def loss(params, key):
        symbols = source.draw(key, 32, length + 1)
        return next_symbol_losses(network, params, symbols).mean()

    def evaluate(params, key, split):
        del split
        symbols = source.draw(key, TEST_ROWS, length + 1)
        losses = next_symbol_losses(network, params, symbols)
        excess = losses - source.losses(symbols)  # the same symbols: a divergence, never below 0
        return {"nats/symbol": estimate(losses), "above the source": estimate(excess)}

    return Task(
        name="Markov source, GRU",
        init=network.init,
        loss=loss,
        evaluate=evaluate,
        metric="nats/symbol",
        optimum={"nats/symbol": source.entropy_rate, "above the source": 0.0},
        baseline=source.unigram_entropy,
        gate=source.entropy_rate + 0.01,
        steps=steps,
        rates=(1e-2, 3e-2, 1e-1),
        rises=False,
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [
        temporal_xor("Elman", sj.Elman(16), 2, steps=800),
        # A Jordan net's memory is its output; the sum of two logits is free to hold some.
        temporal_xor(
            "Jordan",
            sj.cells.Jordan(16, output_size=2, output_activation="identity"),
            None,
            steps=1000,
        ),
        markov(),
    ]
