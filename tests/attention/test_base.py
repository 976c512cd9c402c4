"""What every mechanism shares: the masked softmax, and what it refuses at the door."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.attention.base import masked_softmax

KEY = jax.random.key(0)
ADDITIVE = sj.attention.AdditiveAttention(4)
PARAMS = ADDITIVE.init(KEY, 3, 2)
MEMORY = jnp.ones((2, 5, 2))


def test_softmax_is_defined_at_extremes():
    scores = jnp.array([[1e30, -1e30, 1e30], [-3e38, -3e38, 0.0], [-jnp.inf, 0.0, -jnp.inf]])
    mask = jnp.array([[True] * 3, [True, True, False], [True] * 3])
    weights = masked_softmax(scores, mask)
    np.testing.assert_array_equal(weights, [[0.5, 0, 0.5], [0.5, 0.5, 0], [0, 1, 0]])
    grads = jax.grad(lambda s: jnp.sum(jnp.sin(masked_softmax(s, mask))))(scores)
    assert jnp.isfinite(grads).all()
    np.testing.assert_array_equal(masked_softmax(jnp.full((2, 2), -jnp.inf)), 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: sj.attention.AdditiveAttention(0),
        lambda: ADDITIVE.init(KEY, 3, 0),
        lambda: sj.attention.LocationAttention(4, num_filters=0),
        lambda: sj.attention.MultiHeadAttention(0, head_size=4),
    ],
)
def test_sizes_are_positive(make):
    with pytest.raises(ValueError, match="is 0; expected an integer of at least 1."):
        make()


@pytest.mark.parametrize(
    "memory",
    [jnp.ones((2, 2)), jnp.ones((2, 0, 2)), jnp.ones((2, 5, 2), int), jnp.ones((1, 2, 5, 2))],
)
def test_a_memory_is_a_sequence_and_grids_are_sent_to_spatial_attention(memory):
    with pytest.raises(ValueError, match=r"For a grid \[B, Y, X, M\] use SpatialAttention."):
        ADDITIVE.prepare(PARAMS, memory)


def test_widths_are_those_of_the_params():
    with pytest.raises(ValueError, match="memory has width 3 .* expected width 2, the size that"):
        ADDITIVE.prepare(PARAMS, jnp.ones((2, 5, 3)))
    prepared = ADDITIVE.prepare(PARAMS, MEMORY)
    with pytest.raises(ValueError, match="query has width 4 .* expected width 3, the size that"):
        ADDITIVE.attend(PARAMS, prepared, jnp.ones((2, 4)), ())


def test_a_mask_has_the_shape_of_the_memory_and_lengths_are_turned_into_one():
    with pytest.raises(ValueError, match=r"memory_mask has shape \(2, 4\) .* = \(2, 5\)"):
        ADDITIVE.prepare(PARAMS, MEMORY, jnp.ones((2, 4), bool))
    with pytest.raises(ValueError, match=r"jnp.arange\(S\) < lengths\[:, None\]"):
        ADDITIVE.prepare(PARAMS, MEMORY, jnp.ones((2, 5)))


@pytest.mark.parametrize("rows", [1, 3])
def test_queries_come_in_equal_numbers_for_each_row_of_the_memory(rows):
    prepared = ADDITIVE.prepare(PARAMS, MEMORY)
    for call in (
        lambda: ADDITIVE.attend(PARAMS, prepared, jnp.ones((rows, 3)), ()),
        lambda: ADDITIVE.initial_state(PARAMS, prepared, rows),
    ):
        with pytest.raises(ValueError, match="expected a multiple, K contiguous rows for each row"):
            call()


def test_params_of_another_mechanism_or_size_are_refused():
    other = sj.attention.GeneralAttention().init(KEY, 3, 2)
    with pytest.raises(ValueError, match="GeneralAttentionParams; expected AdditiveAtt"):
        ADDITIVE.prepare(other, MEMORY)  # type: ignore
    prepared = ADDITIVE.prepare(PARAMS, MEMORY)
    with pytest.raises(ValueError, match=r"params.w_q has shape \[3, 5\]; expected \[any, 4\]"):
        ADDITIVE.attend(sj.attention.AdditiveAttention(5).init(KEY, 3, 2), prepared, MEMORY, ())


MECHANISMS = {
    "additive": ADDITIVE,
    "concat": sj.attention.ConcatAttention(4),
    "coverage": sj.attention.CoverageAttention(4),
    "dot": sj.attention.DotAttention(),
    "general": sj.attention.GeneralAttention(),
    "location": sj.attention.LocationAttention(4, num_filters=2, filter_size=3),
    "monotonic": sj.attention.MonotonicAttention(4),
    "multi_head": sj.attention.MultiHeadAttention(2, head_size=2),
}


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_single_query_and_a_raw_memory_are_refused(name):
    """JAX spoke of shapes that cannot be broadcast, Python of an attribute `values`."""
    attention = MECHANISMS[name]
    params = attention.init(KEY, 2, 2)
    prepared = attention.prepare(params, MEMORY)
    state = attention.initial_state(params, prepared, 2)
    with pytest.raises(ValueError, match=r"query is float32\[2\]; expected floats \[N, Q\]"):
        attention.attend(params, prepared, jnp.ones(2), state)
    with pytest.raises(ValueError, match="expected a PreparedMemory. Make it once with prepare"):
        attention.attend(params, MEMORY, jnp.ones((2, 2)), state)
