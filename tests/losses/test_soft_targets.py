"""Cross-entropy to distributions instead of classes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj
from seqjax.losses import soft_target_losses

B, T, V = 2, 3, 5
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(B, T, V))
PROBS = RNG.dirichlet(np.ones(V), size=(B, T))
MASK = np.array([[True, True, False], [True, False, False]])


def test_equals_optax_and_the_loss_of_ids(x64):
    expected = optax.softmax_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(PROBS))
    np.testing.assert_allclose(soft_target_losses(LOGITS, PROBS), expected, rtol=1e-12)
    ids = RNG.integers(0, V, size=(B, T))
    for epsilon in 0.0, 0.2:
        smoothed = (1 - epsilon) * np.eye(V)[ids] + epsilon / V
        hard = sj.token_losses(LOGITS, ids, label_smoothing=epsilon)
        np.testing.assert_allclose(soft_target_losses(LOGITS, smoothed), hard, rtol=1e-12)
    entropy = -np.sum(PROBS * np.log(PROBS), axis=-1)
    np.testing.assert_allclose(soft_target_losses(np.log(PROBS), PROBS), entropy, rtol=1e-12)


def test_the_gradient_is_the_softmax_less_the_target(x64):
    grad = jax.jit(jax.grad(lambda x: soft_target_losses(x, PROBS, mask=MASK).sum()))(LOGITS)
    expected = np.where(MASK[..., None], jax.nn.softmax(LOGITS) - PROBS, 0)
    np.testing.assert_allclose(grad, expected, atol=1e-12)


@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_padding_is_not_read(garbage):
    run = jax.jit(
        jax.value_and_grad(lambda x, q: soft_target_losses(x, q, mask=MASK).sum(), argnums=(0, 1))
    )
    x, q = LOGITS.astype(np.float32), PROBS.astype(np.float32)
    dirty = [np.where(MASK[..., None], a, np.float32(garbage)) for a in (x, q)]
    jax.tree.map(np.testing.assert_array_equal, run(*dirty), run(x, q))
    losses = soft_target_losses(*dirty, mask=MASK)
    assert not np.any(losses[~MASK]) and np.all(losses[MASK] > 0)


def test_classes_that_are_ruled_out():
    logits = jnp.array([[0.0, 0.0, -jnp.inf], [0.0, 0.0, -jnp.inf]])
    probs = jnp.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]])
    losses = soft_target_losses(logits, probs)
    np.testing.assert_allclose(losses, [np.log(2), np.inf], rtol=1e-6)
    grads = jax.grad(lambda *a: soft_target_losses(*a)[0], argnums=(0, 1))(logits, probs)
    assert all(np.isfinite(grad).all() for grad in grads)
    grads = jax.grad(lambda *a: soft_target_losses(*a)[1], argnums=(0, 1))(logits, probs)
    assert not any(np.any(grad) for grad in grads)


BAD = {
    "ids": (
        lambda: soft_target_losses(LOGITS, np.zeros((B, T), int)),
        "target_probs is int32[2, 3]; expected floats [2, 3, 5], a probability of each class. Ids",
    ),
    "sums": (
        lambda: soft_target_losses(LOGITS, 2 * PROBS),
        "target_probs holds a row that is not a distribution; expected numbers of at least 0",
    ),
    "logits": (
        lambda: soft_target_losses(LOGITS, LOGITS),
        "target_probs holds a row that is not a distribution",
    ),
    "mask": (
        lambda: soft_target_losses(LOGITS, PROBS, mask=MASK[0]),
        "mask has shape (3,) but targets has shape (2, 3); expected the same",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as caught:
        call()
    assert text in str(caught.value)
