"""Recurrences that are linear in their state, evaluated in parallel over time."""

from seqjax.linear.delta_net import DeltaNet as DeltaNet
from seqjax.linear.delta_net import DeltaNetCarry as DeltaNetCarry
from seqjax.linear.delta_net import DeltaNetParams as DeltaNetParams
from seqjax.linear.linear_attention import LinearAttention as LinearAttention
from seqjax.linear.linear_attention import LinearAttentionCarry as LinearAttentionCarry
from seqjax.linear.linear_attention import LinearAttentionParams as LinearAttentionParams
from seqjax.linear.mlstm import MLSTM as MLSTM
from seqjax.linear.mlstm import MLSTMCarry as MLSTMCarry
from seqjax.linear.mlstm import MLSTMParams as MLSTMParams
