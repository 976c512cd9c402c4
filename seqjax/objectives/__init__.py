"""Objectives of generative training, over any step function."""

from seqjax.objectives.annealing import ExponentialDecay as ExponentialDecay
from seqjax.objectives.annealing import InverseSigmoidDecay as InverseSigmoidDecay
from seqjax.objectives.annealing import LinearDecay as LinearDecay
from seqjax.objectives.forcing import ForcedRun as ForcedRun
from seqjax.objectives.forcing import teacher_forcing as teacher_forcing
from seqjax.objectives.scheduled_sampling import (
    parallel_scheduled_sampling as parallel_scheduled_sampling,
)
from seqjax.objectives.scheduled_sampling import scheduled_sampling as scheduled_sampling
