"""Gradients through time without going back through all of it."""

from seqjax.gradients.artbp import artbp as artbp
from seqjax.gradients.artbp import power_law_truncation as power_law_truncation
from seqjax.gradients.elementwise import (
    elementwise_rtrl as elementwise_rtrl,
)
from seqjax.gradients.rtrl import Influenced as Influenced
from seqjax.gradients.rtrl import begin_rtrl as begin_rtrl
from seqjax.gradients.rtrl import rtrl as rtrl
from seqjax.gradients.truncated_bptt import truncated_value_and_grad as truncated_value_and_grad
from seqjax.gradients.uoro import RankOne as RankOne
from seqjax.gradients.uoro import begin_uoro as begin_uoro
from seqjax.gradients.uoro import uoro as uoro
