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

LENGTH, SIZE = 5, 3
CELL = sj.Elman(SIZE)
RANDOM = np.random.default_rng(0)
XS = RANDOM.normal(size=(1, LENGTH, SIZE))
W_X, W_H, H0 = (RANDOM.normal(size=shape) for shape in ((SIZE, SIZE), (SIZE, SIZE), SIZE))


def params_of(w_h):
    return sj.ElmanParams(jnp.asarray(W_X), w_h, None)


def final(w_h, start):
    """h_T when the state begins as start(w_h)."""
    return sj.unroll(CELL, params_of(w_h), jnp.asarray(XS), carry=start(w_h)[None])[0][0]


def steps():
    """b_t [H, H * H] and C_t [H, H] of every step."""
    h, direct, through = jnp.asarray(H0), [], []
    one = lambda w_h, h, x: CELL.step(params_of(w_h), h[None], x[None])[0][0]
    for t in range(LENGTH):
        at = (jnp.asarray(W_H), h, jnp.asarray(XS[0, t]))
        direct.append(np.asarray(jax.jacobian(one, 0)(*at)).reshape(SIZE, -1))
        through.append(np.asarray(jax.jacobian(one, 1)(*at)))
        h = one(*at)
    return direct, through


def product(matrices):
    return functools.reduce(np.matmul, matrices, np.eye(SIZE))


def closed_form(direct, through, a_0, late_to_early=True):
    order = (lambda c: c[::-1]) if late_to_early else (lambda c: c)
    parts = [product(order(through[i + 1 :])) @ b for i, b in enumerate(direct)]
    return sum(parts) + product(order(through)) @ a_0


def test_closed_form_is_the_gradient_and_the_other_order_is_not(x64):
    expected = jax.jacobian(lambda w: final(w, lambda _: jnp.asarray(H0)))(jnp.asarray(W_H))
    expected = np.asarray(expected).reshape(SIZE, -1)
    direct, through = steps()
    nothing = np.zeros_like(expected)  # a state that does not depend on w
    np.testing.assert_allclose(closed_form(direct, through, nothing), expected, rtol=1e-9)
    wrong = closed_form(direct, through, nothing, late_to_early=False)
    assert np.abs(wrong - expected).max() > 0.01


def test_closed_form_needs_its_first_term_where_the_start_depends_on_the_weights(x64):
    start = lambda w_h: H0 + jnp.sin(w_h - W_H).sum(0)  # H0 at W_H, with a slope
    expected = np.asarray(jax.jacobian(lambda w: final(w, start))(jnp.asarray(W_H)))
    expected = expected.reshape(SIZE, -1)
    a_0 = np.asarray(jax.jacobian(start)(jnp.asarray(W_H))).reshape(SIZE, -1)
    direct, through = steps()
    np.testing.assert_allclose(closed_form(direct, through, a_0), expected, rtol=1e-9)
    assert np.abs(closed_form(direct, through, 0 * a_0) - expected).max() > 0.01


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
