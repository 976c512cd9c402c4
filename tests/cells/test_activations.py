"""The activations of gated cells against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.cells.activations import sigmoid, squash, tanh

POINTS = np.concatenate([np.linspace(-12, 12, 200_001), [0.0, -0.0, 1e-30, 88.0, np.inf, -np.inf]])


def exact_sigmoid(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.parametrize("function, exact", [(tanh, np.tanh), (sigmoid, exact_sigmoid)])
def test_values_in_float32(function, exact):
    a = jnp.asarray(POINTS, jnp.float32)
    got = np.asarray(function(a), np.float64)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(got, exact(np.asarray(a, np.float64)), rtol=0, atol=4e-7)
    assert np.abs(got).max() <= 1 and np.isnan(function(jnp.float32(jnp.nan)))


@pytest.mark.parametrize("function, exact", [(tanh, np.tanh), (sigmoid, exact_sigmoid)])
def test_values_in_float64(function, exact, x64):
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(function(jnp.asarray(POINTS)), exact(POINTS), rtol=0, atol=1e-15)


def test_small_numbers_keep_their_relative_precision():
    a = jnp.array([1e-8, -1e-6, 1e-4], jnp.float32)
    np.testing.assert_allclose(tanh(a), np.tanh(np.asarray(a, np.float64)), rtol=3e-7)


def test_derivatives():
    a = jnp.linspace(-9, 9, 1001)
    first, second = jax.vmap(jax.grad(tanh)), jax.vmap(jax.grad(jax.grad(tanh)))
    y = np.tanh(np.asarray(a, np.float64))
    np.testing.assert_allclose(first(a), 1 - y**2, atol=2e-6)
    np.testing.assert_allclose(second(a), -2 * y * (1 - y**2), atol=4e-6)
    assert float(jax.grad(tanh)(0.0)) == 1.0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_a_block_of_gates_is_its_gates(dtype):
    a = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12)), dtype)
    gates = squash(a, "ssts", "ifgo")
    for got, kind, part in zip(gates, "ssts", jnp.split(a, 4, axis=1), strict=True):
        expected = jnp.tanh(part) if kind == "t" else jax.nn.sigmoid(part)
        assert got.dtype == dtype
        np.testing.assert_allclose(
            got.astype(jnp.float32), expected.astype(jnp.float32), atol=float(jnp.finfo(dtype).eps)
        )
