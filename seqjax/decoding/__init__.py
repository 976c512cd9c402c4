"""Decoding: sampling and searching over any step function.

    step(carry, tokens [N]) -> (carry, logits [N, V])

The carry is any pytree whose leaves lead with the batch axis. The decoders tile, gather and hold
it; what all hypotheses share (an encoder's memory, parameters) is closed over by the step.
"""

from seqjax.decoding.automata import Automaton as Automaton
from seqjax.decoding.automata import explored_automaton as explored_automaton
from seqjax.decoding.automata import join_automata as join_automata
from seqjax.decoding.beam import Beams as Beams
from seqjax.decoding.beam import beam_search as beam_search
from seqjax.decoding.constraints import Accept as Accept
from seqjax.decoding.constraints import Allow as Allow
from seqjax.decoding.constraints import AllowByState as AllowByState
from seqjax.decoding.constraints import keep_accepted as keep_accepted
from seqjax.decoding.drawing import Samples as Samples
from seqjax.decoding.ensembles import Ensemble as Ensemble
from seqjax.decoding.forcing import ForcedTokens as ForcedTokens
from seqjax.decoding.forcing import MinLength as MinLength
from seqjax.decoding.forcing import SuppressTokens as SuppressTokens
from seqjax.decoding.languages import regex_automaton as regex_automaton
from seqjax.decoding.languages import words_automaton as words_automaton
from seqjax.decoding.logits import StatefulProcessor as StatefulProcessor
from seqjax.decoding.penalties import CoveragePenalty as CoveragePenalty
from seqjax.decoding.penalties import GNMTLengthPenalty as GNMTLengthPenalty
from seqjax.decoding.penalties import PowerLengthPenalty as PowerLengthPenalty
from seqjax.decoding.penalties import SockeyeLengthPenalty as SockeyeLengthPenalty
from seqjax.decoding.repetition import AfterPrompt as AfterPrompt
from seqjax.decoding.repetition import FrequencyPenalty as FrequencyPenalty
from seqjax.decoding.repetition import NoRepeatNGram as NoRepeatNGram
from seqjax.decoding.repetition import PresencePenalty as PresencePenalty
from seqjax.decoding.repetition import RepetitionPenalty as RepetitionPenalty
from seqjax.decoding.sampling import sample as sample
from seqjax.decoding.selection import best_of as best_of
from seqjax.decoding.selection import majority as majority
from seqjax.decoding.truncation import Truncation as Truncation
