"""Every loss under JAX's strict settings, with padding of NaN."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax import losses

B, T, V, N, D = 3, 6, 5, 2, 4
RNG = np.random.default_rng(0)
LENGTHS, LABEL_LENGTHS = np.array([6, 4, 0]), np.array([2, 1, 0])
MASK = np.arange(T) < LENGTHS[:, None]
LABELS, IDS = RNG.integers(1, V, size=(B, N)), RNG.integers(0, V, size=(B, T))
HOW: dict[str, Any] = {"lengths": LENGTHS, "label_lengths": LABEL_LENGTHS}
PADDED: dict[str, Any] = {"mask": MASK}
ADAPTIVE = losses.AdaptiveSoftmax((2, 3, V), shrink=2.0, head_bias=True)


def adaptive(x):
    params = jax.tree.map(lambda a: a.astype(x.dtype), ADAPTIVE.init(jax.random.key(0), V))
    return ADAPTIVE.losses(params, x, IDS, **PADDED)


def adaptive_log_probs(x):
    params = jax.tree.map(lambda a: a.astype(x.dtype), ADAPTIVE.init(jax.random.key(0), V))
    return jnp.where(
        MASK[..., None], ADAPTIVE.log_probs(params, jnp.where(MASK[..., None], x, 0)), 0
    )


def sampled(x):
    weights, bias = (jnp.asarray(RNG.normal(size=s), x.dtype) for s in ((V, V), (V,)))
    how: dict[str, Any] = dict(key=jax.random.key(0), num_samples=3, bias=bias)
    proposal = losses.make_proposal(np.ones(V))
    return losses.sampled_softmax_losses(x, weights, IDS, proposal, **how, **PADDED)


def transducer(x):
    predicted = jnp.asarray(RNG.normal(size=(B, N + 1, V)), x.dtype)
    return losses.transducer_loss(jnp.add, x, predicted, LABELS, **HOW)


def crf(run):
    return lambda x: run(losses.CRFParams.zeros(V, x.dtype), x)


def unlikelihood(x):
    candidates = losses.previous_tokens(IDS, V, mask=MASK)
    return losses.unlikelihood_losses(x, candidates, **PADDED)


def soft(x):
    return losses.soft_target_losses(x, jnp.full(x.shape, 1 / V, x.dtype), **PADDED)


LOSSES = {
    "tokens": lambda x: sj.token_losses(x, IDS, **PADDED),
    "smoothed": lambda x: sj.cross_entropy(x, IDS, label_smoothing=0.1, **PADDED),
    "soft": soft,
    "ctc": lambda x: losses.ctc_loss(x, LABELS, **HOW),
    "transducer": transducer,
    "crf": crf(lambda p, x: losses.crf_loss(p, x, IDS, lengths=LENGTHS)),
    "crf_masked": crf(lambda p, x: losses.crf_log_partition(p, x, mask=MASK[:, ::-1])),
    "crf_marginals": crf(lambda p, x: losses.crf_marginals(p, x, lengths=LENGTHS).tags),
    "adaptive": adaptive,
    "adaptive_log_probs": adaptive_log_probs,
    "sampled": sampled,
    "unlikelihood": unlikelihood,
    "units": lambda x: losses.perplexity(jnp.where(MASK[..., None], x, 0)),
}


def value_and_grad(name, dtype, garbage=np.nan):
    real = MASK[:, ::-1] if name == "crf_masked" else MASK
    x = np.where(real[..., None], RNG.normal(size=(B, T, V)), garbage)
    total = lambda x: jnp.sum(LOSSES[name](x))
    return jax.value_and_grad(total)(jnp.asarray(x, dtype))


@pytest.mark.parametrize("setting", ["rank_promotion", "debug_nans"])
@pytest.mark.parametrize("name", LOSSES)
def test_no_rank_is_promoted_and_no_nan_is_made(name, setting):
    if setting == "debug_nans":  # which refuses NaN in padding before anybody sees it
        with jax.debug_nans(True):
            value, grad = value_and_grad(name, jnp.float32, garbage=0)
    else:
        with jax.numpy_rank_promotion("raise"):
            value, grad = value_and_grad(name, jnp.float32)
    assert value.dtype == grad.dtype == jnp.float32
    assert np.isfinite(value) and np.isfinite(grad).all() and np.any(grad)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", LOSSES)
def test_dtypes_stay_where_64_bits_are_on(name, dtype, x64):
    value, grad = value_and_grad(name, dtype)
    wide = "float32" if dtype == "bfloat16" else dtype
    assert value.dtype == (np.float64 if name == "units" else wide) and grad.dtype == dtype
    assert np.isfinite(value)
