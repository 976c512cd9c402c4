"""The one idea: a step, a cell that makes one, and what runs it over time."""

from seqjax.core.carry import reset_carry as reset_carry
from seqjax.core.carry import start_noise as start_noise
from seqjax.core.carry import stop_noise as stop_noise
from seqjax.core.cell import Cell as Cell
from seqjax.core.cell import Composite as Composite
from seqjax.core.cell import Encoder as Encoder
from seqjax.core.cell import SequenceCell as SequenceCell
from seqjax.core.noise import Noise as Noise
from seqjax.core.noise import has_noise as has_noise
from seqjax.core.recurrent import RecurrentCell as RecurrentCell
from seqjax.core.run import run as run
from seqjax.core.scan import scan as scan
from seqjax.core.schedules import Schedule as Schedule
from seqjax.core.schedules import binomial_schedule as binomial_schedule
from seqjax.core.schedules import mixed_schedule as mixed_schedule
from seqjax.core.steps import Steps as Steps
from seqjax.core.unroll import tape_cost as tape_cost
from seqjax.core.unroll import unroll as unroll
