"""Every public cell, and some compositions, for the tests that hold all of them to one contract."""

from seqjax import (
    GRU,
    LSTM,
    SLSTM,
    Bidirectional,
    ClockworkRNN,
    CoupledLSTM,
    Dropout,
    Elman,
    Identity,
    Jordan,
    LayerNormLSTM,
    LearnedCarry,
    Normal,
    PeepholeLSTM,
    ProjectedLSTM,
    Residual,
    Stack,
    Zoneout,
)
from seqjax.cells.lstm import LSTMCarry

CELLS = {
    "elman": Elman(4),
    "elman_no_bias": Elman(4, "sigmoid", use_bias=False),
    "irnn": Elman(4, "relu", w_x_init=Normal(0.5), w_h_init=Identity(0.9)),
    "jordan": Jordan(5, 4),
    "lstm": LSTM(4),
    "lstm_no_bias": LSTM(4, forget_bias=0.0, use_bias=False),
    "gru_after": GRU(4),
    "gru_before": GRU(4, reset="before"),
    "peephole": PeepholeLSTM(4),
    "projected": ProjectedLSTM(5, 3),
    "layer_norm": LayerNormLSTM(4),
    "coupled": CoupledLSTM(4),
    "slstm": SLSTM(4, heads=2),
    "clockwork": ClockworkRNN(6, (1, 2, 3)),
    "dropout": Dropout(0.4),
    "variational_dropout": Dropout(0.4, variational=True),
    "zoneout": Zoneout(LSTM(4), LSTMCarry(h=0.1, c=0.5)),
    "learned_carry": LearnedCarry(GRU(4)),
    "stack": Stack((LSTM(4), Dropout(0.3), Residual(Zoneout(GRU(4), 0.2)), Elman(3))),
    "bidirectional": Bidirectional(LSTM(4)),
    "bidirectional_sum": Bidirectional(GRU(4), Elman(4), merge="sum"),
    "deep_bidirectional": Stack(
        (Bidirectional(GRU(2)), Dropout(0.3), Residual(Bidirectional(LearnedCarry(LSTM(2)))))
    ),
}
STEPPED = {name: cell for name, cell in CELLS.items() if hasattr(cell, "step")}
ENCODERS = {name: cell for name, cell in CELLS.items() if not hasattr(cell, "step")}
