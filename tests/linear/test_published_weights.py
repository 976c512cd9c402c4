"""Weights in the form in which papers and their code keep them load as the docstrings say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

D, H, N, TIME = 3, 4, 5, 7


@pytest.fixture
def draw(x64):
    random = np.random.default_rng(0)
    return lambda *shape: random.normal(size=shape)


def split(B, C):
    """w_b and w_c of complex B [N, D] and C [H, N], as the docstrings of S5 and LRU have it."""
    return {
        "w_b": jnp.concatenate([B.T.real, B.T.imag], axis=1),
        "w_c": jnp.concatenate([C.T.real, -C.T.imag], axis=0),
    }


def recur(a, inputs):
    """hₜ = a hₜ₋₁ + bₜ over inputs [T, N], in complex numbers."""
    h, hs = np.zeros_like(inputs[0]), []
    for b in inputs:
        h = a * h + b
        hs.append(h)
    return np.stack(hs)


def outputs(cell, params, xs):
    return sj.unroll(cell, params, jnp.asarray(xs)[None])[1][0]


def test_s5(draw):
    rate = -np.exp(draw(N)) + 1j * draw(N)
    B, C = draw(N, D) + 1j * draw(N, D), draw(H, N) + 1j * draw(H, N)
    step, w_d, xs = np.exp(draw(N) - 2), draw(D, H), draw(TIME, D)
    cell = sj.linear.S5(H, state_size=N)
    params = cell.init(jax.random.key(0), D)._replace(
        log_decay=jnp.log(-rate.real),
        phase=jnp.asarray(rate.imag),
        log_step=jnp.log(step),
        w_d=jnp.asarray(w_d),
        **split(B, C),
    )
    a = np.exp(rate * step)  # zero-order hold, eq. 6
    hs = recur(a, xs @ ((a - 1) / rate * B.T))
    expected = 2 * (hs @ C.T).real + xs @ w_d
    np.testing.assert_allclose(outputs(cell, params, xs), expected, rtol=1e-9, atol=1e-9)
    read_wrongly = params._replace(w_c=params.w_c.at[N:].multiply(-1))  # w_c[N:] = Im C
    assert np.max(np.abs(outputs(cell, read_wrongly, xs) - expected)) > 0.1


def test_lru(draw):
    nu, theta, log_gamma = draw(N), draw(N), draw(N)
    B, C = draw(N, D) + 1j * draw(N, D), draw(H, N) + 1j * draw(H, N)
    w_d, xs = draw(D, H), draw(TIME, D)
    cell = sj.linear.LRU(H, state_size=N)
    params = cell.init(jax.random.key(0), D)._replace(
        log_decay=jnp.asarray(nu),
        log_phase=jnp.asarray(theta),
        log_scale=jnp.asarray(log_gamma),
        w_d=jnp.asarray(w_d),
        **split(B, C),
    )
    hs = recur(np.exp(-np.exp(nu) + 1j * np.exp(theta)), np.exp(log_gamma) * (xs @ B.T))
    expected = (hs @ C.T).real + xs @ w_d
    np.testing.assert_allclose(outputs(cell, params, xs), expected, rtol=1e-9, atol=1e-9)
    read_wrongly = params._replace(w_c=params.w_c.at[N:].multiply(-1))
    assert np.max(np.abs(outputs(cell, read_wrongly, xs) - expected)) > 0.1


def test_rg_lru(draw):
    """The authors' code computes ln a = -8 r softplus(a_param), and so keeps -Λ."""
    a_param, w_x, b, xs = draw(H), draw(H, 2 * H), draw(2 * H), draw(TIME, H)
    cell = sj.linear.RGLRU()
    params = cell.init(jax.random.key(0), H)._replace(
        log_odds=jnp.asarray(-a_param), w_x=jnp.asarray(w_x), b=jnp.asarray(b)
    )
    r, i = np.split(1 / (1 + np.exp(-(xs @ w_x + b))), 2, axis=-1)
    a, h, expected = np.exp(-8 * r * np.log1p(np.exp(a_param))), np.zeros(H), []
    for t in range(TIME):
        h = a[t] * h + np.sqrt(1 - a[t] ** 2) * i[t] * xs[t]
        expected.append(h)
    np.testing.assert_allclose(outputs(cell, params, xs), expected, rtol=1e-9, atol=1e-9)


def test_delta_net(draw):
    """Sₜ = Sₜ₋₁ (I - β k kᵀ) + β v kᵀ, V by K, as the papers write it; the carry is Sᵀ."""
    cell = sj.linear.DeltaNet(H, key_size=2)
    params = jax.tree.map(lambda a: jnp.asarray(draw(*a.shape)), cell.init(jax.random.key(0), D))
    xs = draw(TIME, D)
    keys = xs @ np.asarray(params.w_k)[:, 0]
    keys = keys / np.sqrt(np.sum(keys**2, axis=-1, keepdims=True) + 1e-6)
    values = xs @ np.asarray(params.w_v)[:, 0]
    beta = 1 / (1 + np.exp(-(xs @ np.asarray(params.w_beta) + np.asarray(params.b_beta))))
    S = np.zeros((H, 2))
    for k, v, strength in zip(keys, values, beta[:, 0], strict=True):
        S = S @ (np.eye(2) - strength * np.outer(k, k)) + strength * np.outer(v, k)
    carry, _ = sj.unroll(cell, params, jnp.asarray(xs)[None])
    np.testing.assert_allclose(carry.s[0, 0], S.T, rtol=1e-6, atol=1e-6)
