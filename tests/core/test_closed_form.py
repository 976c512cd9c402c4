"""The recurrence of a gradient, a_t = b_t + C_t a_(t-1), solved: products run from late to early.

    a_T = sum_i C_T C_(T-1) ... C_(i+1) b_i  +  C_T ... C_1 a_0

Here a_t = dh_t/dw, b_t is what w does to step t directly and C_t = dh_t/dh_(t-1).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

LENGTH, SIZE = 30, 5
CELL = sj.Elman(SIZE, use_bias=False)
RANDOM = np.random.default_rng(0)
XS = 0.1 * RANDOM.normal(size=(1, LENGTH, SIZE))
W_X, H0 = RANDOM.normal(size=(SIZE, SIZE)), RANDOM.normal(size=SIZE)
W_H = 1.1 * np.linalg.qr(RANDOM.normal(size=(SIZE, SIZE)))[0]  # 30 steps leave something


def params_of(w_h):
    return sj.cells.ElmanParams(jnp.asarray(W_X), w_h, None)


def final(w_h, start, **how):
    """h_T when the state begins as start(w_h)."""
    return sj.unroll(CELL, params_of(w_h), jnp.asarray(XS), carry=start(w_h)[None], **how)[0][0]


def gradient(start, **how):
    """dh_T/dw [H, H * H] by reverse mode."""
    found = jax.jit(jax.jacrev(lambda w: final(w, start, **how)))(jnp.asarray(W_H))
    return np.asarray(found).reshape(SIZE, -1)


def steps():
    """b_t [H, H * H] and C_t [H, H] of every step."""
    h, direct, through = jnp.asarray(H0), [], []
    one = lambda w_h, h, x: CELL.step(params_of(w_h), h[None], x[None])[0][0]
    both = jax.jit(lambda *at: (one(*at), jax.jacrev(one, (0, 1))(*at)))
    for t in range(LENGTH):
        h, (b, c) = both(jnp.asarray(W_H), h, jnp.asarray(XS[0, t]))
        direct.append(np.asarray(b).reshape(SIZE, -1))
        through.append(np.asarray(c))
    return direct, through


def product(matrices):
    return functools.reduce(np.matmul, matrices, np.eye(SIZE))


def closed_form(direct, through, a_0, late_to_early=True):
    order = (lambda c: c[::-1]) if late_to_early else (lambda c: c)
    parts = [product(order(through[i + 1 :])) @ b for i, b in enumerate(direct)]
    return sum(parts) + product(order(through)) @ a_0


def test_closed_form_is_the_gradient_and_the_other_order_is_not(x64):
    expected = gradient(lambda _: jnp.asarray(H0))
    direct, through = steps()
    nothing = np.zeros_like(expected)  # a state that does not depend on w
    np.testing.assert_allclose(closed_form(direct, through, nothing), expected, rtol=1e-9)
    wrong = closed_form(direct, through, nothing, late_to_early=False)
    assert np.abs(wrong - expected).max() > 0.01


def test_closed_form_needs_its_first_term_where_the_start_depends_on_the_weights(x64):
    start = lambda w_h: H0 + jnp.sin(w_h - W_H).sum(0)  # H0 at W_H, with a slope
    expected = gradient(start)
    a_0 = np.asarray(jax.jacobian(start)(jnp.asarray(W_H))).reshape(SIZE, -1)
    direct, through = steps()
    np.testing.assert_allclose(closed_form(direct, through, a_0), expected, rtol=1e-9)
    assert np.abs(closed_form(direct, through, 0 * a_0) - expected).max() > 0.01


def test_sum_scan_forward_accumulation_and_reverse_mode_agree(x64):
    """Four ways to solve one recurrence; the second is parallel, the third is exact RTRL."""
    expected = gradient(lambda _: jnp.asarray(H0))
    direct, through = steps()
    close = lambda got: np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)
    close(closed_form(direct, through, np.zeros_like(expected)))

    def after(early, late):
        return late[0] @ early[0], late[0] @ early[1] + late[1]

    pairs = jnp.stack(through), jnp.stack(direct)
    close(jax.jit(lambda pairs: jax.lax.associative_scan(after, pairs))(pairs)[1][-1])

    def loss_fn(w_h, h, xs, key):
        h, _ = CELL.step(params_of(w_h), h, xs[:, 0])
        return jnp.sum(h), h

    start = sj.gradients.init_rtrl_state(jnp.asarray(W_H), jnp.asarray(H0)[None])
    run = jax.jit(sj.gradients.rtrl(loss_fn))
    (_, carried), total = run(jnp.asarray(W_H), start, jnp.asarray(XS))
    close(carried.influence)
    so_far = [closed_form(direct[:t], through[:t], 0 * expected) for t in range(1, LENGTH + 1)]
    np.testing.assert_allclose(total.reshape(-1), np.sum(so_far, axis=(0, 1)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("window", [5, 10, 2 * LENGTH])
def test_truncation_is_the_sum_restricted_to_short_lags(window, x64):
    direct, through = steps()
    found = gradient(lambda _: jnp.asarray(H0), truncate=window)
    near = closed_form(direct[-window:], through[-window:], 0.0 * found)
    np.testing.assert_allclose(found, near, rtol=1e-10, atol=1e-10)
    if window < LENGTH:
        full = closed_form(direct, through, 0.0 * found)
        assert np.abs(found - full).max() > 0.01


@pytest.mark.parametrize("late_to_early", [True, False])
def test_numbers_cannot_tell_the_orders_apart(late_to_early, x64):
    """One unit: products commute, so that a test on it proves nothing about the order."""
    through = [np.diag(RANDOM.normal(size=SIZE)) for _ in range(LENGTH)]
    direct = [RANDOM.normal(size=(SIZE, 1)) for _ in range(LENGTH)]
    pairs = jnp.stack([np.diag(c) for c in through])[None], jnp.stack(direct)[None, ..., 0]
    step = lambda a, cb: (cb[0] * a + cb[1],) * 2
    a, _ = sj.scan(step, jnp.zeros((1, SIZE)), pairs)
    got = closed_form(direct, through, np.zeros((SIZE, 1)), late_to_early)
    np.testing.assert_allclose(a[0], got[:, 0], rtol=1e-12)
