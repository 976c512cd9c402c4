"""Memories that a network reads and writes by attention."""

from seqjax.memory.dnc import DNC as DNC
from seqjax.memory.dnc import DNCCarry as DNCCarry
from seqjax.memory.dnc import DNCParams as DNCParams
from seqjax.memory.ntm import NTM as NTM
from seqjax.memory.ntm import NTMCarry as NTMCarry
from seqjax.memory.ntm import NTMParams as NTMParams
