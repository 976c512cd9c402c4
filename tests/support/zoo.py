"""Every public cell, and some compositions, for the tests that hold all of them to one contract."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from seqjax import (
    GRU,
    LSTM,
    Bidirectional,
    Dropout,
    Elman,
    LearnedCarry,
    RecurrentCell,
    Residual,
    Stack,
    Zoneout,
)
from seqjax.cells import (
    DNC,
    MGU,
    NTM,
    SLSTM,
    ClockworkRNN,
    ConvLSTM,
    CoupledLSTM,
    DiagonalGRU,
    DiagonalLSTM,
    Feedforward,
    Jordan,
    Lambda,
    LayerNormLSTM,
    PeepholeLSTM,
    PhasedLSTM,
    ProjectedLSTM,
    Timed,
)
from seqjax.cells.lstm import LSTMCarry
from seqjax.core.cell import is_encoder
from seqjax.initializers import Identity, Normal
from seqjax.linear import (
    LRU,
    MLSTM,
    QRNN,
    RGLRU,
    S5,
    SRU,
    DeltaNet,
    LinearAttention,
    Mamba,
    MinGRU,
    MinLSTM,
)


@dataclass(frozen=True)
class Adapted(RecurrentCell):
    """A cell whose inputs or outputs are no vectors, as one whose are."""

    cell: Any

    def init(self, key, input_size):
        return self.cell.init(key, input_size)

    def initial_carry(self, params, batch_size, key=None):
        return self.cell.initial_carry(params, batch_size, key)

    def recur(self, params, carry, z, affine):
        return self.cell.recur(params, carry, z, affine)

    def output(self, params, carry):
        y = self.cell.output(params, carry)
        return y.reshape(y.shape[0], -1)


class Clocked(Adapted):
    """The last channel is the time."""

    def project(self, params, xs):
        return self.cell.project(params, Timed(xs, xs[..., -1]))


class Pictured(Adapted):
    """A channel's number stands at each place of the image, times the number of the place."""

    def project(self, params, xs):
        shape = self.cell.shape
        places = jnp.arange(1, 1 + math.prod(shape), dtype=xs.dtype).reshape(*shape, 1)
        return self.cell.project(params, xs.reshape(*xs.shape[:-1], *[1] * len(shape), -1) * places)


CELLS = {
    "elman": Elman(4),
    "elman_no_bias": Elman(4, activation="sigmoid", use_bias=False),
    "irnn": Elman(4, activation="relu", w_x_init=Normal(0.5), w_h_init=Identity(0.9)),
    "jordan": Jordan(5, output_size=4),
    "lstm": LSTM(4),
    "lstm_no_bias": LSTM(4, forget_bias=0.0, use_bias=False),
    "gru_after": GRU(4),
    "gru_before": GRU(4, reset="before"),
    "mgu": MGU(4),
    "peephole": PeepholeLSTM(4),
    "projected": ProjectedLSTM(5, projection_size=3),
    "layer_norm": LayerNormLSTM(4),
    "coupled": CoupledLSTM(4),
    "slstm": SLSTM(4, heads=2),
    "phased": Clocked(PhasedLSTM(4, period_range=(0.5, 4.0), open_ratio=0.5, leak=0.01)),
    "phased_peepholes": Clocked(
        PhasedLSTM(4, period_range=(0.5, 4.0), open_ratio=0.5, peepholes=True)
    ),
    "conv": Pictured(ConvLSTM(2, kernel_size=(2, 3), shape=(2, 3))),
    "conv_peepholes": Pictured(ConvLSTM(2, kernel_size=3, shape=(4,), peepholes=True)),
    "clockwork": ClockworkRNN(6, periods=(1, 2, 3)),
    "diagonal_gru": DiagonalGRU(4),
    "diagonal_lstm": DiagonalLSTM(4),
    "linear_attention": LinearAttention(4, heads=2, key_size=3, chunk_size=4),
    "delta_net": DeltaNet(4, heads=2, key_size=3, chunk_size=4),
    "gated_delta_net": DeltaNet(4, gated=True, negative_eigenvalues=True, chunk_size=4),
    "mlstm": MLSTM(4, heads=2, key_size=3, chunk_size=4),
    "dropout": Dropout(0.4),
    "variational_dropout": Dropout(0.4, variational=True),
    "zoneout": Zoneout(LSTM(4), LSTMCarry(h=0.1, c=0.5)),
    "learned_carry": LearnedCarry(GRU(4)),
    "stack": Stack((LSTM(4), Dropout(0.3), Residual(Zoneout(GRU(4), 0.2)), Elman(3))),
    "bidirectional": Bidirectional(LSTM(4)),
    "bidirectional_sum": Bidirectional(GRU(4), backward=Elman(4), merge="sum"),
    "lambda": Lambda("gelu"),
    "feedforward": Feedforward(4, activation="relu"),
    "ntm": NTM(
        Stack((LSTM(3), Dropout(0.3))), slots=5, width=2, read_heads=2, write_heads=2, shift_range=2
    ),
    "dnc": DNC(Elman(4), slots=4, width=3, read_heads=2),
    "deep_bidirectional": Stack(
        (Bidirectional(GRU(2)), Dropout(0.3), Residual(Bidirectional(LearnedCarry(LSTM(2)))))
    ),
    "min_gru": MinGRU(4),
    "min_lstm": MinLSTM(4, candidate="positive", method="chunked"),
    "qrnn": QRNN(4, kernel_size=3),
    "sru": SRU(4, method="chunked"),
    "lru": LRU(4, state_size=3, method="associative"),
    "rg_lru": RGLRU(4),
    "s5": S5(4, state_size=3, min_step=0.1, max_step=1.0),
    "mamba": Mamba(3, channels=4, state_size=2, kernel_size=3, remat=4, min_step=0.1, max_step=1.0),
    "linear_stack": Stack((MinGRU(4), Residual(LearnedCarry(QRNN(4))), LRU(3))),
}
STEPPED = {name: cell for name, cell in CELLS.items() if not is_encoder(cell)}
ENCODERS = {name: cell for name, cell in CELLS.items() if is_encoder(cell)}
