"""Recurrent sequence models as pure functions in JAX."""

from seqjax.cells import GRU as GRU
from seqjax.cells import LSTM as LSTM
from seqjax.cells import Cell as Cell
from seqjax.cells import Elman as Elman
from seqjax.cells import RecurrentCell as RecurrentCell
from seqjax.cells import SequenceCell as SequenceCell
from seqjax.noise import Noise as Noise
from seqjax.scan import scan as scan
from seqjax.unroll import unroll as unroll
