"""Gradients through time without going back through all of it."""

from seqjax.gradients.artbp import artbp as artbp
from seqjax.gradients.artbp import power_law_truncation as power_law_truncation
from seqjax.gradients.elementwise import ElementwiseRTRLState as ElementwiseRTRLState
from seqjax.gradients.elementwise import elementwise_rtrl as elementwise_rtrl
from seqjax.gradients.elementwise import init_elementwise_rtrl_state as init_elementwise_rtrl_state
from seqjax.gradients.rtrl import RTRLState as RTRLState
from seqjax.gradients.rtrl import init_rtrl_state as init_rtrl_state
from seqjax.gradients.rtrl import rtrl as rtrl
from seqjax.gradients.truncated_bptt import truncated_value_and_grad as truncated_value_and_grad
from seqjax.gradients.uoro import UOROState as UOROState
from seqjax.gradients.uoro import init_uoro_state as init_uoro_state
from seqjax.gradients.uoro import uoro as uoro
