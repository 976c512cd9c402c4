"""Cells: frozen specs with pure methods over plain pytrees."""

from seqjax.cells.base import Cell as Cell
from seqjax.cells.base import RecurrentCell as RecurrentCell
from seqjax.cells.base import SequenceCell as SequenceCell
from seqjax.cells.elman import Elman as Elman
from seqjax.cells.gru import GRU as GRU
from seqjax.cells.lstm import LSTM as LSTM
