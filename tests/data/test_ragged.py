"""Padding, and reductions over time that leave it out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.data import last_over_time, length_mask, max_over_time, mean_over_time, pad_rows

LENGTHS = [3, 1, 0, 4]
RNG = np.random.default_rng(0)
ROWS = [RNG.normal(size=(n, 2)).astype(np.float32) - 3 for n in LENGTHS]
REDUCTIONS = {
    "mean": (mean_over_time, lambda row: row.mean(axis=0)),
    "max": (max_over_time, lambda row: row.max(axis=0)),
    "last": (last_over_time, lambda row: row[-1]),
}


def test_rows_come_back_from_their_padding():
    padded = pad_rows(ROWS, fill=np.nan, size=6)
    assert padded.values.shape == (4, 6, 2) and padded.values.dtype == np.float32
    assert padded.lengths.tolist() == LENGTHS and padded.lengths.dtype == np.int32
    for row, values, n in zip(ROWS, padded.values, LENGTHS, strict=True):
        np.testing.assert_array_equal(values[:n], row)
        assert np.isnan(values[n:]).all()
    np.testing.assert_array_equal(padded.mask, length_mask(padded.lengths, 6))
    assert pad_rows([[], [1, 2]]).values.dtype == pad_rows([[1, 2]]).values.dtype
    assert pad_rows([[], []]).values.shape == (2, 0)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_reduction_is_that_of_each_row(name):
    reduce, plain = REDUCTIONS[name]
    values, lengths = pad_rows(ROWS, fill=np.nan)
    found = jax.jit(reduce)(values, length_mask(lengths, 4))
    expected = [plain(row) if len(row) else np.zeros(2) for row in ROWS]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    gaps = np.array([[False, True, False, True]])
    picked = jax.jit(reduce)(values[3:], gaps)
    np.testing.assert_allclose(picked[0], plain(ROWS[3][[1, 3]]), rtol=1e-6)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_padding_has_no_gradient_whatever_it_holds(name, garbage):
    reduce, plain = REDUCTIONS[name]
    values, lengths = pad_rows(ROWS, fill=garbage)
    mask = length_mask(lengths, 4)
    total = lambda xs: jnp.sum(jnp.square(reduce(xs, mask)))
    grad = jax.jit(jax.grad(total))(values)
    clean = jax.jit(jax.grad(total))(np.where(mask[..., None], values, 0))
    np.testing.assert_array_equal(grad, clean)
    assert not np.any(grad[~mask]) and np.all(np.any(grad, axis=(1, 2)) == (lengths > 0))
    by_hand = 2 * np.stack([plain(row) if len(row) else np.zeros(2) for row in ROWS])
    np.testing.assert_allclose(grad.sum(axis=1), by_hand, rtol=1e-5)


def test_integers_and_axes_of_any_number():
    xs, mask = jnp.array([[-3, -1, 9]]), length_mask([2], 3)
    assert mean_over_time(xs, mask).tolist() == [-2.0]
    assert max_over_time(xs, mask).tolist() == [-1] and max_over_time(xs, mask).dtype == xs.dtype
    assert last_over_time(xs, mask).tolist() == [-1]
    for reduce, _ in REDUCTIONS.values():
        assert reduce(jnp.ones((2, 0, 3, 4)), jnp.ones((2, 0), bool)).shape == (2, 3, 4)
        assert not reduce(jnp.ones((2, 0, 3, 4)), jnp.ones((2, 0), bool)).any()
        assert reduce(jnp.ones((2, 5, 3, 4), jnp.bfloat16), jnp.ones((2, 5), bool)).dtype == (
            jnp.bfloat16
        )


def test_a_mask_of_narrow_lengths():
    assert length_mask(np.array([200], np.uint8), 300).sum() == 200
    assert length_mask(jnp.array(2), 3).tolist() == [True, True, False]


def test_the_last_output_is_that_of_a_cell():
    cell = sj.Elman(5)
    params = cell.init(jax.random.key(0), 2)
    values, lengths = pad_rows(ROWS, fill=np.nan)
    carry, ys = sj.unroll(cell, params, jnp.asarray(values), lengths=lengths)
    np.testing.assert_array_equal(last_over_time(ys, length_mask(lengths, 4)), carry)


BAD = {
    "empty": (lambda: pad_rows([]), "rows is empty; expected at least one row."),
    "one": (
        lambda: pad_rows([1, 2]),
        "rows is [1, 2], a single row; expected several. For one row",
    ),
    "text": (lambda: pad_rows("abc"), "rows is 'abc', a single row; expected several."),
    "long": (
        lambda: pad_rows([[1], [1, 2, 3]], size=2),
        "rows[1] has length 3; expected at most size = 2.",
    ),
    "inner": (
        lambda: pad_rows([np.ones((2, 3)), np.ones((2, 4))]),
        "rows have the shapes (2, 3) and (2, 4); expected [length, ...]",
    ),
    "fill": (
        lambda: pad_rows([np.array([1, 2], np.uint8)], fill=-1),
        "fill is -1, which uint8 cannot hold;",
    ),
    "fill_nan": (lambda: pad_rows([[1]], fill=np.nan), "fill is nan, which int64 cannot hold;"),
    "mask": (
        lambda: mean_over_time(jnp.ones((2, 3)), jnp.ones((2, 3))),
        "mask has dtype float32; expected bool [B, T].",
    ),
    "lengths": (
        lambda: mean_over_time(jnp.ones((2, 3)), jnp.array([3, 1])),
        "mask has shape (2,); expected bool [B, T] = (2, 3). Of lengths [B] make it by "
        "length_mask(lengths, 3).",
    ),
    "ragged_inside": (
        lambda: pad_rows([[[1]], [[1, 2], [3]]]),
        "rows[1] has parts of unequal lengths; expected an array [length, ...].",
    ),
    "none": (lambda: max_over_time(jnp.ones((2, 3)), None), "mask is None; expected bool [B, T]"),
    "row": (
        lambda: last_over_time(jnp.ones(3), jnp.ones(3, bool)),
        "xs has shape (3,); expected [B, T, ...]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as caught:
        call()
    assert text in str(caught.value)
