"""Distances between sequences, against plain loops and another library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

RNG = np.random.default_rng(0)
HYP, REF = RNG.integers(0, 3, (40, 7)), RNG.integers(0, 3, (40, 5))
LENGTHS, REF_LENGTHS = RNG.integers(0, 8, 40), RNG.integers(0, 6, 40)
ROWS = [
    (h[:n].tolist(), r[:m].tolist())
    for h, r, n, m in zip(HYP, REF, LENGTHS, REF_LENGTHS, strict=True)
]
distance = jax.jit(
    sj.metrics.edit_distance, static_argnames=("insertion", "deletion", "substitution")
)


def by_loop(hyp, ref, insertion=1, deletion=1, substitution=1):
    """Wagner and Fischer's table, cell by cell."""
    table = np.zeros((len(hyp) + 1, len(ref) + 1))
    table[:, 0] = insertion * np.arange(len(hyp) + 1)
    table[0] = deletion * np.arange(len(ref) + 1)
    for i, h in enumerate(hyp, 1):
        for j, r in enumerate(ref, 1):
            changed = table[i - 1, j - 1] + substitution * (h != r)
            table[i, j] = min(changed, table[i - 1, j] + insertion, table[i, j - 1] + deletion)
    return table[-1, -1]


@pytest.mark.parametrize(
    "costs",
    [
        {},
        {"insertion": 2, "deletion": 3, "substitution": 4},
        {"insertion": 0, "deletion": 5, "substitution": 1},
        {"insertion": 0.5, "deletion": 0.25, "substitution": 1.0},
    ],
    ids=str,
)
def test_distance_of_ragged_rows(costs):
    found = distance(HYP, REF, LENGTHS, REF_LENGTHS, **costs)
    assert found.dtype == (jnp.float32 if 0.5 in costs.values() else jnp.int32)
    np.testing.assert_array_equal(found, [by_loop(h, r, **costs) for h, r in ROWS])


def test_distance_is_that_of_another_library():
    library = pytest.importorskip("rapidfuzz.distance").Levenshtein
    expected = [library.distance(h, r) for h, r in ROWS]
    np.testing.assert_array_equal(distance(HYP, REF, LENGTHS, REF_LENGTHS), expected)


def test_padding_and_its_width_do_not_matter():
    wide = np.full((40, 11), -7)
    wide[:, :5] = np.where(np.arange(5) < REF_LENGTHS[:, None], REF, 99)
    found = sj.metrics.edit_distance(HYP, wide, LENGTHS, REF_LENGTHS)
    np.testing.assert_array_equal(found, distance(HYP, REF, LENGTHS, REF_LENGTHS))


def test_empty_sequences():
    nothing = jnp.zeros((2, 0), int)
    assert sj.metrics.edit_distance(nothing, nothing).tolist() == [0, 0]
    assert sj.metrics.edit_distance(nothing, REF[:2]).tolist() == [5, 5]
    assert sj.metrics.edit_distance(REF[:2], nothing).tolist() == [5, 5]


def test_long_rows_are_exact():
    hyp = RNG.integers(0, 4, 600)
    ref = np.delete(hyp, [3, 77, 400])
    assert int(sj.metrics.edit_distance(hyp, ref)) == 3
    assert [int(n) for n in sj.metrics.edit_counts(hyp, ref)] == [0, 0, 3]


def test_hypotheses_broadcast_over_references():
    found = sj.metrics.edit_distance(HYP.reshape(8, 5, 7), REF[:8, None])
    each = [[by_loop(HYP[5 * b + k], REF[b]) for k in range(5)] for b in range(8)]
    np.testing.assert_array_equal(found, each)


def best_counts(hyp, ref):
    """(distance, insertions and deletions, substitutions, deletions, insertions), the least."""
    table = {(0, 0): (0, 0, 0, 0, 0)}
    for i in range(len(hyp) + 1):
        for j in range(len(ref) + 1):
            moves = [table[i, j]] if i == j == 0 else []
            if i and j:
                a = table[i - 1, j - 1]
                n = int(hyp[i - 1] != ref[j - 1])
                moves.append((a[0] + n, a[1], a[2] + n, a[3], a[4]))
            if j:
                a = table[i, j - 1]
                moves.append((a[0] + 1, a[1] + 1, a[2], a[3] + 1, a[4]))
            if i:
                a = table[i - 1, j]
                moves.append((a[0] + 1, a[1] + 1, a[2], a[3], a[4] + 1))
            table[i, j] = min(moves)
    return table[len(hyp), len(ref)][2:]


