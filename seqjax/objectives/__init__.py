"""Objectives of generative training, over any step function."""

from seqjax.objectives.annealing import ExponentialDecay as ExponentialDecay
from seqjax.objectives.annealing import InverseSigmoidDecay as InverseSigmoidDecay
from seqjax.objectives.annealing import LinearDecay as LinearDecay
from seqjax.objectives.discriminator import Discriminator as Discriminator
from seqjax.objectives.discriminator import DiscriminatorParams as DiscriminatorParams
from seqjax.objectives.edit_counts import edit_log_counts as edit_log_counts
from seqjax.objectives.edit_payoff import sample_edits as sample_edits
from seqjax.objectives.payoffs import PayoffSample as PayoffSample
from seqjax.objectives.payoffs import hamming_log_counts as hamming_log_counts
from seqjax.objectives.payoffs import payoff_log_probs as payoff_log_probs
from seqjax.objectives.payoffs import sample_hamming as sample_hamming
from seqjax.objectives.professor_forcing import Behaviours as Behaviours
from seqjax.objectives.professor_forcing import ProfessorLosses as ProfessorLosses
from seqjax.objectives.professor_forcing import behaviours as behaviours
from seqjax.objectives.professor_forcing import carry_and_output as carry_and_output
from seqjax.objectives.professor_forcing import professor_forcing as professor_forcing
from seqjax.objectives.reinforce import RunningMean as RunningMean
from seqjax.objectives.reinforce import leave_one_out as leave_one_out
from seqjax.objectives.reinforce import reinforce_losses as reinforce_losses
from seqjax.objectives.reinforce import self_critical_losses as self_critical_losses
from seqjax.objectives.reinforce import sequence_log_probs as sequence_log_probs
from seqjax.objectives.risk import distinct as distinct
from seqjax.objectives.risk import minimum_risk as minimum_risk
from seqjax.objectives.scheduled_sampling import (
    parallel_scheduled_sampling as parallel_scheduled_sampling,
)
from seqjax.objectives.scheduled_sampling import scheduled_sampling as scheduled_sampling
from seqjax.objectives.teacher_forcing import ForcedRun as ForcedRun
from seqjax.objectives.teacher_forcing import teacher_forcing as teacher_forcing
