"""Attention over the places of an image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

M, Q, A = 3, 4, 6
RANDOM = np.random.default_rng(0)


def test_a_zero_scorer_looks_everywhere_alike_at_first():
    inner = sj.attention.AdditiveAttention(A, v_init=sj.initializers.Normal(0.0))
    spec = sj.attention.SpatialAttention(inner, gate=False)
    params = spec.init(jax.random.key(0), Q, M)
    image = jnp.asarray(RANDOM.normal(size=(2, 3, 4, M)), jnp.float32)
    prepared = spec.prepare(params, image)
    seen, _ = spec.attend(params, prepared, jnp.ones((2, Q)), ())
    np.testing.assert_allclose(seen.alignment, 1 / 12, rtol=1e-6)
    entropy = -jnp.sum(seen.alignment * jnp.log(seen.alignment), axis=1)
    np.testing.assert_allclose(entropy, np.log(12), rtol=1e-6)
    np.testing.assert_allclose(seen.context, image.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_spatial_attention_is_that_of_the_places_row_by_row_times_the_gate(x64):
    inner = sj.attention.AdditiveAttention(A)
    spec = sj.attention.SpatialAttention(inner)
    draw = lambda *shape: jnp.asarray(RANDOM.normal(size=shape))
    params = jax.tree.map(lambda a: draw(*a.shape), spec.init(jax.random.key(0), Q, M))
    image, query = draw(2, 2, 3, M), draw(4, Q)
    mask = jnp.asarray(RANDOM.random((2, 2, 3)) < 0.7)
    seen, _ = spec.attend(params, spec.prepare(params, image, mask), query, ())
    places = [image[:, y, x] for y in range(2) for x in range(3)]
    real = [mask[:, y, x] for y in range(2) for x in range(3)]
    flat = inner.prepare(params.attention, jnp.stack(places, 1), jnp.stack(real, 1))
    plain, _ = inner.attend(params.attention, flat, query, ())
    gate = 1 / (1 + np.exp(-(query @ params.w_gate + params.b_gate)))
    np.testing.assert_allclose(seen.alignment, plain.alignment, rtol=1e-12)
    np.testing.assert_allclose(seen.context, gate * plain.context, rtol=1e-12)


def test_a_grid_has_two_axes_of_places():
    spec = sj.attention.SpatialAttention(sj.attention.AdditiveAttention(A))
    params = spec.init(jax.random.key(0), Q, M)
    with pytest.raises(ValueError, match=r"A sequence \[B, S, M\] goes to a mechanism without Sp"):
        spec.prepare(params, jnp.ones((2, 5, M)))
    with pytest.raises(ValueError, match=r"expected \[B, Y, X\] = \(2, 3, 4\)"):
        spec.prepare(params, jnp.ones((2, 3, 4, M)), jnp.ones((2, 12), bool))


def test_a_cell_is_no_mechanism():
    with pytest.raises(
        ValueError, match=r"attention is GRU.* expected one such as AdditiveAttention"
    ):
        sj.attention.SpatialAttention(sj.GRU(3))  # type: ignore
