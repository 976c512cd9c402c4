"""The networks that are compared: how each is told the time."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

import seqjax as sj
from experiments.signals.phased_lstm.data import MOST, Waves, differences

SIZE = 64


@dataclass(frozen=True)
class Arm:
    """A cell and what it reads.

    Attributes:
      name: in the table.
      cell: with outputs [B, H].
      inputs: waves -> inputs of the cell, [B, T, ...].
      input_size: D of the inputs.
    """

    name: str
    cell: Any
    inputs: Callable[[Waves], Any]
    input_size: int

    @property
    def phased(self) -> bool:
        """Whether its units have a clock."""
        return isinstance(self.cell, sj.cells.PhasedLSTM)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws params."""
        key_c, key_o = jax.random.split(key)
        return {
            "cell": self.cell.init(key_c, self.input_size),
            "w_o": sj.initializers.GlorotUniform()(key_o, (self.cell.hidden_size, 1)),
            "b_o": jnp.zeros(1),
        }

    def logits(self, params: Any, waves: Waves, cell: Any = None) -> jax.Array:
        """[B], above 0 for a special period; read off the state after the last sample."""
        cell = cell or self.cell
        carry, _ = sj.unroll(cell, params["cell"], self.inputs(waves), lengths=waves.lengths)
        return (cell.output(params["cell"], carry) @ params["w_o"] + params["b_o"])[:, 0]

    def correct(self, params: Any, waves: Waves) -> jax.Array:
        """[B] bool; without the leak, which is for training."""
        cell = replace(self.cell, leak=0.0) if self.phased else self.cell
        return (self.logits(params, waves, cell) > 0) == waves.special


def with_times(waves: Waves) -> jax.Array:
    """[B, T, 2]: the time beside each value, from 0 to 1."""
    return jnp.stack([waves.values, waves.times / MOST], axis=-1)


def with_differences(waves: Waves) -> jax.Array:
    """[B, T, 2]: the time since the last sample beside each value."""
    return jnp.stack([waves.values, differences(waves)], axis=-1)


def timed(waves: Waves) -> sj.cells.Timed:
    """Values [B, T, 1] and times apart."""
    return sj.cells.Timed(waves.values[..., None], waves.times)


# Periods of e to e³ units of time and a ratio of 0.05 are those of the authors' code.
PERIODS = (math.e, math.e**3)
ARMS = (
    Arm("LSTM, time as input", sj.LSTM(SIZE), with_times, 2),
    Arm("LSTM, time differences", sj.LSTM(SIZE), with_differences, 2),
    *(
        Arm(
            f"Phased LSTM, ratio {ratio}",
            sj.cells.PhasedLSTM(SIZE, period_range=PERIODS, open_ratio=ratio),
            timed,
            1,
        )
        for ratio in (0.05, 0.2)
    ),
)


def updates(cell: sj.cells.PhasedLSTM, params: Any, waves: Waves) -> jax.Array:
    """[B] the share of a row's samples at which a unit is open, on average over units."""
    real = jnp.arange(waves.times.shape[1]) < waves.lengths[:, None]
    one = lambda times, real: cell.open_share(params["cell"], times[None], real[None]).mean()
    return jax.vmap(one)(waves.times, real)
