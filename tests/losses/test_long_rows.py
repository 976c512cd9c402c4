"""Sums over paths of thousands of steps: float32 beside float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses

T, V, N = 8000, 8, 500
RNG = np.random.default_rng(0)
LABELS, TAGS = RNG.integers(1, V, size=(1, N)), RNG.integers(0, V, size=(1, T))
LOGITS = RNG.normal(size=(1, T, V))
PREDICTED = RNG.normal(size=(1, N + 1, V))
EDGES = RNG.normal(size=(V, V))


def ctc(logits):
    return losses.ctc_loss(logits, LABELS)


def transducer(encoded):
    predicted = jnp.asarray(PREDICTED, encoded.dtype)
    return losses.transducer_loss(jnp.add, encoded, predicted, LABELS, chunk_size=200)


def crf(emissions):
    params = losses.CRFParams.zeros(V, emissions.dtype)
    params = params._replace(transitions=jnp.asarray(EDGES, emissions.dtype))
    return losses.crf_loss(params, emissions, TAGS)


RUNS = {"ctc": ctc, "transducer": transducer, "crf": crf}


def in_double(run, x):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, run(jnp.asarray(x, jnp.float64)))


@pytest.mark.parametrize(("name", "scale"), [("ctc", 1), ("ctc", 5), ("transducer", 1), ("crf", 3)])
def test_gradients_keep_their_digits(name, scale):
    """In plain float32 entries of CTC's gradient were off by 0.025 to 0.45, the largest being 1."""
    logits = (scale * LOGITS).astype(np.float32)
    run = jax.jit(jax.value_and_grad(lambda x: jnp.sum(RUNS[name](x))))
    value, grad = jax.tree.map(np.asarray, run(logits))
    exact, exact_grad = in_double(run, logits)
    assert (grad.dtype, exact_grad.dtype) == (np.float32, np.float64)
    largest = np.abs(exact_grad).max()
    assert largest > 0.9
    assert np.abs(grad - exact_grad).max() < 1e-4 * largest
    np.testing.assert_allclose(value, exact, rtol=1e-6)


def test_marginals_keep_their_digits():
    logits = (3 * LOGITS).astype(np.float32)
    run = jax.jit(lambda x: losses.crf_marginals(losses.CRFParams.zeros(V, x.dtype), x).tags)
    np.testing.assert_allclose(run(logits), in_double(run, logits), atol=1e-4)
