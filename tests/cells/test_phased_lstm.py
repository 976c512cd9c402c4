"""The Phased LSTM against its equations; its clock piece by piece; stamps that are hard to hold."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

CELL = sj.cells.PhasedLSTM(3, period_range=(0.5, 4.0), open_ratio=0.4, leak=0.02)
UNIT = replace(CELL, hidden_size=1)  # for the params of `clock`
TIMES = np.array([[-3.0, -0.2, 0.0, 0.9, 1.0, 4.7, 30.1], [0.3, 0.5, 2.0, 2.0, 1.0, 9.9, 10.0]])
XS = np.random.default_rng(1).normal(size=(*TIMES.shape, 2))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def drawn(cell, seed=0):
    """Params with every number different from its default, in NumPy."""
    random = np.random.default_rng(seed)
    params = cell.init(jax.random.key(0), 2)
    return jax.tree.map(lambda a: np.asarray(a) + random.normal(size=a.shape) * 0.5, params)


def clock(period, shift=0.0, ratio=0.5, dtype=None):
    """Params of one unit that has this clock, and weights of 1."""
    ones = jax.tree.map(jnp.ones_like, sj.cells.PhasedLSTM(1).init(jax.random.key(0), 2))
    logit = math.inf if ratio == 1 else math.log(ratio / (1 - ratio))
    numbers = {"log_period": math.log(period), "shift": shift, "ratio_logit": logit}
    return ones._replace(**{name: jnp.full(1, a, dtype) for name, a in numbers.items()})


def numpy_gate(p, t, leak):
    """Equation 6, unit by unit."""
    gate = np.zeros(p.shift.shape)
    for j in range(gate.size):
        period, ratio = np.exp(p.log_period[j]), sigmoid(p.ratio_logit[j])
        phase = ((t - p.shift[j]) % period) / period
        if phase < ratio / 2:
            gate[j] = 2 * phase / ratio
        elif phase < ratio:
            gate[j] = 2 - 2 * phase / ratio
        else:
            gate[j] = leak * phase
    return gate


@pytest.mark.parametrize("peepholes", [False, True])
def test_equals_a_numpy_loop(peepholes, x64):
    cell = replace(CELL, peepholes=peepholes)
    p = drawn(cell)
    peep_i, peep_f, peep_o = (p.p_i, p.p_f, p.p_o) if peepholes else (0, 0, 0)
    timed = sj.cells.Timed(jnp.asarray(XS), jnp.asarray(TIMES))
    carry, ys = sj.unroll(cell, jax.tree.map(jnp.asarray, p), timed)
    gates = []
    for row in range(2):
        h, c = np.zeros(3), np.zeros(3)
        for t in range(TIMES.shape[1]):
            i, f, g, o = np.split(XS[row, t] @ p.w_x + h @ p.w_h + p.b, 4)
            new_c = sigmoid(f + peep_f * c) * c + sigmoid(i + peep_i * c) * np.tanh(g)
            new_h = sigmoid(o + peep_o * new_c) * np.tanh(new_c)
            k = numpy_gate(p, TIMES[row, t], cell.leak)
            c, h = k * new_c + (1 - k) * c, k * new_h + (1 - k) * h
            np.testing.assert_allclose(ys[row, t], h, rtol=1e-11, atol=1e-13)
            gates.append(k)
        np.testing.assert_allclose(carry.c[row], c, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(carry.h[row], h, rtol=1e-11, atol=1e-13)
    closed = np.array(gates) < cell.leak
    assert 0.2 < closed.mean() < 0.8  # both are seen


@pytest.mark.parametrize(
    ("phase", "gate"),
    [(0, 0), (0.05, 0.25), (0.2, 1), (0.3, 0.5), (0.375, 0.125), (0.4, 0.004), (0.9, 0.009)],
)
def test_the_gate_opens_linearly_and_closes_linearly_and_leaks(phase, gate, x64):
    """Of a period of 8 that begins at 3; also two periods later, and two earlier."""
    cell, params = sj.cells.PhasedLSTM(1, leak=0.01), clock(8.0, 3.0, 0.4, jnp.float64)
    for period in (-2, 0, 2):
        times = jnp.array([3.0 + 8 * (period + phase) + 1e-12])
        np.testing.assert_allclose(cell.time_gate(params, times), [[gate]], atol=1e-11)


def test_a_closed_unit_without_leak_holds_its_state_bit_for_bit():
    cell = replace(UNIT, leak=0.0)
    params = clock(10.0, ratio=0.25)
    carry = sj.LSTMCarry(jnp.array([[0.3], [0.3]]), jnp.array([[-1.7], [-1.7]]))
    times = jnp.array([[2.5, 4.0, 9.99], [2.5, 4.0, 10.1]])
    after, ys = sj.unroll(cell, params, sj.cells.Timed(jnp.ones((2, 3, 2)), times), carry=carry)
    assert (ys[0] == 0.3).all() and after.c[0, 0] == carry.c[0, 0]
    assert (ys[1, :2] == 0.3).all() and abs(float(ys[1, 2, 0]) - 0.3) > 0.01


def test_an_open_gate_is_a_plain_lstm():
    """At the middle of the open phase k is 1."""
    params = clock(8.0, ratio=0.5)
    xs = jnp.asarray(XS, jnp.float32)
    plain = sj.cells.LSTMParams(params.w_x, params.w_h, params.b)
    timed = sj.cells.Timed(xs, jnp.full(xs.shape[:2], 2.0))
    got, expected = sj.unroll(UNIT, params, timed), sj.unroll(sj.LSTM(1), plain, xs)
    assert float(UNIT.time_gate(params, timed.times).min()) > 1 - 1e-6
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_leak_is_a_setting_of_the_spec_and_lets_gradients_through():
    """For training and for use: two specs, the same params."""
    params = clock(10.0, ratio=0.25)
    timed = sj.cells.Timed(jnp.ones((1, 4, 2)), jnp.full((1, 4), 5.0))  # closed throughout

    def slope(cell):
        loss = lambda params: jnp.sum(sj.unroll(cell, params, timed)[1])
        return float(jnp.abs(jax.grad(loss)(params).w_x).max())

    assert slope(UNIT) > 0 and slope(replace(UNIT, leak=0.0)) == 0


def test_gradients_are_those_of_the_formula_between_its_jumps(x64):
    """For log period, shift and time; the floor is constant, so the first grows with time."""
    cell, params = sj.cells.PhasedLSTM(1, leak=0.1), clock(2.0, 0.5, 0.4, jnp.float64)

    def gate(log_period, shift, logit, time):
        moved = params._replace(log_period=log_period, shift=shift, ratio_logit=logit)
        return cell.time_gate(moved, time)[0, 0]

    # (cycles and phase, slope of k by phase, of k by logit)
    logit_slope = 0.4 * 0.6  # dr / dlogit
    for cycles, by_phase, by_ratio in [
        (0.1, 5.0, -2 * 0.1 / 0.16),
        (-4.9, 5.0, -2 * 0.1 / 0.16),
        (300.3, -5.0, 2 * 0.3 / 0.16),
        (7.9, 0.1, 0.0),
    ]:
        point = [params.log_period, params.shift, params.ratio_logit, jnp.array([0.5 + 2 * cycles])]
        got = [float(g[0]) for g in jax.grad(gate, (0, 1, 2, 3))(*point)]
        exact = [-cycles * by_phase, -by_phase / 2, by_ratio * logit_slope, by_phase / 2]
        np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-12)
        for place, slope in enumerate(got):
            shifted = [[a + (i == place) * d for i, a in enumerate(point)] for d in (1e-6, -1e-6)]
            numeric = float(gate(*shifted[0]) - gate(*shifted[1])) / 2e-6
            np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-8)


def test_init_draws_clocks_as_the_paper_does():
    cell = sj.cells.PhasedLSTM(
        2000, period_range=(2.0, 50.0), open_ratio=0.05, w_h_init=sj.initializers.Normal()
    )
    params = jax.jit(cell.init, static_argnums=1)(jax.random.key(0), 1)
    where = (np.asarray(params.log_period) - math.log(2)) / math.log(25)
    assert where.min() > -1e-6 and where.max() < 1 + 1e-6
    np.testing.assert_allclose(np.quantile(where, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.04)
    begins = params.shift / np.exp(params.log_period)
    assert begins.min() >= 0 and begins.max() <= 1
    np.testing.assert_allclose(np.quantile(begins, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.04)
    assert abs(np.corrcoef(begins, where)[0, 1]) < 0.07
    np.testing.assert_allclose(jax.nn.sigmoid(params.ratio_logit), 0.05, rtol=1e-5)
    np.testing.assert_array_equal(params.b, np.repeat([0.0, 1.0, 0.0, 0.0], 2000))
    assert params.p_i is params.p_f is params.p_o is None


@pytest.mark.parametrize("ratio", [1e-5, 0.05, 1.0])
def test_any_open_ratio_can_be_asked_for(ratio):
    params = sj.cells.PhasedLSTM(2, open_ratio=ratio).init(jax.random.key(0), 1)
    np.testing.assert_allclose(jax.nn.sigmoid(params.ratio_logit), ratio, rtol=1e-4)
    assert np.isfinite(params.ratio_logit).all()


@pytest.mark.parametrize("logit", [-100.0, -20.0, 20.0, 100.0])
def test_params_driven_far_keep_gate_and_gradients_finite(logit):
    params = clock(3.0)._replace(ratio_logit=jnp.array([logit]))
    times = jnp.linspace(-5.0, 50.0, 40)
    gates, back = jax.vjp(CELL.time_gate, params, times)
    assert np.isfinite(gates).all() and (gates >= 0).all() and (gates <= 1).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(back(jnp.ones_like(gates))))
    share = float(CELL.open_share(params, times[None])[0])
    assert share == (1 if logit > 0 else 0)


def test_a_year_of_stamps_needs_relative_times():
    """Tenths of seconds of Unix time: in float32 all of a minute are one stamp."""
    stamps = 1.7e9 + np.arange(0.0, 6.0, 0.1)[None]
    params = clock(2.0)
    gate = lambda times: np.asarray(CELL.time_gate(params, jnp.asarray(times, jnp.float32)))
    exact = np.array([numpy_gate(params, t - 1.7e9, CELL.leak) for t in stamps[0]])[None]
    np.testing.assert_allclose(gate(sj.data.relative_times(stamps)), exact, atol=2e-5)
    assert np.ptp(gate(stamps)) == 0


def test_float64_times_are_kept_beside_float32_params(x64):
    """The phase is computed in the dtype of time; what goes on is the params'."""
    params = clock(2.0, dtype=jnp.float32)
    params = jax.tree.map(lambda a: a.astype(jnp.float32), params)
    stamps = 1.7e9 + np.arange(0.0, 6.0, 0.1)[None] + 0.03
    gates = UNIT.time_gate(params, jnp.asarray(stamps))
    period = np.exp(np.float64(params.log_period[0]))
    phase = (stamps / period) % 1
    assert gates.dtype == jnp.float64
    np.testing.assert_allclose(UNIT.open_share(params, jnp.asarray(stamps)), (phase < 0.5).mean())
    carry, ys = sj.unroll(UNIT, params, sj.cells.Timed(jnp.ones((1, 60, 2)), jnp.asarray(stamps)))
    assert {ys.dtype, carry.h.dtype, carry.c.dtype} == {jnp.dtype(jnp.float32)}


