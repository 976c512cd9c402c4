"""Looking inside recurrences."""

from seqjax.diagnostics.exposure import ExposureGap as ExposureGap
from seqjax.diagnostics.exposure import exposure_gap as exposure_gap
from seqjax.diagnostics.gates import Saturation as Saturation
from seqjax.diagnostics.gates import gate_saturation as gate_saturation
from seqjax.diagnostics.gates import gate_values as gate_values
from seqjax.diagnostics.gradient_flow import GradientFlow as GradientFlow
from seqjax.diagnostics.gradient_flow import gradient_flow as gradient_flow
from seqjax.diagnostics.influence import ContextInfluence as ContextInfluence
from seqjax.diagnostics.influence import context_influence as context_influence
from seqjax.diagnostics.lyapunov import lyapunov_exponents as lyapunov_exponents
from seqjax.diagnostics.memory_length import memory_length as memory_length
