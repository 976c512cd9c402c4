"""Decoding: sampling and searching over any step function.

    step(carry, tokens [N]) -> (carry, logits [N, V])

The carry is any pytree whose leaves lead with the batch axis. The decoders repeat, gather and
freeze it; the step closes over what all hypotheses share (an encoder's memory, parameters).

A compiled decode can be saved, and loaded where neither the model's code nor its parameters are,
with keys as their data (flatbuffers must be installed).

    >>> import jax
    >>> import jax.numpy as jnp
    >>> step = lambda carry, tokens: (carry, carry)
    >>> def decode(logits, key_data):
    ...     key = jax.random.wrap_key_data(key_data)
    ...     return sample(step, logits, bos=0, eos=1, max_len=4, key=key)
    >>> args = jnp.zeros((2, 3)), jax.random.key_data(jax.random.key(0))
    >>> saved = jax.export.export(jax.jit(decode))(*args).serialize()
    >>> samples = jax.export.deserialize(saved).call(*args)
    >>> bool(jnp.array_equal(samples.tokens, decode(*args).tokens))
    True
"""

from seqjax.decoding.automata.automaton import Automaton as Automaton
from seqjax.decoding.automata.automaton import explored_automaton as explored_automaton
from seqjax.decoding.automata.automaton import join_automata as join_automata
from seqjax.decoding.automata.languages import regex_automaton as regex_automaton
from seqjax.decoding.automata.languages import words_automaton as words_automaton
from seqjax.decoding.beam.beam import Beams as Beams
from seqjax.decoding.beam.beam import beam_search as beam_search
from seqjax.decoding.beam.penalties import CoveragePenalty as CoveragePenalty
from seqjax.decoding.beam.penalties import GNMTLengthPenalty as GNMTLengthPenalty
from seqjax.decoding.beam.penalties import PowerLengthPenalty as PowerLengthPenalty
from seqjax.decoding.beam.penalties import SockeyeLengthPenalty as SockeyeLengthPenalty
from seqjax.decoding.beam.rules import BeamRules as BeamRules
from seqjax.decoding.beam.stochastic import StochasticBeams as StochasticBeams
from seqjax.decoding.beam.stochastic import stochastic_beam_search as stochastic_beam_search
from seqjax.decoding.engine.logits import StatefulProcessor as StatefulProcessor
from seqjax.decoding.lattices.crf_tagging import Tagging as Tagging
from seqjax.decoding.lattices.crf_tagging import crf_n_best as crf_n_best
from seqjax.decoding.lattices.crf_tagging import crf_sample as crf_sample
from seqjax.decoding.lattices.crf_tagging import crf_viterbi as crf_viterbi
from seqjax.decoding.lattices.ctc_search import ctc_beam_search as ctc_beam_search
from seqjax.decoding.lattices.ctc_search import ctc_collapse as ctc_collapse
from seqjax.decoding.lattices.ctc_search import ctc_greedy as ctc_greedy
from seqjax.decoding.lattices.fusion import LanguageModel as LanguageModel
from seqjax.decoding.lattices.prefixes import Labellings as Labellings
from seqjax.decoding.lattices.transducer_search import (
    transducer_beam_search as transducer_beam_search,
)
from seqjax.decoding.lattices.transducer_search import transducer_greedy as transducer_greedy
from seqjax.decoding.particles.infilling import Infill as Infill
from seqjax.decoding.particles.infilling import lookahead_infill as lookahead_infill
from seqjax.decoding.particles.monte_carlo import sequential_monte_carlo as sequential_monte_carlo
from seqjax.decoding.particles.particles import Particles as Particles
from seqjax.decoding.particles.resampling import effective_sample_size as effective_sample_size
from seqjax.decoding.particles.resampling import multinomial_resampling as multinomial_resampling
from seqjax.decoding.particles.resampling import residual_resampling as residual_resampling
from seqjax.decoding.particles.resampling import stratified_resampling as stratified_resampling
from seqjax.decoding.particles.resampling import systematic_resampling as systematic_resampling
from seqjax.decoding.processors.constraints import Accept as Accept
from seqjax.decoding.processors.constraints import Allow as Allow
from seqjax.decoding.processors.constraints import AllowByState as AllowByState
from seqjax.decoding.processors.endings import (
    ExponentialLengthDecay as ExponentialLengthDecay,
)
from seqjax.decoding.processors.endings import ForcedEnd as ForcedEnd
from seqjax.decoding.processors.given_tokens import ForcedTokens as ForcedTokens
from seqjax.decoding.processors.given_tokens import MinLength as MinLength
from seqjax.decoding.processors.given_tokens import SuppressTokens as SuppressTokens
from seqjax.decoding.processors.prompts import AfterPrompt as AfterPrompt
from seqjax.decoding.processors.prompts import OnSource as OnSource
from seqjax.decoding.processors.repetition import FrequencyPenalty as FrequencyPenalty
from seqjax.decoding.processors.repetition import NoRepeatNGram as NoRepeatNGram
from seqjax.decoding.processors.repetition import PresencePenalty as PresencePenalty
from seqjax.decoding.processors.repetition import RepetitionPenalty as RepetitionPenalty
from seqjax.decoding.processors.sequences import SequenceBias as SequenceBias
from seqjax.decoding.processors.settings import Sampling as Sampling
from seqjax.decoding.sampling.drafts import SpeculativeSamples as SpeculativeSamples
from seqjax.decoding.sampling.drawing import Samples as Samples
from seqjax.decoding.sampling.sample import sample as sample
from seqjax.decoding.sampling.speculative import speculative_sample as speculative_sample
from seqjax.decoding.sampling.stream import stream as stream
from seqjax.decoding.selection import best_of as best_of
from seqjax.decoding.selection import keep_accepted as keep_accepted
from seqjax.decoding.selection import majority as majority
from seqjax.decoding.steps.contrastive import ContrastiveStep as ContrastiveStep
from seqjax.decoding.steps.ensembles import Ensemble as Ensemble
from seqjax.decoding.steps.guidance import GuidedStep as GuidedStep
from seqjax.decoding.steps.neural_cache import CacheInput as CacheInput
from seqjax.decoding.steps.neural_cache import NeuralCache as NeuralCache
from seqjax.decoding.steps.neural_cache import NeuralCacheCarry as NeuralCacheCarry
