"""Four language models of characters with equally many parameters, on Python's own help texts."""

import re
from collections.abc import Callable
from functools import cache
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.lab.network import Network
from experiments.lab.task import TEST, Task, estimate, of_size

LETTERS = " abcdefghijklmnopqrstuvwxyz0.,:;()[]'\"`=_-*"
WINDOW, ROWS, TEST_ROWS = 64, 32, 128


class Arm(NamedTuple):
    """A name and a network."""

    name: str
    network: Network


@cache
def splits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test text as ids: six, one and one eighths of the topics.

    Topics share paragraphs; each is taken where it comes first.
    """
    parts: list[list[str]] = [[], [], []]
    seen: set[str] = set()
    for number, name in enumerate(sorted(topics)):
        for paragraph in topics[name].split("\n\n"):
            text = re.sub(r"\d+", "0", paragraph.lower())
            text = re.sub(f"[^{re.escape(LETTERS)}]+", " ", text)
            text = re.sub(r" +", " ", text).strip() + " "
            if text not in seen:
                parts[{6: 1, 7: 2}.get(number % 8, 0)].append(text)
            seen.add(text)
    place = {letter: i for i, letter in enumerate(LETTERS)}
    train, valid, test = (np.array([place[c] for c in "".join(p)], np.int32) for p in parts)
    return train, valid, test


def windows(tokens: jax.Array, key: jax.Array, rows: int, length: int) -> jax.Array:
    """Random pieces of a text, [rows, length]."""
    starts = jax.random.randint(key, (rows, 1), 0, tokens.size - length)
    return tokens[starts + jnp.arange(length, dtype=jnp.int32)]


def unigram_entropy() -> float:
    """Nats a character of the test text for the frequencies of the training text."""
    train, _, test = splits()
    counts = np.bincount(train, minlength=len(LETTERS)) + 1.0
    return float(-np.log(counts / counts.sum())[test].mean())


def arms(budget: int) -> list[Arm]:
    """The networks, each of the width with which it has nearly so many parameters."""
    makers: dict[str, Callable[[int], Any]] = {
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
    size = len(LETTERS)
    return [
        Arm(name, of_size(lambda units: Network(make(units), size, size), budget, range(4, 512)))  # noqa: B023
        for name, make in makers.items()
    ]


def initial(arm: Arm, seeds: int) -> Any:
    """Params at initialisation, stacked; those that `sweep` begins with."""
    keys = [jax.random.split(jax.random.key(seed))[0] for seed in range(seeds)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(arm.network.init, keys))


def losses(network: Network, params: Any, tokens: jax.Array) -> jax.Array:
    """Nats of each character but the first, [B, T - 1]."""
    return sj.token_losses(network.unroll(params, tokens[:, :-1])[1], tokens[:, 1:])


def task(arm: Arm, steps: int) -> Task:
    """The next character of windows of 64; what a window cannot see is not scored as known."""
    train, valid, test = (jnp.asarray(part) for part in splits())
    shortest = min(valid.size, test.size)
    held_out = jnp.stack([valid[:shortest], test[:shortest]])

    def evaluate(params, key, split):
        tokens = windows(held_out[split], key, TEST_ROWS, WINDOW + 1)
        return {"nats a character": estimate(losses(arm.network, params, tokens))}

    return Task(
        name=arm.name,
        init=arm.network.init,
        loss=lambda params, key: losses(
            arm.network, params, windows(train, key, ROWS, WINDOW + 1)
        ).mean(),
        evaluate=evaluate,
        metric="nats a character",
        optimum={},
        baseline=unigram_entropy(),
        gate=0.8 * unigram_entropy(),
        steps=steps,
        rates=(3e-3, 1e-2),
        rises=False,
    )


def test_windows(rows: int, length: int) -> jax.Array:
    """The same pieces of the test text for every network, [rows, length]."""
    return windows(jnp.asarray(splits()[TEST + 1]), jax.random.key(TEST), rows, length)
