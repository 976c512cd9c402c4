"""A corpus cut into contiguous rows and windows, for truncated backpropagation through time.

    pairs     (x₀, y₀) (x₁, y₁) ...            every token is a target exactly once
    rows      B contiguous pieces of them      lengths differ by at most one
    windows   T steps of all rows at once      row b of window k + 1 continues row b of window k

A window is found by its number, so one integer is the whole data position of a run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from seqjax._internal import checks

_LARGEST_ID = int(np.iinfo(np.int32).max)


class Batch(NamedTuple):
    """One window of a corpus. All windows of a corpus have the same shapes.

    Fields:
      inputs: [B, T] int32, what the model reads; 0 where masked.
      targets: [B, T] int32, what it should predict; 0 where masked.
      mask: [B, T] bool, True = real (a token to predict).
      reset: [B, T] bool, True where a document begins, and in the first step of window 0.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mask: np.ndarray
    reset: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """A sequence of `Batch`es: `corpus[k]`, `len(corpus)`, `for batch in corpus`.

    Made by `Corpus.from_documents` or `Corpus.from_stream`. To train on, repeat
    `corpus[step % len(corpus)]`, or with documents in a new order each epoch:

        epoch, k = divmod(step, len(corpus))
        batch = corpus.shuffled((seed, epoch))[k]        # made once an epoch

    Attributes:
      inputs: [N] int32, all inputs in order.
      targets: [N] int32, all targets in order.
      starts: [number of documents] positions at which a document begins; [0] for a stream.
      batch_size: B, the number of rows.
      window: T, the number of steps in a window.

    Raises:
      ValueError: if batch_size or window is not a positive integer, or there are fewer tokens
        than either.

    Example:
      >>> corpus = Corpus.from_stream(np.arange(12), batch_size=2, window=4)
      >>> len(corpus), corpus.tokens
      (2, 11)
      >>> print(corpus[0].inputs)
      [[0 1 2 3]
       [6 7 8 9]]
      >>> print(corpus[1].targets, corpus[1].mask.sum())
      [[ 5  6  0  0]
       [11  0  0  0]] 3

    References:
      Zaremba, Sutskever and Vinyals, Recurrent Neural Network Regularization, 2014, section 4.1,
      for windows that continue where the ones before them ended.
    """

    inputs: np.ndarray
    targets: np.ndarray
    starts: np.ndarray
    batch_size: int
    window: int

    def __post_init__(self) -> None:
        checks.positive_int("batch_size", self.batch_size)
        checks.positive_int("window", self.window)
        checks.require(
            self.tokens >= self.batch_size,
            f"the corpus has {self.tokens} tokens to predict, fewer than batch_size "
            f"{self.batch_size}; each row needs at least one. Take a smaller batch_size.",
        )
        checks.require(
            self.tokens >= self.window,
            f"the corpus has {self.tokens} tokens to predict, fewer than one window of "
            f"{self.window} steps. Take a smaller window or a longer text.",
        )
        for array in (self.inputs, self.targets, self.starts):
            array.flags.writeable = False

    @classmethod
    def from_documents(
        cls,
        documents: Sequence[Any],
        *,
        bos: int,
        eos: int,
        batch_size: int,
        window: int,
        vocab_size: int | None = None,
    ) -> "Corpus":
        """Cuts documents, each on its own: no pair crosses from one into the next.

        A document gives the inputs [bos] + document and the targets document + [eos]; its first
        step resets the carry.

        Args:
          documents: 1-D integer arrays of ids; an empty document is the pair (bos, eos).
          bos: id read before a document.
          eos: id to predict after it; may equal bos.
          batch_size: B, the number of rows.
          window: T, the number of steps in a window.
          vocab_size: refuse ids from here on; None allows any that fits in int32.

        Returns:
          A `Corpus` of Σ (length + 1) tokens.

        Raises:
          ValueError: if there is no document, one of them is not a 1-D integer array, an id is
            negative or too large, or the corpus is shorter than a window or than batch_size.

        Example:
          >>> docs = [np.array([5, 6, 7]), np.array([8])]
          >>> corpus = Corpus.from_documents(docs, bos=1, eos=2, batch_size=1, window=6)
          >>> print(corpus[0].inputs, corpus[0].targets)
          [[1 5 6 7 1 8]] [[5 6 7 2 8 2]]
          >>> print(corpus[0].reset.astype(int))
          [[1 0 0 0 1 0]]
        """
        checks.require(len(documents) > 0, "documents is empty; expected at least one.")
        for name, value in (("bos", bos), ("eos", eos)):
            _ids(name, np.asarray(value)[None], vocab_size)
        docs = [_ids(f"documents[{i}]", doc, vocab_size) for i, doc in enumerate(documents)]
        first, last = np.array([bos], np.int32), np.array([eos], np.int32)
        inputs = np.concatenate([part for doc in docs for part in (first, doc)])
        targets = np.concatenate([part for doc in docs for part in (doc, last)])
        starts = np.cumsum([0] + [len(doc) + 1 for doc in docs[:-1]])
        return cls(inputs, targets, starts, batch_size, window)

    @classmethod
    def from_stream(
        cls, stream: Any, *, batch_size: int, window: int, vocab_size: int | None = None
    ) -> "Corpus":
        """Cuts one long text: inputs stream[:-1], targets stream[1:].

        Args:
          stream: [N + 1] integer ids.
          batch_size: B, the number of rows.
          window: T, the number of steps in a window.
          vocab_size: refuse ids from here on; None allows any that fits in int32.

        Returns:
          A `Corpus` of N tokens. The carry is reset at the start of each row alone.

        Raises:
          ValueError: if stream is not a 1-D integer array, an id is negative or too large, or the
            stream is shorter than a window or than batch_size.

        Example:
          >>> corpus = Corpus.from_stream(np.array([3, 1, 4, 1, 5]), batch_size=1, window=4)
          >>> print(corpus[0].inputs, corpus[0].targets)
          [[3 1 4 1]] [[1 4 1 5]]
        """
        ids = _ids("stream", stream, vocab_size)
        checks.require(
            len(ids) >= 2,
            f"stream has {len(ids)} ids; expected at least 2, an input and a target.",
        )
        return cls(ids[:-1].copy(), ids[1:].copy(), np.zeros(1, np.int64), batch_size, window)

    @property
    def tokens(self) -> int:
        """N, the number of tokens to predict, each once an epoch (the length of targets [N])."""
        return len(self.targets)

    def shuffled(self, seed: int | Sequence[int]) -> "Corpus":
        """The same documents in another order, the same one for the same seed.

        The number of windows does not change, so that `divmod(step, len(corpus))` stays valid.

        Args:
          seed: non-negative integer, or several such as (seed, epoch).

        Returns:
          A new `Corpus` of N tokens; of a stream, which is one document, an equal one.

        Raises:
          ValueError: if seed is not a non-negative integer or several of them.

        Example:
          >>> docs = [np.full(n, n) for n in (3, 4, 5)]
          >>> corpus = Corpus.from_documents(docs, bos=0, eos=0, batch_size=1, window=15)
          >>> print(corpus.shuffled((0, 1))[0].targets)
          [[5 5 5 5 5 0 3 3 3 0 4 4 4 4 0]]
        """
        numbers = seed if isinstance(seed, Sequence) else [seed]
        checks.require(
            len(numbers) > 0 and all(isinstance(n, (int, np.integer)) and n >= 0 for n in numbers),
            f"seed is {seed!r}; expected an integer of at least 0, or several such as (seed, "
            "epoch).",
        )
        lengths = np.diff(self.starts, append=self.tokens)
        order = np.random.default_rng(seed).permutation(len(lengths))
        starts = np.cumsum(lengths[order]) - lengths[order]
        moved = np.repeat(self.starts[order] - starts, lengths[order])
        index = np.arange(self.tokens) + moved
        inputs, targets = self.inputs[index], self.targets[index]
        return Corpus(inputs, targets, starts, self.batch_size, self.window)

    def stacked(self) -> Batch:
        """All windows as one `Batch` of arrays [N, B, T], in order.

        For a `lax.scan` over all of them in one program, where the corpus fits into the memory of
        the device.

        Returns:
          `Batch` with N = len(corpus) windows; `jax.tree.map(lambda a: a[k], batch)` is corpus[k].

        Example:
          >>> corpus = Corpus.from_stream(np.arange(12), batch_size=2, window=4)
          >>> corpus.stacked().inputs.shape
          (2, 2, 4)
        """
        return Batch(*(np.stack(windows) for windows in zip(*self, strict=True)))

    @property
    def padding(self) -> float:
        """The share of padded steps in all windows; packed rows have them at their end only.

        One document a row, padded to the longest of its batch, has 1 - Σ length / Σ B · longest.
        """
        return 1 - self.tokens / (len(self) * self.batch_size * self.window)

    def __len__(self) -> int:
        """The number of windows, the last one padded where it must be."""
        longest = -(-self.tokens // self.batch_size)
        return -(-longest // self.window)

    def __getitem__(self, k: int) -> Batch:
        """Window k, a `Batch` of arrays [B, T]; negative k counts from the end.

        Raises:
          IndexError: if there is no such window.
        """
        count = len(self)
        if not -count <= k < count:
            raise IndexError(f"window {k} of a corpus of {count} windows.")
        steps = (k % count) * self.window + np.arange(self.window)  # [T] within each row
        lengths, offsets = self._rows()
        mask = steps < lengths[:, None]  # [B, T]
        position = np.where(mask, offsets[:, None] + steps, 0)
        document = np.searchsorted(self.starts, position, side="right") - 1
        is_start = (self.starts[document] == position) | (steps == 0)
        return Batch(
            inputs=np.where(mask, self.inputs[position], 0),
            targets=np.where(mask, self.targets[position], 0),
            mask=mask,
            reset=mask & is_start,
        )

    def __iter__(self) -> Iterator[Batch]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        return (
            f"Corpus(tokens={self.tokens}, documents={len(self.starts)}, windows={len(self)}, "
            f"batch_size={self.batch_size}, window={self.window})"
        )

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The length [B] of each row and where it begins [B]; the first rows take the rest."""
        share, rest = divmod(self.tokens, self.batch_size)
        lengths = share + (np.arange(self.batch_size) < rest)
        return lengths, np.cumsum(lengths) - lengths


def _ids(name: str, values: Any, vocab_size: int | None) -> np.ndarray:
    """The values as int32 ids; raises where they are none."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{name} has rows of unequal lengths; expected a 1-D array of integer ids. Rows that "
            "are texts of their own are documents: Corpus.from_documents."
        ) from None
    # An empty list has no dtype of its own (NumPy says float64).
    empty = array.ndim == 1 and array.size == 0
    checks.require(
        empty or (array.ndim == 1 and np.issubdtype(array.dtype, np.integer)),
        f"{name} is {array.dtype}{list(array.shape)}; expected a 1-D array of integer ids. Encode "
        "text into ids first.",
    )
    limit = _LARGEST_ID if vocab_size is None else vocab_size - 1
    if not empty and not 0 <= int(array.min()) <= int(array.max()) <= limit:
        bad = array[(array < 0) | (array > limit)][0]
        raise ValueError(f"{name} holds the id {bad}; expected ids in 0..{limit}.")
    return array.astype(np.int32)
