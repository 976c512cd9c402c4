"""Looking inside of recurrences."""

from seqjax.diagnostics.exposure import ExposureGap as ExposureGap
from seqjax.diagnostics.exposure import exposure_gap as exposure_gap
from seqjax.diagnostics.lyapunov import lyapunov_exponents as lyapunov_exponents
