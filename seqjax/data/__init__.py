"""Host-side data: corpora of text in windows, and time stamps."""

from seqjax.data.corpus import Batch as Batch
from seqjax.data.corpus import Corpus as Corpus
from seqjax.data.times import relative_times as relative_times
