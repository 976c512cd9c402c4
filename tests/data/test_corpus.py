from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from seqjax.data.corpus import Batch, Corpus

BOS, EOS = 1, 2


@st.composite
def corpora(draw):
    """Documents whose every id is different, so that order and repetition show, and their cut."""
    lengths = draw(st.lists(st.integers(0, 12), min_size=1, max_size=8))
    bounds = np.cumsum([3, *lengths])
    documents = [np.arange(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
    tokens = sum(lengths) + len(lengths)
    batch_size = draw(st.integers(1, min(5, tokens)))
    window = draw(st.integers(1, min(6, tokens)))
    return documents, batch_size, window


def cut(documents, batch_size, window):
    return Corpus.from_documents(documents, bos=BOS, eos=EOS, batch_size=batch_size, window=window)


def rows_of(corpus, field):
    """The real entries of each row, over all windows."""
    batches = list(corpus)
    masks = np.concatenate([batch.mask for batch in batches], axis=1)
    values = np.concatenate([getattr(batch, field) for batch in batches], axis=1)
    return [row[mask] for row, mask in zip(values, masks, strict=True)]


@examples(30)
@given(corpora())
def test_every_token_once_in_order_and_rows_continue(drawn):
    documents, batch_size, window = drawn
    corpus = cut(*drawn)
    inputs = np.concatenate([np.append(BOS, doc) for doc in documents])
    targets = np.concatenate([np.append(doc, EOS) for doc in documents])
    assert corpus.tokens == len(targets)
    np.testing.assert_array_equal(np.concatenate(rows_of(corpus, "inputs")), inputs)
    np.testing.assert_array_equal(np.concatenate(rows_of(corpus, "targets")), targets)
    # A reset where a document begins or a row does, nowhere else.
    lengths = [len(row) for row in rows_of(corpus, "inputs")]
    assert max(lengths) - min(lengths) <= 1 and min(lengths) >= 1
    resets = inputs == BOS
    resets[np.cumsum([0, *lengths[:-1]])] = True
    np.testing.assert_array_equal(np.concatenate(rows_of(corpus, "reset")), resets)


@examples(15)
@given(corpora())
def test_windows_have_one_shape_and_padding_is_at_the_end(drawn):
    _, batch_size, window = drawn
    corpus = cut(*drawn)
    assert len(list(corpus)) == len(corpus)
    for k, batch in enumerate(corpus):
        for array, dtype in zip(batch, (np.int32, np.int32, bool, bool), strict=True):
            assert array.shape == (batch_size, window) and array.dtype == dtype
        assert batch.mask.any(), "a window without a token"
        if k + 1 < len(corpus):
            assert batch.mask[:, :-1].all()
        assert not (batch.mask[:, 1:] & ~batch.mask[:, :-1]).any()
        for array in (batch.inputs, batch.targets, batch.reset):
            assert not array[~batch.mask].any()
        again = corpus[k - len(corpus)]
        for a, b in zip(batch, again, strict=True):
            np.testing.assert_array_equal(a, b)


@examples(15)
@given(corpora(), st.integers(0, 3))
def test_shuffling_moves_whole_documents(drawn, epoch):
    documents, _, _ = drawn
    corpus = cut(*drawn)
    shuffled = corpus.shuffled((5, epoch))
    assert len(shuffled) == len(corpus) and shuffled.tokens == corpus.tokens
    again = corpus.shuffled((5, epoch))
    np.testing.assert_array_equal(shuffled.targets, again.targets)

    def split(flat, starts):
        return sorted(tuple(part.tolist()) for part in np.split(flat, starts[1:]))

    expected = sorted((*doc.tolist(), EOS) for doc in documents)
    assert split(shuffled.targets, shuffled.starts) == expected
    np.testing.assert_array_equal(np.flatnonzero(shuffled.inputs == BOS), shuffled.starts)


def test_shuffles_differ_from_epoch_to_epoch():
    corpus = cut([np.arange(3 + 4 * i, 7 + 4 * i) for i in range(20)], 2, 5)
    orders = {corpus.shuffled((0, epoch)).targets.tobytes() for epoch in range(5)}
    assert len(orders | {corpus.targets.tobytes()}) == 6


def test_a_stream():
    text = np.arange(10, 31, dtype=np.uint8)
    corpus = Corpus.from_stream(text, batch_size=3, window=4)
    assert repr(corpus) == "Corpus(tokens=20, documents=1, windows=2, batch_size=3, window=4)"
    np.testing.assert_array_equal(np.concatenate(rows_of(corpus, "inputs")), text[:-1])
    np.testing.assert_array_equal(np.concatenate(rows_of(corpus, "targets")), text[1:])
    np.testing.assert_array_equal(corpus[0].reset, [[True, False, False, False]] * 3)
    assert not corpus[1].reset.any()
    assert corpus[1].mask.sum() == 8
    np.testing.assert_array_equal(corpus.shuffled(0).inputs, corpus.inputs)


def test_a_corpus_cannot_be_changed_and_leaves_the_text_alone():
    text = np.arange(9)
    corpus = Corpus.from_stream(text, batch_size=1, window=4)
    text[0] = 7
    assert corpus.inputs[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        corpus.inputs[0] = 3
    corpus[0].inputs[0] = 3  # a batch is the caller's own
    assert isinstance(corpus[0], Batch) and corpus[0].inputs[0, 0] == 0


def test_no_such_window():
    corpus = Corpus.from_stream(np.arange(9), batch_size=1, window=4)
    for k in (2, -3):
        with pytest.raises(IndexError, match=f"window {k} of a corpus of 2 windows"):
            corpus[k]


def documents_with(**change) -> Any:
    arguments: dict[str, Any] = {"documents": [np.arange(3, 9)], "bos": 1, "eos": 2}
    arguments |= {"batch_size": 2, "window": 3, **change}
    return Corpus.from_documents(arguments.pop("documents"), **arguments)


def test_stacked_windows_are_the_windows():
    stream = np.arange(23)
    corpus = Corpus.from_stream(stream, batch_size=2, window=4)
    whole = corpus.stacked()
    for k, batch in enumerate(corpus):
        for stacked, alone in zip(whole, batch, strict=True):
            np.testing.assert_array_equal(stacked[k], alone)
            assert stacked.dtype == alone.dtype
    assert whole.mask.sum() == corpus.tokens


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"documents": []}, "documents is empty; expected at least one."),
        ({"documents": ["abc"]}, "documents[0] is <U3[]; expected a 1-D array of integer ids."),
        ({"documents": [[3], [1.0]]}, "documents[1] is float64[1]; expected a 1-D array"),
        ({"documents": [np.ones((2, 2), int)]}, "documents[0] is int64[2, 2]; expected a 1-D"),
        ({"documents": [3, 4, 5]}, "documents[0] is int64[]; expected a 1-D array of integer ids."),
        ({"documents": [[True]]}, "documents[0] is bool[1]; expected a 1-D array of integer"),
        ({"documents": [[3], [4, -1]]}, "documents[1] holds the id -1; expected ids in 0.."),
        ({"documents": [[2**31]]}, "documents[0] holds the id 2147483648; expected ids in"),
        ({"vocab_size": 8}, "documents[0] holds the id 8; expected ids in 0..7."),
        ({"bos": -1}, "bos holds the id -1; expected ids in 0.."),
        ({"eos": 2.0}, "eos is float64[1]; expected a 1-D array of integer ids."),
        ({"eos": 9, "vocab_size": 9}, "eos holds the id 9; expected ids in 0..8."),
        ({"batch_size": 0}, "batch_size is 0; expected an integer of at least 1."),
        ({"window": 2.5}, "window is 2.5; expected an integer of at least 1."),
        ({"batch_size": 8}, "has 7 tokens to predict, fewer than batch_size 8"),
        ({"window": 8}, "has 7 tokens to predict, fewer than one window of 8 steps."),
    ],
)
def test_errors_of_documents(change, text):
    with pytest.raises(ValueError) as caught:
        documents_with(**change)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        ([], "stream has 0 ids; expected at least 2"),
        ([1], "stream has 1 ids; expected at least 2"),
        ([1, 2], "the corpus has 1 tokens to predict, fewer than one window of 3 steps"),
        ([[3, 4], [5]], "stream has rows of unequal lengths; expected a 1-D array"),
        ([[3, 4], [5, 6]], "stream is int64[2, 2]; expected a 1-D array"),
        ("a text", "stream is <U6[]; expected a 1-D array of integer ids. Encode text into ids"),
    ],
)
def test_errors_of_a_stream(stream, text):
    with pytest.raises(ValueError) as caught:
        Corpus.from_stream(stream, batch_size=1, window=3)
    assert text in str(caught.value)


@pytest.mark.parametrize("seed", [-1, (0, -1), 0.5, ()])
def test_a_seed_is_a_count(seed):
    corpus = Corpus.from_stream(np.arange(10), batch_size=1, window=3)
    with pytest.raises(ValueError) as caught:
        corpus.shuffled(seed)
    expected = "expected an integer of at least 0, or several such as (seed, epoch)."
    assert str(caught.value) == f"seed is {seed!r}; {expected}"


def test_padding_is_the_share_of_masked_steps():
    lengths = np.random.default_rng(0).geometric(0.02, 300)
    documents = [np.ones(n, np.int32) for n in lengths]
    corpus = Corpus.from_documents(documents, bos=0, eos=0, batch_size=8, window=32)
    masks = np.stack([batch.mask for batch in corpus])
    np.testing.assert_allclose(corpus.padding, 1 - masks.mean())
    rows = np.resize(lengths + 1, (38, 8))[:37]  # one document a row, eight rows a batch
    unpacked = 1 - rows.sum() / (8 * rows.max(axis=1).sum())
    assert corpus.padding < 0.02 < 0.5 < unpacked
