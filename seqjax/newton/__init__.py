"""Nonlinear recurrences for all steps at once, by Newton's method over time."""

from seqjax.newton.unroll import NewtonUnroll as NewtonUnroll
from seqjax.newton.unroll import newton_unroll as newton_unroll