def test_only_the_ratio_of_times_and_periods_counts(x64):
    """Seconds or milliseconds: outputs are the same where periods and shifts are scaled too."""
    params = jax.tree.map(jnp.asarray, drawn(CELL))
    scaled = params._replace(
        log_period=params.log_period + math.log(1000), shift=1000 * params.shift
    )
    timed = lambda scale: sj.cells.Timed(jnp.asarray(XS), scale * jnp.asarray(TIMES))
    seconds, milli = sj.unroll(CELL, params, timed(1))[1], sj.unroll(CELL, scaled, timed(1000))[1]
    np.testing.assert_allclose(seconds, milli, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_stamp_that_is_no_number_makes_its_row_nan_from_there_on(bad):
    params = CELL.init(jax.random.key(0), 2)
    xs, times = jnp.asarray(XS, jnp.float32), jnp.asarray(TIMES, jnp.float32)
    good = sj.unroll(CELL, params, sj.cells.Timed(xs, times))[1]
    ys = sj.unroll(CELL, params, sj.cells.Timed(xs, times.at[0, 3].set(bad)))[1]
    np.testing.assert_array_equal(ys[1], good[1])
    np.testing.assert_array_equal(ys[0, :3], good[0, :3])
    assert np.isnan(ys[0, 3:]).all()


def test_stamps_that_go_backwards_only_turn_the_clock_back():
    """The gate knows no past: a stamp gives the same k wherever it stands."""
    params = CELL.init(jax.random.key(0), 2)
    times = jnp.asarray(TIMES, jnp.float32)
    order = np.random.default_rng(2).permutation(times.shape[1])
    gates = np.asarray(CELL.time_gate(params, times))
    np.testing.assert_array_equal(CELL.time_gate(params, times[:, order]), gates[:, order])
    ys = sj.unroll(CELL, params, sj.cells.Timed(jnp.asarray(XS, jnp.float32), times[:, order]))[1]
    assert np.isfinite(ys).all()


def test_inputs_with_times_take_every_way_of_running():
    """What `Timed` brings, a tree of inputs; each against the rows alone, backward."""
    params, lengths = CELL.init(jax.random.key(0), 2), [5, 3]
    timed = sj.cells.Timed(jnp.asarray(XS, jnp.float32), jnp.asarray(TIMES, jnp.float32))
    how = {"reverse": True, "remat": 2, "truncate": 3, "lengths": jnp.array(lengths)}
    carry, ys = sj.unroll(CELL, params, timed, **how)
    for row, length in enumerate(lengths):
        backward = jax.tree.map(lambda a: a[row : row + 1, :length][:, ::-1], timed)  # noqa: B023
        last, outputs = sj.unroll(CELL, params, backward)
        np.testing.assert_allclose(ys[row, :length], outputs[0, ::-1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(carry.c[row], last.c[0], rtol=1e-5, atol=1e-6)
    assert sj.unroll(CELL, params, jax.tree.map(lambda a: a[:, :0], timed))[1].shape == (2, 0, 3)


def test_open_share_counts_real_steps():
    params = jax.tree.map(lambda *a: jnp.concatenate(a), clock(10.0, ratio=0.5), clock(4.0, 1.0))
    times = jnp.array([[0.0, 1, 2, 3], [4, 5, 6, 7]])
    # Open in 0..5 of 10, and in 1..3 of 4.
    np.testing.assert_array_equal(CELL.open_share(params, times), [5 / 8, 4 / 8])
    mask = jnp.array([[True, True, False, False], [True, True, True, False]])
    np.testing.assert_allclose(CELL.open_share(params, times, mask), [3 / 5, 3 / 5], rtol=1e-6)
    assert (CELL.open_share(params, times, jnp.zeros_like(mask)) == 0).all()


def test_units_of_a_fresh_cell_are_open_a_twentieth_of_the_time():
    cell = sj.cells.PhasedLSTM(200, period_range=(1.0, 20.0))
    times = jax.random.uniform(jax.random.key(1), (20, 100), maxval=100.0)
    share = cell.open_share(cell.init(jax.random.key(0), 1), times)
    np.testing.assert_allclose(share.mean(), 0.05, rtol=0.05)


def test_it_is_the_first_of_a_stack_and_a_second_one_gets_the_times_again():
    first, second = (
        sj.cells.PhasedLSTM(3, period_range=(0.5, 4.0)),
        sj.cells.PhasedLSTM(2, period_range=(0.5, 4.0)),
    )
    stack = sj.Stack((first, sj.LSTM(2)))
    timed = sj.cells.Timed(jnp.asarray(XS, jnp.float32), jnp.asarray(TIMES, jnp.float32))
    weights = stack.init(jax.random.key(0), 2)
    assert sj.unroll(stack, weights, timed)[1].shape == (2, 7, 2)
    _, ys = sj.unroll(first, weights[0], timed)
    again = sj.cells.Timed(ys, timed.times)
    assert sj.unroll(second, second.init(jax.random.key(1), 3), again)[1].shape == (2, 7, 2)
