"""Unlikelihood: exact near p = 1, and candidates of what was said before."""

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from seqjax.losses import previous_tokens

RNG = np.random.default_rng(0)
B, T, V = 2, 5, 4
LOGITS = RNG.normal(size=(B, T, V))
CANDIDATES = RNG.random((B, T, V)) < 0.5

losses_and_grad = jax.jit(
    jax.value_and_grad(
        lambda logits, *args: jnp.sum(
            jnp.where(jnp.isfinite(x := sj.losses.unlikelihood_losses(logits, *args)), x, 0)
        )
    )
)


def test_is_the_definition(x64):
    probs = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    expected = -(CANDIDATES * np.log(1 - probs)).sum(-1)
    np.testing.assert_allclose(
        sj.losses.unlikelihood_losses(LOGITS, CANDIDATES), expected, rtol=1e-12, atol=1e-15
    )
    # d/dx of -log(1 - p_c): p_c at c itself, and -p_c p_v / (1 - p_c) elsewhere.
    ratio = CANDIDATES * probs / (1 - probs)
    grad = ratio - probs * ratio.sum(-1, keepdims=True)
    got = losses_and_grad(LOGITS, CANDIDATES)[1]
    np.testing.assert_allclose(got, grad, atol=1e-12)


def test_keeps_its_digits_where_the_candidate_is_nearly_certain():
    logits = jnp.array([[40.0, 0.0, 0.0], [-40.0, 0.0, 0.0], [0.0, 0.0, -90.0]])
    candidates = jnp.eye(3, dtype=bool)[jnp.array([0, 0, 2])]
    losses = sj.losses.unlikelihood_losses(logits, candidates)
    expected = [40 - np.log(2), np.exp(-40) / 2, 0]
    np.testing.assert_allclose(losses[:2], expected[:2], rtol=1e-5)
    np.testing.assert_allclose(losses[2], np.exp(-90) / 2, atol=1e-38)
    value, grad = losses_and_grad(logits, candidates)
    assert np.isfinite(value)
    np.testing.assert_allclose(grad[0], [1, -0.5, -0.5], rtol=1e-6)


def test_a_candidate_left_alone_is_infinite_without_a_gradient():
    logits = jnp.array([[0.0, -jnp.inf], [0.0, -jnp.inf]])
    candidates = jnp.array([[True, False], [False, True]])
    assert sj.losses.unlikelihood_losses(logits, candidates).tolist() == [np.inf, 0]
    _, grad = losses_and_grad(logits, candidates)
    assert np.isfinite(grad).all() and not np.any(grad[0])


def test_candidates_are_the_tokens_before_less_the_target():
    targets = np.array([[1, 2, 1, 0, 2], [3, 3, 0, 1, 3]])
    mask = np.array([[1, 1, 1, 1, 0], [1, 0, 1, 1, 1]], bool)
    for real in (None, mask):
        got = previous_tokens(targets, V, mask=real)
        for b in range(B):
            for t in range(T):
                whole = real is None or real[b, t]
                before = {targets[b, s] for s in range(t) if real is None or real[b, s]}
                expected = before - {targets[b, t]} if whole else set()
                assert set(np.flatnonzero(got[b, t]).tolist()) == expected
    assert not np.any(previous_tokens(np.array([[0, -1, V, 1]]), V)[0, :, 1:])


def test_padding_is_not_read():
    mask = np.arange(T) < np.array([[5], [2]])
    logits = LOGITS.astype(np.float32)
    run = jax.jit(
        jax.value_and_grad(lambda x, c: sj.losses.unlikelihood_losses(x, c, mask=mask).sum())
    )
    clean = run(logits, CANDIDATES)
    for garbage in (np.nan, np.inf, -np.inf):
        dirty = run(np.where(mask[..., None], logits, garbage), CANDIDATES | ~mask[..., None])
        jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    assert clean[0] > 0 and not np.any(clean[1][~mask])
    assert (
        sj.losses.unlikelihood_losses(jnp.zeros(V, jnp.bfloat16), np.ones(V, bool)).dtype
        == jnp.float32
    )
