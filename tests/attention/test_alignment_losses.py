"""Losses on alignments, against loops over rows, steps and places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

B, T, S = 2, 3, 5
ALIGNMENT = np.random.default_rng(0).dirichlet(np.ones(S), size=(B, T))
MASK = np.array([[True, True, False], [True, False, False]])


def test_coverage_loss_counts_what_is_read_again(x64):
    total = 0.0
    for b in range(B):
        covered = np.zeros(S)
        for t in np.flatnonzero(MASK[b]):
            total += np.minimum(ALIGNMENT[b, t], covered).sum()
            covered += ALIGNMENT[b, t]
    dirty = np.where(MASK[..., None], ALIGNMENT, np.nan)
    found = sj.attention.coverage_loss(jnp.asarray(dirty), mask=jnp.asarray(MASK))
    np.testing.assert_allclose(found, total / MASK.sum(), rtol=1e-12)
    everywhere = sj.attention.coverage_loss(jnp.asarray(ALIGNMENT))
    np.testing.assert_allclose(
        everywhere, sj.attention.coverage_loss(jnp.asarray(ALIGNMENT), mask=jnp.ones((B, T), bool))
    )
    assert sj.attention.coverage_loss(jnp.ones((2, 0, 3))) == 0
    grad = jax.grad(lambda a: sj.attention.coverage_loss(a, mask=jnp.zeros((B, T), bool)))
    assert not grad(jnp.asarray(ALIGNMENT)).any()


def test_doubly_stochastic_loss_counts_real_places_and_steps(x64):
    real = np.array([[True, True, True, False, False], [True] * 5])
    expected = np.mean(
        [
            sum(
                (1 - sum(ALIGNMENT[b, t, j] for t in range(T) if MASK[b, t])) ** 2
                for j in range(S)
                if real[b, j]
            )
            for b in range(B)
        ]
    )
    dirty = jnp.asarray(np.where(MASK[..., None], ALIGNMENT, np.inf))
    how = dict(mask=jnp.asarray(MASK), memory_mask=jnp.asarray(real))
    np.testing.assert_allclose(
        sj.attention.doubly_stochastic_loss(dirty, **how), expected, rtol=1e-12
    )
    grads = jax.grad(lambda a: sj.attention.doubly_stochastic_loss(a, **how))(dirty)
    assert jnp.isfinite(grads).all() and not grads[~MASK].any() and not grads[0, :, 3:].any()
    assert sj.attention.doubly_stochastic_loss(jnp.zeros((0, 2, 3))) == 0


def test_shapes_that_do_not_fit_are_named():
    alignments, flags = jnp.ones((2, 3, 5)), jnp.ones((2, 3), bool)
    with pytest.raises(
        ValueError, match=r"alignments is float32\[2, 3\]; expected floats \[B, T, S\]"
    ):
        sj.attention.coverage_loss(jnp.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"mask is bool\[3, 2\] .* expected bool \[B, T\] = \[2, 3\]"
    ):
        sj.attention.coverage_loss(alignments, mask=flags.T)
    with pytest.raises(ValueError, match=r"memory_mask is .* expected bool \[B, S\] = \[2, 5\]"):
        sj.attention.doubly_stochastic_loss(alignments, memory_mask=flags)
