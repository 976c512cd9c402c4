"""The Clockwork RNN: when its modules update, who feeds whom, and its equations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

CELL = sj.cells.ClockworkRNN(6, periods=(1, 3, 4))
LENGTH = 13


def draw(dtype=None):
    """Params, none of them zero, and inputs [2, T, 2]."""
    random = np.random.default_rng(0)
    params = CELL.init(jax.random.key(0), 2)
    params = jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape), dtype), params)
    return params, jnp.asarray(random.normal(size=(2, LENGTH, 2)), dtype)


def changes(ys):
    """[B, T, H]: which units differ from the step before, the first from 0."""
    before = np.pad(np.asarray(ys)[:, :-1], ((0, 0), (1, 0), (0, 0)))
    return np.asarray(ys) != before


def test_equals_a_numpy_loop(x64):
    params, xs = draw()
    w_x, w_h, b = map(np.asarray, params)
    period = np.repeat([1, 3, 4], 2)
    carry, ys = sj.unroll(CELL, params, xs)
    for row in range(2):
        h = np.zeros(6)
        for t in range(LENGTH):
            new = h.copy()
            for unit in range(6):
                if t % period[unit] == 0:
                    heard = [j for j in range(6) if period[j] >= period[unit]]
                    past = sum(h[j] * w_h[j, unit] for j in heard)
                    new[unit] = np.tanh(xs[row, t] @ w_x[:, unit] + past + b[unit])
            h = new
            np.testing.assert_allclose(ys[row, t], h, rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(carry.step, [LENGTH, LENGTH])


def test_each_module_updates_once_a_period_beginning_with_the_first_step():
    ys = sj.unroll(CELL, *draw())[1]
    for module, period in enumerate(CELL.periods):
        updated = changes(ys)[:, :, 2 * module : 2 * module + 2]
        due = np.arange(LENGTH) % period == 0
        np.testing.assert_array_equal(updated, np.broadcast_to(due[:, None], updated.shape))
        assert due.sum() == [13, 5, 4][module]


def test_a_reset_restarts_the_clock_of_its_row_and_padding_stops_it():
    params, xs = draw()
    reset = jnp.zeros((2, LENGTH), bool).at[0, 5].set(True)
    mask = jnp.ones((2, LENGTH), bool).at[1, jnp.array([1, 2, 7])].set(False)
    carry, ys = sj.unroll(CELL, params, xs, reset=reset, mask=mask)
    np.testing.assert_array_equal(carry.step, [LENGTH - 5, LENGTH - 3])
    anew = sj.unroll(CELL, params, xs[:1, 5:])[1]
    np.testing.assert_allclose(ys[0, 5:], anew[0], rtol=1e-5, atol=1e-6)
    real = np.flatnonzero(mask[1])
    without = sj.unroll(CELL, params, xs[1:, real])[1]
    np.testing.assert_allclose(ys[1, real], without[0], rtol=1e-5, atol=1e-6)


def test_gradients_flow_from_slow_modules_to_fast_ones_alone(x64):
    """At step 12 all modules are due; at step 2 only the fastest."""
    params, xs = draw()

    def step(h, count):
        carry = sj.cells.ClockworkCarry(h, jnp.array([count], jnp.int32))
        return CELL.step(params, carry, xs[:1, 0])[1][0]

    module = np.repeat([0, 1, 2], 2)
    feeds = module[:, None] <= module  # [to, from]
    h = jnp.full((1, 6), 0.3)
    all_due = np.asarray(jax.jacobian(step)(h, 12)[:, 0])
    np.testing.assert_array_equal(all_due != 0, feeds)
    fast_due = np.asarray(jax.jacobian(step)(h, 2)[:, 0])
    expected = np.where(module[:, None] == 0, feeds, np.eye(6, dtype=bool))
    np.testing.assert_array_equal(fast_due != 0, expected)
    np.testing.assert_array_equal(fast_due[2:, 2:], np.eye(4))  # held, so passed on whole
    loss = lambda params: jnp.sum(sj.unroll(CELL, params, xs)[1])
    np.testing.assert_array_equal(np.asarray(jax.grad(loss)(params).w_h) != 0, feeds.T)


def test_init_leaves_out_what_is_never_read():
    w_h = CELL.init(jax.random.key(0), 2).w_h
    module = np.repeat([0, 1, 2], 2)
    np.testing.assert_array_equal(np.asarray(w_h) != 0, module[:, None] >= module)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_one_module_of_period_1_is_an_elman_net(activation):
    cell, plain = (
        sj.cells.ClockworkRNN(4, periods=(1,), activation=activation),
        sj.Elman(4, activation=activation),
    )
    params: Any = plain.init(jax.random.key(0), 2)._replace(b=jnp.arange(4.0) / 10)
    xs = draw(jnp.float32)[1]
    got = sj.unroll(cell, sj.cells.ClockworkParams(*params), xs)[1]
    np.testing.assert_allclose(got, sj.unroll(plain, params, xs)[1], rtol=1e-5, atol=1e-6)


def test_slow_modules_remember_over_long_gaps():
    """A unit of period 100 holds its state bit for bit until it is due again."""
    cell = sj.cells.ClockworkRNN(2, periods=(1, 100))
    params = cell.init(jax.random.key(0), 1)
    ys = sj.unroll(cell, params, jax.random.normal(jax.random.key(1), (1, 100, 1)))[1]
    assert (ys[0, :, 1] == ys[0, 0, 1]).all() and ys[0, 0, 1] != 0
