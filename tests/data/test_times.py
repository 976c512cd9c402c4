"""Stamps counted from where each sequence begins."""

import numpy as np
import pytest

import seqjax as sj

STAMPS = np.array([[5.0, 5.5, 9.0, 9.0], [1.0, 3.0, 2.0, 7.0]])
DATES = STAMPS.astype(np.int64).astype("datetime64[s]")
BEGINS = np.array([[0, 0, 0, 0], [0, 0, 1, 0]], bool)


def test_differences_are_exact_where_stamps_are_large():
    """An exact oracle: these float64 stamps are multiples of 2 ** -20 s."""
    steps = np.array([[0, 1, 5, 5, 1_000_003]])
    stamps = 1.7e9 + steps / 2.0**20
    np.testing.assert_array_equal(sj.data.relative_times(stamps), steps / 2.0**20)
    assert np.ptp(stamps.astype(np.float32)) == 0


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.int64, np.float32])
def test_numbers_of_any_kind(dtype):
    stamps = np.array([[7, 9, 12]], dtype)
    result = sj.data.relative_times(stamps, unit=2)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [[0, 1, 2.5]])


def test_integer_nanoseconds_beyond_float64():
    stamps = np.array([[2**60 + 1, 2**60 + 2, 2**60 + 500]])
    np.testing.assert_array_equal(sj.data.relative_times(stamps), [[0, 1, 499]])


def test_dates():
    stamps = np.array([["2026-01-01T00:00", "2026-01-01T00:01", "2026-01-02"]], "datetime64[ns]")
    result = sj.data.relative_times(stamps, unit=np.timedelta64(1, "m"))
    np.testing.assert_array_equal(result, [[0, 1, 24 * 60]])
    stamps[0, 1] = "NaT"
    with pytest.raises(ValueError, match=r"times\[0, 1\] is NaT"):
        sj.data.relative_times(stamps, unit=np.timedelta64(1, "m"))


def test_a_reset_counts_anew_and_may_go_back():
    expected = [[0, 0.5, 4, 4], [0, 2, 0, 5]]
    np.testing.assert_array_equal(sj.data.relative_times(STAMPS, reset=BEGINS), expected)


def test_the_first_real_stamp_is_0_and_padding_too():
    mask = np.array([[0, 1, 0, 1], [1, 0, 1, 1]], bool)
    np.testing.assert_array_equal(
        sj.data.relative_times(STAMPS, mask=mask), [[0, 0, 0, 3.5], [0, 0, 1, 6]]
    )
    # A reset at a masked step: the next real stamp is the first.
    late = np.array([[0, 0, 1, 0], [0, 1, 0, 0]], bool)
    np.testing.assert_array_equal(
        sj.data.relative_times(STAMPS, mask=mask, reset=late), [[0, 0, 0, 0], [0, 0, 0, 5]]
    )


def test_what_stands_in_padding_does_not_matter():
    dirty = STAMPS.copy()
    dirty[0, 3], dirty[1, 2:] = np.nan, -np.inf
    expected = [[0, 0.5, 4, 0], [0, 2, 0, 0]]
    np.testing.assert_array_equal(sj.data.relative_times(dirty, lengths=[3, 2]), expected)
    np.testing.assert_array_equal(sj.data.relative_times(dirty, lengths=[0, 0]), np.zeros((2, 4)))


def test_no_rows_and_no_steps():
    assert sj.data.relative_times(np.zeros((0, 3))).shape == (0, 3)
    assert sj.data.relative_times(np.zeros((3, 0))).shape == (3, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_stamps_that_are_no_numbers_are_refused(bad):
    stamps = STAMPS.copy()
    stamps[0, 2] = bad
    with pytest.raises(ValueError, match=rf"times\[0, 2\] is {bad}; expected finite"):
        sj.data.relative_times(stamps, reset=BEGINS)


def test_stamps_that_go_backwards_are_refused():
    message = r"times\[1, 2\] is 2.0, before times\[1, 1\] = 3.0; .* Sort each row by time"
    with pytest.raises(ValueError, match=message):
        sj.data.relative_times(STAMPS)
    unsigned = np.array([[3, 2]], np.uint8)
    with pytest.raises(ValueError, match=r"times\[0, 1\] is 2, before times\[0, 0\] = 3"):
        sj.data.relative_times(unsigned)
    # Over a gap of padding the name is that of the last real step.
    with pytest.raises(ValueError, match=r"times\[1, 3\] is 0.5, before times\[1, 1\] = 3.0"):
        holes = np.array([[True] * 4, [True, True, False, True]])
        sj.data.relative_times(np.where(STAMPS == 7, 0.5, STAMPS), mask=holes)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"times": np.zeros(3)}, r"times is float64\[3\]; expected numbers or datetime64 \[B, T\]"),
        ({"times": np.zeros((2, 4), bool)}, r"times is bool\[2, 4\]; expected numbers"),
        ({"unit": 0}, r"unit is 0; expected a positive number"),
        ({"unit": np.nan}, r"unit is nan; expected a positive number"),
        ({"unit": np.timedelta64(1, "s")}, r"expected a positive number"),
        ({"times": DATES}, r"unit is 1; expected a positive np.timedelta64 such as"),
        ({"times": DATES, "unit": np.timedelta64(0, "s")}, r"expected a positive np.timedelta64"),
        ({"mask": np.ones((2, 3), bool)}, r"mask is bool\[2, 3\]; expected bool .* = \[2, 4\]"),
        ({"mask": np.ones((2, 4))}, r"mask is float64\[2, 4\]; expected bool"),
        ({"reset": np.ones((4, 2), bool)}, r"reset is bool\[4, 2\]; expected bool"),
        ({"lengths": [1, 2, 3]}, r"lengths has shape \(3,\) but times has batch size 2 "),
        ({"lengths": [1.0, 2.0]}, r"lengths has dtype float\d+; expected integers"),
        ({"lengths": [1, 5]}, r"lengths has values from 1 to 5; expected 0 <= lengths <= T = 4"),
        ({"lengths": [-1, 4]}, r"lengths has values from -1 to 4; expected 0 <= lengths"),
    ],
)
def test_arguments_that_do_not_fit(how, message):
    with pytest.raises(ValueError, match=message):
        sj.data.relative_times(**({"times": STAMPS} | how))
