"""Decoding: sampling and searching over any step function.

    step(carry, tokens [N]) -> (carry, logits [N, V])

The carry is any pytree whose leaves lead with the batch axis. The decoders tile, gather and hold
it; what all hypotheses share (an encoder's memory, parameters) is closed over by the step.
"""

from seqjax.decoding.beam import Beams as Beams
from seqjax.decoding.beam import beam_search as beam_search
from seqjax.decoding.logits import StatefulProcessor as StatefulProcessor
from seqjax.decoding.penalties import GNMTLengthPenalty as GNMTLengthPenalty
from seqjax.decoding.penalties import PowerLengthPenalty as PowerLengthPenalty
from seqjax.decoding.sampling import Samples as Samples
from seqjax.decoding.sampling import sample as sample
