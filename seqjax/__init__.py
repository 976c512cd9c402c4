"""Recurrent sequence models as pure functions in JAX.

    step: (carry, x) -> (carry, y)

A cell makes such a step, everything else runs one. Here stand the entry point of each room and
what a first program needs; every other name lives in its room, such as `sj.linear.Mamba`.

    core          scan, unroll, cells as a protocol, noise, activation checkpointing
    cells         LSTM, GRU and their kin; Stack, Bidirectional, Dropout; NTM, DNC
    linear        linear recurrences, parallel over time: S5, Mamba, mLSTM, DeltaNet
    attention     attention over a memory, and decoders that use it
    newton        all steps of a nonlinear cell at once
    losses        cross-entropy, CTC, transducer, CRF, large vocabularies
    objectives    scheduled sampling, professor forcing, expected rewards
    training      a train step, regularisers, averaging, adaptation, saved state
    gradients     truncated backpropagation, and gradients forward in time
    decoding      sampling, beams, particles, constraints, over any step
    diagnostics   looking inside: gradient flow, gates, memory, exposure
    data          corpora in windows, time stamps
    metrics       edit distances, error rates, spans of tags
    initializers  initial values of weights and gates

`seqjax.testing.check_cell` proves that a cell of your own keeps the contract; import it by name.
"""

from seqjax import (
    attention,
    cells,
    core,
    data,
    decoding,
    diagnostics,
    gradients,
    initializers,
    linear,
    losses,
    metrics,
    newton,
    objectives,
    training,
)
from seqjax._internal.records import register_records
from seqjax.attention.decoder import AttentionDecoder
from seqjax.cells.bidirectional import Bidirectional
from seqjax.cells.dropout import Dropout
from seqjax.cells.elman import Elman
from seqjax.cells.gru import GRU
from seqjax.cells.learned_carry import LearnedCarry
from seqjax.cells.lstm import LSTM, LSTMCarry
from seqjax.cells.stack import Residual, Stack
from seqjax.cells.zoneout import Zoneout
from seqjax.core.cell import Cell
from seqjax.core.noise import Noise
from seqjax.core.recurrent import RecurrentCell
from seqjax.core.scan import scan
from seqjax.core.unroll import unroll
from seqjax.data.corpus import Corpus
from seqjax.decoding.beam.beam import Beams, beam_search
from seqjax.decoding.sampling.drawing import Samples
from seqjax.decoding.sampling.sample import sample
from seqjax.decoding.sampling.stream import stream
from seqjax.gradients.truncated_bptt import truncated_value_and_grad
from seqjax.linear.linear_scan import linear_scan
from seqjax.losses.tokens import cross_entropy, token_losses
from seqjax.training.saving import restore_checkpoint, save_checkpoint
from seqjax.training.step import TrainState, init_train_state, make_train_step

__version__ = "0.1.0"

register_records(
    core,
    cells,
    linear,
    attention,
    newton,
    losses,
    objectives,
    training,
    gradients,
    decoding,
    diagnostics,
    data,
    metrics,
)

__all__ = [
    # rooms
    "core",
    "cells",
    "linear",
    "attention",
    "newton",
    "losses",
    "objectives",
    "training",
    "gradients",
    "decoding",
    "diagnostics",
    "data",
    "metrics",
    "initializers",
    # running
    "scan",
    "unroll",
    "linear_scan",
    "Noise",
    # cells
    "Cell",
    "RecurrentCell",
    "Elman",
    "LSTM",
    "LSTMCarry",
    "GRU",
    "Stack",
    "Residual",
    "Dropout",
    "Zoneout",
    "Bidirectional",
    "LearnedCarry",
    # attention and losses
    "AttentionDecoder",
    "cross_entropy",
    "token_losses",
    # training
    "TrainState",
    "init_train_state",
    "make_train_step",
    "truncated_value_and_grad",
    "save_checkpoint",
    "restore_checkpoint",
    "Corpus",
    # decoding
    "sample",
    "stream",
    "beam_search",
    "Samples",
    "Beams",
]


def __dir__() -> list[str]:
    """The rooms and the names of the top, and no module that only stands there."""
    return [*__all__, "__version__", "__doc__", "__file__", "__name__", "__path__"]
