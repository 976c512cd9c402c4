"""bfloat16, float32 and float64: what is computed in which, and that carries keep their dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import CELLS

import seqjax as sj


def cast(tree, dtype):
    is_float = lambda a: jnp.issubdtype(a.dtype, jnp.floating)
    return jax.tree.map(lambda a: a.astype(dtype) if is_float(a) else a, tree)


@pytest.mark.parametrize("name", CELLS)
def test_bfloat16_is_float32_to_its_rounding(name):
    cell = CELLS[name]
    params = cast(cell.init(jax.random.key(0), 3), jnp.bfloat16)
    xs = jnp.sin(jnp.arange(2 * 5 * 3)).reshape(2, 5, 3).astype(jnp.bfloat16)
    _, half = sj.unroll(cell, params, xs)
    _, full = sj.unroll(cell, cast(params, jnp.float32), xs.astype(jnp.float32))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.03)


def test_bfloat16_gradients_are_finite_and_bfloat16():
    cell = sj.Stack((sj.LSTM(4), sj.GRU(3)))
    params = cast(cell.init(jax.random.key(0), 3), jnp.bfloat16)
    xs = jnp.ones((2, 5, 3), jnp.bfloat16)
    grads = jax.grad(lambda p: jnp.sum(sj.unroll(cell, p, xs)[1].astype(jnp.float32)))(params)
    for leaf in jax.tree.leaves(grads):
        assert leaf.dtype == jnp.bfloat16
        assert jnp.isfinite(leaf).all()


@pytest.mark.parametrize("cell", [sj.LSTM(1), sj.CoupledLSTM(1)])
def test_a_small_increment_is_not_lost_in_a_long_memory(cell):
    """c grows by less than 1/256 of itself a step, which bfloat16 could not hold."""
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))
    gates = {sj.LSTM: [-7.0, 20.0, 20.0, 0.0], sj.CoupledLSTM: [7.0, 20.0, 0.0]}[type(cell)]
    params = cast(params._replace(b=jnp.array(gates)), jnp.bfloat16)
    carry, _ = sj.unroll(cell, params, jnp.zeros((1, 600, 1), jnp.bfloat16))
    write = jax.nn.sigmoid(-7.0)
    lasting = 1 - (1 - write) ** 600
    expected = lasting if isinstance(cell, sj.CoupledLSTM) else 600 * write
    np.testing.assert_allclose(carry.c, [[expected]], rtol=0.01)


def test_inputs_are_cast_to_the_weights(x64):
    cell = sj.LSTM(3)
    params = cast(cell.init(jax.random.key(0), 2), jnp.float32)
    carry, ys = sj.unroll(cell, params, jnp.ones((2, 4, 2), jnp.float64))
    assert {ys.dtype, carry.h.dtype, carry.c.dtype} == {jnp.dtype(jnp.float32)}


def test_float64_weights_compute_in_float64(x64):
    cell = sj.GRU(3)
    params = cell.init(jax.random.key(0), 2)
    carry, ys = sj.unroll(cell, params, jnp.ones((2, 4, 2), jnp.float32))
    assert {params.w_h.dtype, ys.dtype, carry.dtype} == {jnp.dtype(jnp.float64)}
