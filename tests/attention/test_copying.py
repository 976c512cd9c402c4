"""The copy distribution, against its definition word by word."""

from typing import Any

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


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64"])
def test_ids_of_any_dtype_copy_the_same_words(dtype):
    """An extended vocabulary of 256 words or more has no size in uint8."""
    logits, gate, alignment = given(jnp.float32)
    args = logits[:, 0], gate[:, 0], alignment[:, 0]
    source: Any = np.where(SOURCE == 4, 255, SOURCE)
    found = sj.attention.pointer_generator(*args, source.astype(dtype), 300)
    expected = sj.attention.pointer_generator(*args, jnp.asarray(source, jnp.int32), 300)
    np.testing.assert_array_equal(found, expected)
    if dtype == "int64":
        with pytest.raises(ValueError, match="source holds 2147483647; expected ids in 0..299"):
            sj.attention.pointer_generator(*args, source + 2**32, 300)


def test_a_source_of_padding_leaves_what_is_generated():
    args = (jnp.zeros((1, V)), jnp.zeros(1), jnp.zeros((1, S)), jnp.zeros((1, S), int))
    found = sj.attention.pointer_generator(*args, E, source_mask=jnp.zeros((1, S), bool))
    np.testing.assert_allclose(jnp.exp(found), [[0.125] * V + [0.0] * 2], rtol=1e-6)


def test_half_precision_is_computed_in_float32():
    args = given(jnp.bfloat16)
    assert (
        sj.attention.pointer_generator(*args, jnp.asarray(SOURCE[:, None]), E).dtype == jnp.float32
    )


GOOD: Any = dict(
    logits=jnp.ones((2, 4)),
    gate=jnp.ones(2),
    alignment=jnp.ones((2, 5)),
    source=jnp.zeros((2, 5), int),
    extended_size=6,
)


@pytest.mark.parametrize(
    ("message", "bad"),
    [
        ("logits is int32[2, 4]; expected floats [..., 4]", {"logits": jnp.ones((2, 4), int)}),
        ("gate is float32[2, 1]; expected floats [2]", {"gate": jnp.ones((2, 1))}),
        ("alignment is float32[3, 5]; expected floats [2, S]", {"alignment": jnp.ones((3, 5))}),
        ("source has shape (2, 4); expected [..., S]", {"source": jnp.zeros((2, 4), int)}),
        ("source is float32; expected integer ids", {"source": jnp.zeros((2, 5))}),
        ("source_mask has dtype float32; expected bool", {"source_mask": jnp.ones((2, 5))}),
        ("source_mask has shape (5, 1); expected", {"source_mask": jnp.ones((5, 1), bool)}),
        ("extended_size is 3 but logits has V = 4; expected at least V.", {"extended_size": 3}),
        ("source holds 6; expected ids in 0..5", {"source": jnp.full((2, 5), 6)}),
    ],
)
def test_what_does_not_fit_is_named(message, bad):
    with pytest.raises(ValueError) as caught:
        sj.attention.pointer_generator(**{**GOOD, **bad})
    assert message in str(caught.value)
