"""Metrics: distances between sequences, error rates, and spans of tags."""

from seqjax.metrics.distances import EditCounts as EditCounts
from seqjax.metrics.distances import edit_counts as edit_counts
from seqjax.metrics.distances import edit_distance as edit_distance
from seqjax.metrics.distances import hamming_distance as hamming_distance
from seqjax.metrics.error_rates import error_rate as error_rate
from seqjax.metrics.error_rates import match_error_rate as match_error_rate
from seqjax.metrics.error_rates import word_information_lost as word_information_lost
from seqjax.metrics.spans import MeanScores as MeanScores
from seqjax.metrics.spans import Span as Span
from seqjax.metrics.spans import SpanScores as SpanScores
from seqjax.metrics.spans import mean_scores as mean_scores
from seqjax.metrics.spans import span_scores as span_scores
from seqjax.metrics.spans import span_scores_by_type as span_scores_by_type
from seqjax.metrics.tags import span_tags as span_tags
from seqjax.metrics.tags import tag_rules as tag_rules
from seqjax.metrics.tags import tag_spans as tag_spans
