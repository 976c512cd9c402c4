"""Initial weights."""

import jax
import pytest

from seqjax import initializers

DRAWS = {
    "glorot": initializers.GlorotUniform(),
    "orthogonal": initializers.Orthogonal(),
    "normal": initializers.Normal(),
    "uniform": initializers.Uniform(0.1),
    "chrono": initializers.Chrono(10),
}


@pytest.mark.parametrize("name", DRAWS)
def test_keys_have_a_type(name):
    """As in `init`, which calls them."""
    assert DRAWS[name](jax.random.key(0), (3, 4)).shape == (3, 4)
    with pytest.raises(ValueError, match="key is an array of uint32 .* expected a typed key"):
        DRAWS[name](jax.random.PRNGKey(0), (3, 4))
