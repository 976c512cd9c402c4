"""Resampling schemes: their mean, their spread, and weights that are no law."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from seqjax.core.noise import fold_in_rows
from seqjax.decoding import (
    effective_sample_size,
    multinomial_resampling,
    residual_resampling,
    sequential_monte_carlo,
    stratified_resampling,
    systematic_resampling,
)

SCHEMES = {
    "multinomial": multinomial_resampling,
    "residual": residual_resampling,
    "stratified": stratified_resampling,
    "systematic": systematic_resampling,
}
WEIGHTS = np.array([0.31, 0.0, 0.02, 0.25, 0.13, 0.0, 0.29])
DRAWS = 20_000
KEY = jax.random.key(2)


@jax.jit
def resample(key, log_weights):
    """The ancestors by every scheme: one compilation a size."""
    return {name: scheme(key, log_weights) for name, scheme in SCHEMES.items()}


@functools.lru_cache
def many_times():
    """Ancestors [DRAWS, N] of the same weights, not normalised, by every scheme."""
    log_weights = jnp.log(jnp.asarray(WEIGHTS, jnp.float32)) + 3
    every = jax.jit(jax.vmap(resample, (0, None)))
    return jax.tree.map(np.asarray, every(jax.random.split(KEY, DRAWS), log_weights))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_counts_are_right_in_the_mean_and_close_to_it(scheme):
    ancestors, share = many_times()[scheme], WEIGHTS.size * WEIGHTS
    assert ancestors.dtype == np.int32
    counts = np.sum(ancestors[..., None] == np.arange(WEIGHTS.size), axis=1)
    assert np.all(counts.sum(1) == WEIGHTS.size) and np.all(counts[:, WEIGHTS == 0] == 0)
    error = counts.std(0) / np.sqrt(DRAWS)
    assert np.all(np.abs(counts.mean(0) - share) <= 4 * error + 1e-6)
    away = np.abs(counts - share)
    if scheme == "systematic":
        assert np.all(away < 1)
    if scheme == "stratified":
        assert np.all(away < 2)
    if scheme == "residual":
        assert np.all(counts >= np.floor(share)) and counts.max() > np.ceil(share).max()
    if scheme == "multinomial":
        expected = share * (1 - WEIGHTS)
        np.testing.assert_allclose(counts.var(0), expected, rtol=0.05)
    else:
        assert counts.var(0).sum() < 0.6 * (share * (1 - WEIGHTS)).sum()


def test_multinomial_draws_are_independent():
    pairs = many_times()["multinomial"][:, :2]
    kept = np.flatnonzero(WEIGHTS)
    observed = np.array([[np.sum((pairs == (i, j)).all(1)) for j in kept] for i in kept])
    expected = DRAWS * np.outer(WEIGHTS[kept], WEIGHTS[kept])
    assert stats.chisquare(observed.ravel(), expected.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_that_are_no_law_leave_every_particle_itself(scheme):
    run = lambda *weights: resample(KEY, jnp.array(weights))[scheme].tolist()
    inf = np.inf
    for weights in ([-inf] * 4, [0, np.nan, 0, 0], [0, inf, 0, 0]):
        assert run(*weights) == [0, 1, 2, 3]
    assert run(-inf, -1e30, -inf, -inf) == [1] * 4
    assert set(run(3e38, -3e38, 3e38, -inf)) <= {0, 2}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_many_particles_and_equal_weights(scheme):
    count = 5_000
    some = jnp.where(jnp.arange(count) % 10 == 3, -jnp.inf, 0.0)
    ancestors = np.asarray(resample(KEY, some)[scheme])
    assert np.all(ancestors % 10 != 3) and 0 <= ancestors.min() and ancestors.max() < count
    copies = np.bincount(np.asarray(resample(KEY, jnp.zeros(count))[scheme]), minlength=count)
    lost = {"multinomial": 0.40, "stratified": 0.28, "residual": 0.0, "systematic": 0.001}
    assert np.mean(copies == 0) <= lost[scheme]  # in the mean 1/e, 1/4, none and none


def test_every_resampling_of_a_run_has_a_key_of_its_own():
    """Apart from the other steps', the other rows', and those that tokens are drawn by."""
    rows, length, seen = 3, 5, []

    def watched(key, log_weights):
        jax.debug.callback(lambda data: seen.append(tuple(data.tolist())), jax.random.key_data(key))
        return systematic_resampling(key, log_weights)

    step = lambda carry, tokens: (carry, jnp.zeros((tokens.shape[0], 3)))
    how: dict[str, Any] = dict(bos=jnp.zeros(rows, int), eos=0, max_len=length, key=KEY)
    how |= dict(num_particles=4, threshold=1.0, resample=watched)
    never = lambda log_p, tokens, t: log_p + jnp.array([-jnp.inf, 0.0, 2.0])
    jax.block_until_ready(sequential_monte_carlo(step, (), potentials=[never], proposal=(), **how))
    jax.effects_barrier()
    keys = fold_in_rows(KEY, jnp.arange(rows))
    drawn = [fold_in_rows(keys, jnp.full(rows, t)) for t in range(length)]
    taken = {tuple(data.tolist()) for key in drawn for data in jax.random.key_data(key)}
    assert len(seen) == len(set(seen)) >= 2 * rows and not taken & set(seen)


def test_effective_sample_size():
    inf = np.inf
    weights = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    linear = np.exp(weights.astype(np.float64))
    expected = linear.sum(1) ** 2 / (linear**2).sum(1)
    np.testing.assert_allclose(effective_sample_size(jnp.array(weights)), expected, rtol=1e-5)
    shifted = effective_sample_size(jnp.array(weights) + 1e4)
    np.testing.assert_allclose(shifted, expected, rtol=1e-2)  # float32 near 1e4
    cases = jnp.array([[-inf] * 3, [-1e30, -inf, -inf], [7.0, 7.0, 7.0]])
    assert effective_sample_size(cases).tolist() == [0, 1, 3]
    assert np.isnan(effective_sample_size(jnp.array([0.0, np.nan])))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bad_input(scheme):
    no_key: Any = 0
    with pytest.raises(ValueError, match=r"log_weights has shape \(2, 3\); expected \[M\], one"):
        SCHEMES[scheme](KEY, jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"log_weights has shape \(0,\); expected \[M\]"):
        SCHEMES[scheme](KEY, jnp.zeros(0))
    with pytest.raises(ValueError, match=r"key has shape \(2,\); expected one key"):
        SCHEMES[scheme](jax.random.split(KEY), jnp.zeros(3))
    with pytest.raises(ValueError, match="key is 0; expected a typed key"):
        SCHEMES[scheme](no_key, jnp.zeros(3))
