"""What is and is not true of the linear autoencoder, y = V W x, and its principal components.

Not true of it as it stands: that V = Wᵀ, or that the rows of W are orthonormal. True: the row space
of W is that of the components (Baldi and Hornik 1989); with L2 on both, V = Wᵀ at every critical
point (Kunin et al. 2019); with V = Wᵀ imposed, the rows are orthonormal.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

SIZE, KEPT = 6, 2


@pytest.fixture
def data(x64):
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(50, SIZE)) * np.array([3.0, 2.0, 1.0, 0.7, 0.5, 0.3])
    xs = xs @ np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    variances, components = np.linalg.eigh(xs.T @ xs)
    return jnp.asarray(xs), jnp.asarray(components[:, ::-1]), jnp.asarray(variances[::-1])


def loss(params, xs, penalty=0.0):
    w, v = params  # [KEPT, SIZE], [SIZE, KEPT]
    error = xs @ w.T @ v.T - xs
    return jnp.sum(error**2) + penalty * (jnp.sum(w**2) + jnp.sum(v**2))


def gradient_size(params, *args):
    return max(float(jnp.abs(g).max()) for g in jax.tree.leaves(jax.grad(loss)(params, *args)))


@pytest.mark.parametrize("seed", range(3))
def test_any_invertible_mixture_of_components_is_a_minimum(data, seed):
    xs, components, variances = data
    basis = components[:, :KEPT]
    mix = jnp.asarray(np.random.default_rng(seed).normal(size=(KEPT, KEPT)))
    w, v = jnp.linalg.inv(mix) @ basis.T, basis @ mix
    np.testing.assert_allclose(loss((w, v), xs), jnp.sum(variances[KEPT:]), rtol=1e-10)
    assert gradient_size((w, v), xs) < 1e-8
    assert jnp.abs(v - w.T).max() > 0.1  # so V = Wᵀ does not follow
    assert jnp.abs(w @ w.T - jnp.eye(KEPT)).max() > 0.1  # nor do orthonormal rows
    # What does follow: W sees no more than the components' span.
    np.testing.assert_allclose(w @ basis @ basis.T, w, atol=1e-12)


def test_tied_weights_make_the_rows_orthonormal(data):
    xs, components, variances = data
    turn = jnp.asarray(np.linalg.qr(np.random.default_rng(1).normal(size=(KEPT, KEPT)))[0])
    w = turn @ components[:, :KEPT].T
    tied = lambda w: loss((w, w.T), xs)
    np.testing.assert_allclose(tied(w), jnp.sum(variances[KEPT:]), rtol=1e-10)
    assert jnp.abs(jax.grad(tied)(w)).max() < 1e-8
    np.testing.assert_allclose(w @ w.T, jnp.eye(KEPT), atol=1e-12)
    assert jnp.abs(jax.grad(tied)(1.1 * w)).max() > 1  # a longer basis is no critical point


def test_with_l2_on_both_the_transposed_components_are_critical_and_a_mixture_is_not(data):
    xs, components, variances = data
    penalty = 0.5 * float(variances[KEPT - 1])
    # d/ds of (1 - s)² λ + 2 penalty s, with s the square of a singular value of W and of V.
    scale = jnp.sqrt(1 - penalty / variances[:KEPT])
    w = scale[:, None] * components[:, :KEPT].T
    assert gradient_size((w, w.T), xs, penalty) < 1e-8
    stretched = jnp.diag(jnp.array([1.5, 0.8]))
    unbalanced = (jnp.linalg.inv(stretched) @ w, w.T @ stretched)
    np.testing.assert_allclose(loss(unbalanced, xs), loss((w, w.T), xs), rtol=1e-12)
    assert gradient_size(unbalanced, xs, penalty) > 1


def test_gradient_steps_find_a_minimum_that_is_not_tied(data):
    xs, components, variances = data
    rng = np.random.default_rng(2)
    w, v = (jnp.asarray(rng.normal(size=s)) for s in [(KEPT, SIZE), (SIZE, KEPT)])
    descend = lambda params, _: (
        jax.tree.map(lambda p, g: p - 5e-4 * g, params, jax.grad(loss)(params, xs)),
        None,
    )
    (w, v), _ = jax.lax.scan(descend, (w, v), length=30_000)
    np.testing.assert_allclose(loss((w, v), xs), jnp.sum(variances[KEPT:]), rtol=1e-6)
    assert jnp.abs(v - w.T).max() > 0.1
