"""Nonlinear recurrences for all steps at once, by Newton's method over time."""

from seqjax.newton.unroll import Solution as Solution
from seqjax.newton.unroll import unroll as unroll
