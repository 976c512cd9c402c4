"""Gradients through time without going back through all of it."""

from seqjax.gradients.artbp import artbp_value_and_grad as artbp_value_and_grad
from seqjax.gradients.artbp import power_law_truncation as power_law_truncation
from seqjax.gradients.elementwise import (
    elementwise_rtrl_value_and_grad as elementwise_rtrl_value_and_grad,
)
from seqjax.gradients.rtrl import Influenced as Influenced
from seqjax.gradients.rtrl import begin_rtrl as begin_rtrl
from seqjax.gradients.rtrl import rtrl_value_and_grad as rtrl_value_and_grad
from seqjax.gradients.truncated_bptt import truncated_value_and_grad as truncated_value_and_grad
from seqjax.gradients.uoro import RankOne as RankOne
from seqjax.gradients.uoro import begin_uoro as begin_uoro
from seqjax.gradients.uoro import uoro_value_and_grad as uoro_value_and_grad
