"""Looking inside of recurrences."""

from seqjax.diagnostics.lyapunov import lyapunov_exponents as lyapunov_exponents
