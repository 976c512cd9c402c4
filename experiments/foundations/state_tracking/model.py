"""Ten cells in networks of one size, and what theory says of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.foundations.state_tracking.data import PROBLEMS, Automaton
from experiments.lab.task import of_size

PARAMETERS = 12_000


@dataclass(frozen=True)
class Arm:
    """A kind of cell.

    Attributes:
      name: in the table.
      cell: hidden_size -> cell.
      solves: names of the problems that one layer of it can solve for words of any length, as far
        as theory goes: Merrill, Petty and Sabharwal 2024; Grazzi et al. 2025; Siegelmann and
        Sontag 1995 for nonlinear recurrences.
      multiple: of which hidden_size has to be.
    """

    name: str
    cell: Callable[[int], Any]
    solves: tuple[str, ...] = ()
    multiple: int = 1


ALL = tuple(problem.name for problem in PROBLEMS)
ARMS = (
    Arm("Elman", lambda size: sj.Elman(size), ALL),
    Arm("GRU", lambda size: sj.GRU(size), ALL),
    Arm("LSTM", lambda size: sj.LSTM(size), ALL),
    Arm("sLSTM", lambda size: sj.cells.SLSTM(size), ALL),
    Arm("MinGRU", lambda size: sj.linear.MinGRU(size)),
    Arm("LRU", lambda size: sj.linear.LRU(size)),
    Arm("Mamba", lambda size: sj.linear.Mamba(size, state_size=4)),
    Arm("mLSTM", lambda size: sj.linear.MLSTM(size, heads=2), multiple=2),
    Arm("DeltaNet (0 to 1)", lambda size: sj.linear.DeltaNet(size, heads=2), multiple=2),
    Arm(
        "DeltaNet (-1 to 1)",
        lambda size: sj.linear.DeltaNet(size, heads=2, negative_eigenvalues=True),
        ("parity", "swaps of five"),
        multiple=2,
    ),
)


@dataclass(frozen=True)
class Network:
    """Letters as one-hot vectors, a dense layer, one cell, and a hidden layer before the states.

    Attributes:
      cell: any cell.
      size: its hidden_size, and that of both dense layers.
      problem: what is to be tracked.
    """

    cell: Any
    size: int
    problem: Automaton

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        keys = jax.random.split(key, 4)
        dense = lambda key, rows, columns: sj.initializers.GlorotUniform()(key, (rows, columns))
        return {
            "embed": jax.random.normal(keys[0], (self.problem.letters, self.size)),
            "cell": self.cell.init(keys[1], self.size),
            "hidden": dense(keys[2], self.size, self.size),
            "bias": jnp.zeros(self.size),
            "out": dense(keys[3], self.size, self.problem.states),
        }

    def logits(self, params: dict[str, Any], words: jax.Array) -> jax.Array:
        """Of the state after every letter, [B, T, states]."""
        _, ys = sj.unroll(self.cell, params["cell"], params["embed"][words])
        return jax.nn.gelu(ys @ params["hidden"] + params["bias"]) @ params["out"]


def network(arm: Arm, problem: Automaton, parameters: int = PARAMETERS) -> Network:
    """The network of an arm whose number of parameters is nearest to the one wanted."""
    sizes = range(4 * arm.multiple, 100, arm.multiple)
    return of_size(lambda size: Network(arm.cell(size), size, problem), parameters, sizes)