def test_kinds_of_edits():
    found = sj.metrics.edit_counts(HYP, REF, LENGTHS, REF_LENGTHS)
    np.testing.assert_array_equal(np.stack(found, 1), [best_counts(h, r) for h, r in ROWS])
    np.testing.assert_array_equal(sum(found), distance(HYP, REF, LENGTHS, REF_LENGTHS))


def test_hamming_distance():
    found = sj.metrics.hamming_distance(HYP[:, :5], REF, REF_LENGTHS)
    expected = [
        sum(a != b for a, b in zip(h[:m], r[:m], strict=True))
        for h, r, m in zip(HYP, REF, REF_LENGTHS, strict=True)
    ]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == jnp.int32


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.uint8, np.uint32])
def test_tokens_have_any_dtype_each_side_its_own(dtype):
    np.testing.assert_array_equal(
        distance(HYP.astype(dtype), REF, LENGTHS, REF_LENGTHS),
        distance(HYP, REF, LENGTHS, REF_LENGTHS),
    )
    wide, narrow = np.array([200, 1]), np.array([200, 1], np.uint8)
    assert sj.metrics.edit_distance(narrow, wide) == 0  # as int8, 200 is -56
    assert sj.metrics.edit_distance(narrow.astype(np.int8), wide) == 1


def test_tokens_that_int32_cannot_tell_apart_are_refused():
    hashes, padded = np.array([2**40, 2**41]), np.array([3, 2**41])
    with pytest.raises(ValueError, match="references holds 2147483647; expected ids within int32"):
        sj.metrics.edit_distance(np.array([1]), hashes)
    assert sj.metrics.edit_distance(np.array([3]), padded, None, np.array(1)) == 0


BAD = {
    "floats": (
        lambda: sj.metrics.edit_distance(HYP * 1.0, REF),
        "hypotheses is float64; expected integer ids",
    ),
    "ragged": (
        lambda: sj.metrics.edit_distance([[1, 2], [3]], [[1, 2], [3]]),
        "hypotheses has rows of unequal lengths; expected an array. Pad them",
    ),
    "words": (
        lambda: sj.metrics.edit_distance(["a", "b"], ["a", "c"]),
        "hypotheses is <U1; expected integer ids",
    ),
    "number": (
        lambda: sj.metrics.edit_distance(3, REF),
        "hypotheses has shape (); expected integer ids [..., T].",
    ),
    "lengths": (
        lambda: sj.metrics.edit_distance(HYP, REF, LENGTHS[:3]),
        "lengths has shape (3,) but hypotheses has (40, 7); expected (40,), one a row.",
    ),
    "long": (
        lambda: sj.metrics.edit_distance(HYP, REF, LENGTHS + 5),
        "expected 0 <= lengths <= T = 7",
    ),
    "short": (
        lambda: sj.metrics.edit_distance(HYP, REF, None, REF_LENGTHS - 5),
        "expected 0 <= reference_lengths <= T = 5, the size of axis 1 of references.",
    ),
    "negative": (
        lambda: sj.metrics.edit_distance(HYP, REF, deletion=-1),
        "deletion is -1; expected a",
    ),
    "infinite": (
        lambda: sj.metrics.edit_distance(HYP, REF, substitution=np.inf),
        "substitution is inf; e",
    ),
    "rows": (
        lambda: sj.metrics.edit_distance(HYP[:3], REF),
        "hypotheses has leading axes (3,) and ref",
    ),
    "widths": (
        lambda: sj.metrics.hamming_distance(HYP, REF),
        "hypotheses has width 7 and references 5",
    ),
    "wide": (
        lambda: sj.metrics.edit_counts(jnp.zeros(2**16, int), REF[0]),
        "65541 tokens with costs of",
    ),
    "rates": (
        lambda: sj.metrics.error_rate(LENGTHS[:2], LENGTHS),
        "distances has shape (2,) and ref",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_says_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)
