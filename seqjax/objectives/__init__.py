"""Objectives of generative training, over any step function."""

from seqjax.objectives.annealing import ExponentialDecay as ExponentialDecay
from seqjax.objectives.annealing import InverseSigmoidDecay as InverseSigmoidDecay
from seqjax.objectives.annealing import LinearDecay as LinearDecay
from seqjax.objectives.discriminator import Discriminator as Discriminator
from seqjax.objectives.discriminator import DiscriminatorParams as DiscriminatorParams
from seqjax.objectives.forcing import ForcedRun as ForcedRun
from seqjax.objectives.forcing import teacher_forcing as teacher_forcing
from seqjax.objectives.professor_forcing import Behaviours as Behaviours
from seqjax.objectives.professor_forcing import Professor as Professor
from seqjax.objectives.professor_forcing import behaviours as behaviours
from seqjax.objectives.professor_forcing import carry_and_output as carry_and_output
from seqjax.objectives.professor_forcing import professor_forcing as professor_forcing
from seqjax.objectives.scheduled_sampling import (
    parallel_scheduled_sampling as parallel_scheduled_sampling,
)
from seqjax.objectives.scheduled_sampling import scheduled_sampling as scheduled_sampling
