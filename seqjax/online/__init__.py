"""Gradients through time without going back through all of it."""

from seqjax.online.artbp import artbp_value_and_grad as artbp_value_and_grad
from seqjax.online.artbp import power_law_truncation as power_law_truncation
from seqjax.online.elementwise import (
    elementwise_rtrl_value_and_grad as elementwise_rtrl_value_and_grad,
)
from seqjax.online.rtrl import Influenced as Influenced
from seqjax.online.rtrl import begin_rtrl as begin_rtrl
from seqjax.online.rtrl import rtrl_value_and_grad as rtrl_value_and_grad
from seqjax.online.uoro import RankOne as RankOne
from seqjax.online.uoro import begin_uoro as begin_uoro
from seqjax.online.uoro import uoro_value_and_grad as uoro_value_and_grad
