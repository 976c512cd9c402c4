"""Initial params: every gate, member and direction drawn by itself, at the scale of one block."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

GATES = {
    sj.LSTM(4): 4,
    sj.GRU(4): 3,
    sj.GRU(4, reset="before"): 3,
    sj.cells.PeepholeLSTM(4): 4,
    sj.cells.ProjectedLSTM(5, projection_size=4): 4,
    sj.cells.LayerNormLSTM(4): 4,
    sj.cells.CoupledLSTM(4): 3,
    sj.cells.MGU(4): 2,
}


def assert_all_differ(arrays):
    """That no number of one array is that of another at its place."""
    for a, b in itertools.combinations(arrays, 2):
        assert (a != b).all()


@pytest.mark.parametrize("cell", GATES, ids=lambda cell: type(cell).__name__)
def test_gates_are_drawn_apart(cell):
    params = cell.init(jax.random.key(0), 3)
    assert_all_differ(jnp.split(params.w_x, GATES[cell], axis=1))
    assert_all_differ(jnp.split(params.w_h, GATES[cell], axis=1))


@pytest.mark.parametrize("cell", [sj.Elman, sj.LSTM, sj.GRU])
def test_the_two_matrices_are_drawn_apart(cell):
    normal = sj.initializers.Normal(1.0)
    params = cell(3, w_x_init=normal, w_h_init=normal).init(jax.random.key(0), 3)
    assert_all_differ([params.w_x, params.w_h])


def test_members_and_directions_are_drawn_apart():
    normal = sj.initializers.Normal(1.0)
    elman = sj.Elman(3, w_x_init=normal, w_h_init=normal)
    stack = sj.Stack((elman, elman, elman)).init(jax.random.key(0), 3)
    both = sj.Bidirectional(elman).init(jax.random.key(0), 3)
    for params in (stack, both):
        assert_all_differ([member.w_h for member in params])
        assert_all_differ([member.w_x for member in params])


@pytest.mark.parametrize("cell", [sj.LSTM(100), sj.GRU(100)], ids=["lstm", "gru"])
def test_each_gate_has_the_scale_of_its_own_fans(cell):
    """Glorot's bound √(6 / (D + H)) of one gate's block, not √(6 / (D + 4H)) of the whole array.

    The blocks of w_h are orthogonal: singular values 1, so that the mean square is 1 / H.
    """
    params = cell.init(jax.random.key(0), 200)
    bound = np.sqrt(6 / (200 + 100))
    for block in np.split(np.asarray(params.w_x), params.w_x.shape[1] // 100, axis=1):
        assert 0.999 * bound < np.abs(block).max() <= bound
        # The standard deviation of 20,000 uniform draws, to five of its standard errors.
        np.testing.assert_allclose(block.std(), bound / np.sqrt(3), rtol=0.016)
        assert abs(block.mean()) < 5 * block.std() / np.sqrt(block.size)
    for block in np.split(np.asarray(params.w_h), params.w_h.shape[1] // 100, axis=1):
        np.testing.assert_allclose(np.linalg.svd(block, compute_uv=False), 1, atol=1e-4)
        np.testing.assert_allclose(block.std(), 0.1, rtol=0.01)
