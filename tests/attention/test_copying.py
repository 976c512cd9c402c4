"""The copy distribution, and the losses on alignments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import seqjax as sj

RANDOM = np.random.default_rng(0)
B, T, S, V, E = 2, 3, 5, 4, 6
LOGITS = RANDOM.normal(size=(B, T, V))
GATE = RANDOM.normal(size=(B, T))
ALIGNMENT = RANDOM.dirichlet(np.ones(S), size=(B, T))
SOURCE = np.array([[0, 4, 4, 1, 5], [3, 3, 3, 2, 4]])


def given(dtype):
    """Logits, gate and alignment."""
    return jnp.asarray(LOGITS, dtype), jnp.asarray(GATE, dtype), jnp.asarray(ALIGNMENT, dtype)


def test_probabilities_are_those_of_the_two_ways_to_a_word(x64):
    found = sj.attention.pointer_generator(
        *map(jnp.asarray, (LOGITS, GATE, ALIGNMENT, SOURCE[:, None])), extended_size=E
    )
    for b in range(B):
        for t in range(T):
            p = 1 / (1 + np.exp(-GATE[b, t]))
            expected = np.zeros(E)
            expected[:V] = p * np.exp(LOGITS[b, t]) / np.exp(LOGITS[b, t]).sum()
            for j in range(S):
                expected[SOURCE[b, j]] += (1 - p) * ALIGNMENT[b, t, j]
            np.testing.assert_allclose(np.exp(found[b, t]), expected, rtol=1e-12)
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1, rtol=1e-12)
    assert found[0, 0, 3] > -np.inf and found[1, 0, 5] == -np.inf


def test_what_the_vocabulary_finds_improbable_is_not_lost():
    logits, gate = jnp.array([[0.0, -300.0]]), jnp.array([200.0])
    alignment, source = jnp.array([[0.0, 1.0]]), jnp.array([[2, 2]])

    def run(logits, gate, alignment):
        return sj.attention.pointer_generator(logits, gate, alignment, source, 4)

    found, pull = jax.vjp(run, logits, gate, alignment)
    np.testing.assert_allclose(found, [[0.0, -300.0, -200.0, -jnp.inf]], rtol=1e-6)
    for leaf in pull(jnp.array([[1.0, 1.0, 1.0, 0.0]])):
        assert jnp.isfinite(leaf).all()


def test_gradients_equal_finite_differences(x64):
    args = given(jnp.float64)
    weights = jnp.asarray(RANDOM.normal(size=(B, T, E)))

    @jax.jit
    def total(logits, gate, alignment):
        args = logits, gate, alignment
        found = sj.attention.pointer_generator(*args, jnp.asarray(SOURCE[:, None]), E)
        return jnp.sum(jnp.where(jnp.isfinite(found), found, 0) * weights)

    grads = jax.grad(total, argnums=(0, 1, 2))(*args)
    along = [jnp.asarray(RANDOM.normal(size=a.shape)) for a in args]
    shift = lambda e: total(*(a + e * d for a, d in zip(args, along, strict=True)))
    expected = (shift(1e-6) - shift(-1e-6)) / 2e-6
    found = sum(jnp.sum(g * d) for g, d in zip(grads, along, strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_ids_outside_are_refused_padding_is_not():
    logits, gate, alignment = given(jnp.float32)
    args = logits[:, 0], gate[:, 0], alignment[:, 0]
    source = jnp.asarray(SOURCE)
    mask = jnp.ones((B, S), bool).at[1, 2].set(False)
    for bad in (-1, E):
        wrong = source.at[1, 2].set(bad)
        with pytest.raises(ValueError, match=f"source holds {bad}; expected ids in 0..5"):
            sj.attention.pointer_generator(*args, wrong, E)
        found = jax.jit(lambda s: sj.attention.pointer_generator(*args, s, E))(wrong)
        assert jnp.isnan(found[1]).all() and not jnp.isnan(found[0]).any()
        error, _ = checkify.checkify(
            jax.jit(lambda s: sj.attention.pointer_generator(*args, s, E))
        )(wrong)
        with pytest.raises(checkify.JaxRuntimeError, match="source holds an id out of range"):
            error.throw()
        masked = sj.attention.pointer_generator(*args, wrong, E, source_mask=mask)
        zeroed = args[2].at[1, 2].set(0)
        expected = sj.attention.pointer_generator(*args[:2], zeroed, source, E)
        np.testing.assert_allclose(masked, expected, rtol=1e-6)


def test_a_source_of_padding_leaves_what_is_generated():
    args = (jnp.zeros((1, V)), jnp.zeros(1), jnp.zeros((1, S)), jnp.zeros((1, S), int))
    found = sj.attention.pointer_generator(*args, E, source_mask=jnp.zeros((1, S), bool))
    np.testing.assert_allclose(jnp.exp(found), [[0.125] * V + [0.0] * 2], rtol=1e-6)


def test_half_precision_is_computed_in_float32():
    args = given(jnp.bfloat16)
    assert (
        sj.attention.pointer_generator(*args, jnp.asarray(SOURCE[:, None]), E).dtype == jnp.float32
    )


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
