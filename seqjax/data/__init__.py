"""Data: corpora of text in windows, rows of unequal lengths, and time stamps."""

from seqjax.data.corpus import Batch as Batch
from seqjax.data.corpus import Corpus as Corpus
from seqjax.data.ragged import Padded as Padded
from seqjax.data.ragged import last_over_time as last_over_time
from seqjax.data.ragged import length_mask as length_mask
from seqjax.data.ragged import max_over_time as max_over_time
from seqjax.data.ragged import mean_over_time as mean_over_time
from seqjax.data.ragged import pad_rows as pad_rows
from seqjax.data.times import relative_times as relative_times
