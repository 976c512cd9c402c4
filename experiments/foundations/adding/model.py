"""Six recurrences of one size, and the sum read off the last output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.lab.task import of_size

LENGTH = 100
PARAMETERS = 3_000


@dataclass(frozen=True)
class Arm:
    """A cell and its initial values.

    Attributes:
      name: in the table.
      cell: hidden_size -> cell.
      rates: of Adam, to choose from.
      longest: of `chrono_biases`, None for the cell's own biases.
    """

    name: str
    cell: Callable[[int], Any]
    rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    longest: float | None = None


ARMS = (
    Arm(
        "tanh, Glorot",
        lambda size: sj.Elman(size, w_h_init=sj.initializers.GlorotUniform()),
        (3e-4, 1e-3, 3e-3),
    ),
    Arm("tanh, orthogonal", lambda size: sj.Elman(size), (3e-4, 1e-3, 3e-3)),
    Arm(
        "ReLU, identity (IRNN)",  # Le et al. 2015, section 3
        lambda size: sj.Elman(
            size,
            activation="relu",
            w_x_init=sj.initializers.Normal(1e-3),
            w_h_init=sj.initializers.Identity(),
        ),
        (1e-4, 3e-4, 1e-3),
    ),
    Arm("GRU", lambda size: sj.GRU(size)),
    Arm("LSTM", lambda size: sj.LSTM(size)),
    Arm("LSTM, chrono", lambda size: sj.LSTM(size), longest=LENGTH),
)


@dataclass(frozen=True)
class Network:
    """A cell that reads numbers and marks, and the sum read off its last output."""

    cell: Any
    longest: float | None = None

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        key_c, key_g, key_o = jax.random.split(key, 3)
        cell = self.cell.init(key_c, 2)
        if self.longest is not None:
            cell = sj.initializers.chrono_biases(cell, key_g, self.longest)
        w_o = sj.initializers.GlorotUniform()(key_o, (self.cell.hidden_size, 1))
        return {"cell": cell, "w_o": w_o, "b_o": jnp.zeros(1)}

    def sums(self, params: dict[str, Any], xs: jax.Array) -> jax.Array:
        """What it says the sums are, [B], of xs [B, T, 2]."""
        last = sj.unroll(self.cell, params["cell"], xs)[1][:, -1]
        return (last @ params["w_o"] + params["b_o"])[:, 0]


def network(arm: Arm, parameters: int = PARAMETERS) -> Network:
    """The network of an arm whose number of parameters is nearest to the one wanted."""
    return of_size(lambda size: Network(arm.cell(size), arm.longest), parameters)
