"""Length penalties: their formulas, and that they are values."""

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding import (
    CoveragePenalty,
    GNMTLengthPenalty,
    PowerLengthPenalty,
    SockeyeLengthPenalty,
)


def test_penalties_are_values_with_the_written_formula():
    log_probs, lengths = jnp.array([-2.0, -3.0]), jnp.array([1, 13])
    np.testing.assert_allclose(GNMTLengthPenalty(2.0)(log_probs, lengths), [-2, -1 / 3], rtol=1e-6)
    np.testing.assert_allclose(PowerLengthPenalty(-1.0)(log_probs, lengths), [-2, -39], rtol=1e-6)
    assert GNMTLengthPenalty(0.6) == eval(repr(GNMTLengthPenalty(0.6)))
    assert hash(PowerLengthPenalty(1.0)) == hash(PowerLengthPenalty())
    assert PowerLengthPenalty(1.0) != GNMTLengthPenalty(1.0)


def test_sockeyes_penalty_joins_the_two_others():
    log_probs, lengths = jnp.linspace(-9, -1, 5), jnp.array([1, 2, 3, 8, 20])
    for alpha in (-0.5, 0.0, 1.3):
        power, gnmt = PowerLengthPenalty(alpha), GNMTLengthPenalty(alpha)
        sockeye = lambda beta, a=alpha: SockeyeLengthPenalty(a, beta)(log_probs, lengths)
        np.testing.assert_allclose(sockeye(0.0), power(log_probs, lengths), rtol=1e-6)
        np.testing.assert_allclose(sockeye(5.0), gnmt(log_probs, lengths), rtol=1e-6)
    n = np.asarray(lengths)
    want = np.asarray(log_probs) / ((1.5 + n) / 2.5) ** 0.7
    np.testing.assert_allclose(SockeyeLengthPenalty(0.7, 1.5)(log_probs, lengths), want, rtol=1e-6)
    assert SockeyeLengthPenalty(0.7, 1.5) == eval(repr(SockeyeLengthPenalty(0.7, 1.5)))


def test_coverage_penalty_has_the_written_formula():
    coverage = np.array([[[0.5, 2.0, 0.1], [1.0, 1.0, 1.0]], [[0.2, 0.3, 0.0], [0.9, 0.7, 3.0]]])
    want = 0.2 * np.sum(np.log(np.minimum(np.maximum(coverage, 1e-30), 1)), axis=-1)
    got = CoveragePenalty(0.2)(jnp.asarray(coverage, jnp.float32))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    np.testing.assert_allclose(got[1, 1], want[1, 1], rtol=1e-5)
    assert -20 < got[1, 0] < -17  # no attention at all costs much, but not everything
    mask = jnp.array([[True] * 3, [True, True, False]])
    masked = CoveragePenalty(0.2, memory_mask=mask)(jnp.asarray(coverage, jnp.float32))
    np.testing.assert_allclose(masked[0], want[0], rtol=1e-5)
    np.testing.assert_allclose(masked[1, 0], 0.2 * np.log(0.06), rtol=1e-5)
    assert CoveragePenalty(0.2) == eval(repr(CoveragePenalty(0.2)))


PENALTY_ERRORS = [
    (lambda: GNMTLengthPenalty(float("nan")), "alpha is nan; expected a finite number"),
    (lambda: SockeyeLengthPenalty("1"), "alpha is '1'; expected a finite number"),
    (lambda: SockeyeLengthPenalty(1.0, -1.0), "beta is -1.0; expected a number with beta > -1."),
    (lambda: CoveragePenalty(-0.1), "beta is -0.1; expected a number with beta >= 0."),
    (
        lambda: CoveragePenalty(memory_mask=jnp.ones((2, 4)))(jnp.ones((2, 3, 5))),
        r"memory_mask has shape \(2, 4\) for coverage \(2, 3, 5\); expected \[B, S\]",
    ),
]


@pytest.mark.parametrize(("make", "message"), PENALTY_ERRORS)
def test_penalty_says_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
