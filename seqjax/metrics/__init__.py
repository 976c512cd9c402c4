"""Metrics over host data: distances of sequences, and spans of tags."""

from seqjax.metrics.distances import EditCounts as EditCounts
from seqjax.metrics.distances import edit_counts as edit_counts
from seqjax.metrics.distances import edit_distance as edit_distance
from seqjax.metrics.distances import error_rate as error_rate
from seqjax.metrics.distances import hamming_distance as hamming_distance
