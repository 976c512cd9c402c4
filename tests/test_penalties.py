"""Length penalties: their formulas, and that they are values."""

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding import GNMTLengthPenalty, PowerLengthPenalty


def test_penalties_are_values_with_the_written_formula():
    log_probs, lengths = jnp.array([-2.0, -3.0]), jnp.array([1, 13])
    np.testing.assert_allclose(GNMTLengthPenalty(2.0)(log_probs, lengths), [-2, -1 / 3], rtol=1e-6)
    np.testing.assert_allclose(PowerLengthPenalty(-1.0)(log_probs, lengths), [-2, -39], rtol=1e-6)
    assert GNMTLengthPenalty(0.6) == eval(repr(GNMTLengthPenalty(0.6)))
    assert hash(PowerLengthPenalty(1.0)) == hash(PowerLengthPenalty())
    assert PowerLengthPenalty(1.0) != GNMTLengthPenalty(1.0)


def test_penalty_says_what_is_wrong():
    with pytest.raises(ValueError, match="alpha is nan; expected a finite number"):
        GNMTLengthPenalty(float("nan"))
