"""Cells with a linear recurrence against their equations, written out in NumPy."""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.linear.rg_lru import root_of_rest
from seqjax.linear.s5 import held_input, hippo_phases

XS = np.random.default_rng(1).normal(size=(7, 2))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softplus(a):
    return np.log1p(np.exp(a))


def silu(a):
    return a * sigmoid(a)


def drawn(cell, input_size=2, scale=0.5) -> Any:
    """Params a little off their initial values, in NumPy."""
    random = np.random.default_rng(0)
    params = cell.init(jax.random.key(0), input_size)
    return jax.tree.map(lambda a: np.asarray(a) + scale * random.normal(size=a.shape), params)


def run(cell, params, carry, xs=XS):
    """(carry, ys) of one row."""
    row = lambda tree: jax.tree.map(lambda a: jnp.asarray(a)[None], tree)
    given = jax.tree.map(jnp.asarray, params)
    out = sj.unroll(cell, given, row(xs), carry=row(carry))
    return jax.tree.map(lambda a: np.asarray(a[0]), out)


def compare(cell, p, carry, step, xs=XS, rtol=1e-11):
    """Holds `unroll` from a carry to a NumPy step (carry, x) -> (carry, y)."""
    got, ys = run(cell, p, carry, xs)
    expected = []
    for x in xs:
        carry, y = step(carry, x)
        expected.append(y)
    np.testing.assert_allclose(ys, expected, rtol=rtol, atol=1e-13)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(carry), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-13)


H = np.array([0.3, -0.2, 1.1])
POSITIVE = lambda n: np.where(n >= 0, n + 0.5, sigmoid(n))


@pytest.mark.parametrize("candidate", ["linear", "positive"])
def test_min_gru(candidate, x64):
    cell = sj.linear.MinGRU(3, candidate=candidate)
    p = drawn(cell)

    def step(h, x):
        z, n = np.split(x @ p.w_x + p.b, 2)
        h = (1 - sigmoid(z)) * h + sigmoid(z) * (POSITIVE(n) if candidate == "positive" else n)
        return h, h

    compare(cell, p, H, step)


@pytest.mark.parametrize("candidate", ["linear", "positive"])
def test_min_lstm(candidate, x64):
    cell = sj.linear.MinLSTM(3, candidate=candidate, forget_bias=1.0)
    p = drawn(cell)

    def step(h, x):
        i, f, g = np.split(x @ p.w_x + p.b, 3)
        i, f = sigmoid(i), sigmoid(f)
        h = (f * h + i * (POSITIVE(g) if candidate == "positive" else g)) / (f + i)
        return h, h

    compare(cell, p, H, step)


def test_min_lstm_shares_gates_that_both_underflow(x64):
    """σ(-800) = σ(-801) = 0, and yet e / (1 + e) of what is kept and written is forgotten."""
    cell = sj.linear.MinLSTM(1)
    p = sj.linear.MinLSTMParams(jnp.zeros((2, 3)), jnp.array([-800.0, -801.0, 2.0]))
    carry, _ = cell.step(p, jnp.ones((1, 1)), jnp.ones((1, 2)))
    share = sigmoid(-1.0)
    np.testing.assert_allclose(carry, [[share + 2 * (1 - share)]], rtol=1e-12)
    grads = jax.grad(lambda p: cell.step(p, jnp.ones((1, 1)), jnp.ones((1, 2)))[1].sum())(p)
    assert all(jnp.isfinite(leaf).all() for leaf in grads)


@pytest.mark.parametrize("make", [sj.linear.MinGRU, sj.linear.MinLSTM])
def test_states_in_logarithms_are_these_states(make, x64):
    """The authors' form, for positive candidates and states: logcumsumexp of their logarithms."""
    cell = make(3, candidate="positive")
    p = drawn(cell)
    zs = XS @ p.w_x + p.b
    if make is sj.linear.MinGRU:
        z, n = np.split(zs, 2, axis=1)
        log_a, log_b = -softplus(z), -softplus(-z) + np.log(POSITIVE(n))
    else:
        i, f, n = np.split(zs, 3, axis=1)
        odds = softplus(-f) - softplus(-i)
        log_a, log_b = -softplus(odds), -softplus(-odds) + np.log(POSITIVE(n))
    start, total = np.abs(H), np.cumsum(log_a, axis=0)
    terms = np.concatenate([np.log(start)[None], log_b - total])
    expected = np.exp(total + np.logaddexp.accumulate(terms)[1:])
    np.testing.assert_allclose(run(cell, p, start)[1], expected, rtol=1e-10)


def test_a_negative_carry_decays_by_the_same_factors(x64):
    """Where logarithms of states would be NaN."""
    cell = sj.linear.MinGRU(3, candidate="positive")
    p = drawn(cell)
    carries = [np.full(3, c) for c in (-2.0, 0.0, 2.0)]
    below, zero, above = (run(cell, p, carry)[1] for carry in carries)
    np.testing.assert_allclose(below - zero, zero - above, rtol=1e-10)
    assert (zero > 0).all() and (below < zero).all()


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_qrnn(kernel_size, x64):
    cell = sj.linear.QRNN(3, kernel_size=kernel_size)
    p = drawn(cell)

    def step(carry, x):
        window = np.concatenate([carry.inputs, x[None]])
        products = sum(u @ w for u, w in zip(window, p.w_x, strict=True))
        z, f, o = np.split(products + p.b, 3)
        c = sigmoid(f) * carry.h + (1 - sigmoid(f)) * np.tanh(z)
        return sj.linear.ConvolvedCarry(window[1:], c), sigmoid(o) * c

    compare(cell, p, sj.linear.ConvolvedCarry(XS[: kernel_size - 1] + 1, H), step)


@pytest.mark.parametrize("input_size", [2, 3])
def test_sru(input_size, x64):
    """Its highway carries the input itself where that is as wide as the state."""
    cell = sj.linear.SRU(3)
    p = drawn(cell, input_size)
    xs = np.random.default_rng(2).normal(size=(6, input_size))
    assert p.w_x.shape == (input_size, 9 if input_size == 3 else 12)

    def step(c, x):
        n, f, r, *s = np.split(x @ p.w_x, p.w_x.shape[1] // 3)
        b_f, b_r = np.split(p.b, 2)
        f, r = sigmoid(f + b_f), sigmoid(r + b_r)
        c = f * c + (1 - f) * n
        return c, r * np.tanh(c) + (1 - r) * (s[0] if s else x)

    compare(cell, p, H, step, xs)


def test_rg_lru(x64):
    for cell in (sj.linear.RGLRU(3), sj.linear.RGLRU()):
        p = drawn(cell, 2 if cell.hidden_size else 3)
        xs = np.random.default_rng(2).normal(size=(6, 2 if cell.hidden_size else 3))

        def step(h, x, p=p):
            u = x if p.w_in is None else x @ p.w_in
            r, i = np.split(sigmoid(u @ p.w_x + p.b), 2)
            a = sigmoid(p.log_odds) ** (8 * r)
            h = a * h + np.sqrt(1 - a**2) * i * u
            return h, h

        compare(cell, p, H, step, xs)


def test_rg_lru_begins_with_decays_between_its_radii():
    p = sj.linear.RGLRU(1000, min_radius=0.5, max_radius=0.9).init(jax.random.key(0), 2)
    decay = jax.nn.sigmoid(p.log_odds) ** 8
    assert 0.5 <= decay.min() < 0.51 and 0.89 < decay.max() <= 0.9 + 1e-6
    np.testing.assert_allclose(decay.mean(), 0.7, atol=0.02)  # five standard errors


def test_rest_near_one_is_exact_and_its_gradient_finite():
    log_a = jnp.array([-1e-9, -1e-20, 0.0, -1e-38])
    np.testing.assert_allclose(root_of_rest(log_a[:2]), jnp.sqrt(-2 * log_a[:2]), rtol=1e-6)
    value, slope = jax.vmap(jax.value_and_grad(root_of_rest))(log_a)
    assert jnp.isfinite(slope).all() and value[2] == slope[2] == 0
    cell = sj.linear.RGLRU(3)  # r underflows: a = 1, nothing enters
    p = cell.init(jax.random.key(0), 2)
    p = p._replace(b=p.b.at[:3].set(-200.0))
    loss = lambda p: jnp.sum(sj.unroll(cell, p, jnp.ones((1, 4, 2)))[1])
    value, grads = jax.value_and_grad(loss)(p)
    assert value == 0 and all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def complex_weights(p):
    """B [D, N] and C [N, H] of a cell that keeps them as two reals."""
    b, c = np.split(p.w_b, 2, axis=1), np.split(p.w_c, 2)
    return b[0] + 1j * b[1], c[0] - 1j * c[1]


def lru_terms(p):
    """λ and B of one step, and C of the outputs."""
    b, c = complex_weights(p)
    return np.exp(-np.exp(p.log_decay) + 1j * np.exp(p.log_phase)), np.exp(p.log_scale) * b, c


def s5_terms(p):
    b, c = complex_weights(p)
    rate, step = -np.exp(p.log_decay) + 1j * p.phase, np.exp(p.log_step)
    return np.exp(rate * step), (np.exp(rate * step) - 1) / rate * b, 2 * c


TIME_INVARIANT = {
    "lru": (sj.linear.LRU(3, state_size=4), lru_terms),
    "s5": (sj.linear.S5(3, state_size=4, min_step=0.1), s5_terms),
}


@pytest.mark.parametrize("name", TIME_INVARIANT)
def test_cells_with_fixed_decays_are_loops_and_convolutions(name, x64):
    cell, terms = TIME_INVARIANT[name]
    p = drawn(cell)
    decay, b, c = terms(p)
    start: Any = np.array([1 + 1j, -0.5, 0.3j, 0.2])

    def step(h, x):
        state: Any = decay * (h.real + 1j * h.imag) + x @ b
        return sj.linear.Complex(state.real, state.imag), (state @ c).real + x @ p.w_d

    compare(cell, p, sj.linear.Complex(start.real, start.imag), step)
    kernel = [np.real(b @ np.diag(decay**k) @ c) for k in range(len(XS))]
    zero = sj.linear.Complex(np.zeros(4), np.zeros(4))
    convolved = [
        sum(XS[t - k] @ kernel[k] for k in range(t + 1)) + XS[t] @ p.w_d for t in range(len(XS))
    ]
    np.testing.assert_allclose(run(cell, p, zero)[1], convolved, rtol=1e-10)


def test_lru_is_drawn_from_a_ring_and_keeps_the_scale_of_its_inputs():
    cell = sj.linear.LRU(1, state_size=2000, min_radius=0.5, max_radius=0.9, max_phase=1.0)
    p = cell.init(jax.random.key(0), 3)
    decay = lru_terms(jax.tree.map(np.asarray, p))[0]
    radius, phase = np.abs(decay), np.angle(decay)
    assert 0.5 <= radius.min() < 0.505 and 0.895 < radius.max() <= 0.9
    assert 0 < phase.min() < 0.01 and 0.99 < phase.max() <= 1
    # Uniform over the area: |λ|² is uniform; 2000 draws, four standard errors.
    np.testing.assert_allclose(np.mean(radius**2), (0.25 + 0.81) / 2, atol=4 * 0.56 / 12**0.5 / 45)
    np.testing.assert_allclose(np.exp(p.log_scale), np.sqrt(1 - radius**2), rtol=1e-5)
    cell = sj.linear.LRU(1, state_size=200, min_radius=0.5, max_radius=0.9)
    xs = jax.random.normal(jax.random.key(1), (1000, 40, 3))
    states, _ = jax.jit(functools.partial(sj.unroll, cell))(cell.init(jax.random.key(0), 3), xs)
    np.testing.assert_allclose(np.mean(states.real**2 + states.imag**2), 1, rtol=0.1)


def test_s5_begins_with_the_eigenvalues_of_hippo():
    """The normal part of HiPPO-LegS, built from its definition."""
    size = 8
    matrix = np.empty((size, size))
    for n in range(size):
        for k in range(size):
            scale = np.sqrt((n + 0.5) * (k + 0.5))
            matrix[n, k] = -0.5 if n == k else -scale if n > k else scale
    values = np.linalg.eigvals(matrix)
    np.testing.assert_allclose(values.real, -0.5, atol=1e-10)
    upper = np.sort(values.imag[values.imag > 0])
    np.testing.assert_allclose(hippo_phases(size // 2), upper, rtol=1e-10)
    p = sj.linear.S5(2, state_size=4).init(jax.random.key(0), 3)
    np.testing.assert_allclose(p.phase, upper, rtol=1e-5)
    np.testing.assert_allclose(-np.exp(p.log_decay), -0.5, rtol=1e-6)
    p = sj.linear.S5(2, state_size=4, spectrum="linear").init(jax.random.key(0), 3)
    np.testing.assert_allclose(p.phase, np.pi * np.arange(4), rtol=1e-6)


def test_a_held_input_loses_no_digits_to_a_small_step():
    rate, step = sj.linear.Complex(jnp.full(1, -0.5), jnp.full(1, 30.0)), jnp.full(1, 1e-6)
    a, gain = held_input(rate, step)
    exact = np.expm1((-0.5 + 30j) * 1e-6) / (-0.5 + 30j)
    np.testing.assert_allclose(gain.real + 1j * gain.imag, exact, rtol=1e-6)
    np.testing.assert_allclose(a.real + 1j * a.imag, np.exp((-0.5 + 30j) * 1e-6), rtol=1e-6)


def mamba_step(p):
    def step(carry, x):
        u, gate = np.split(x @ p.w_in, 2)
        window = np.concatenate([carry.inputs, u[None]])
        u = silu(np.sum(window * p.w_conv, axis=0) + p.b_conv)
        rank, states = p.w_step.shape[0], p.log_rate.shape[1]
        small, b, c = np.split(u @ p.w_select, [rank, rank + states])
        delta = softplus(small @ p.w_step + p.b_step)
        decay = np.exp(-delta[:, None] * np.exp(p.log_rate))
        h = decay * carry.h + np.outer(delta * u, b)
        y = (h @ c + p.skip * u) * silu(gate)
        return sj.linear.ConvolvedCarry(window[1:], h), y @ p.w_out

    return step


@pytest.mark.parametrize("remat", [None, 3, 100])
def test_mamba(remat, x64):
    cell = sj.linear.Mamba(3, channels=4, state_size=2, step_rank=2, remat=remat)
    p = drawn(cell)
    random = np.random.default_rng(3)
    carry = sj.linear.ConvolvedCarry(random.normal(size=(3, 4)), random.normal(size=(4, 2)))
    compare(cell, p, carry, mamba_step(p))


def test_mamba_begins_with_its_step_sizes():
    p = sj.linear.Mamba(32, min_step=0.01, max_step=0.1).init(jax.random.key(0), 3)
    step = jax.nn.softplus(p.b_step)
    assert 0.01 <= step.min() + 1e-6 and step.max() <= 0.1 + 1e-6
    assert p.w_step.shape == (2, 64) and p.w_conv.shape == (4, 64)
    np.testing.assert_allclose(jnp.exp(p.log_rate[5]), np.arange(1, 17), rtol=1e-5)


def test_mamba_keeps_windows_instead_of_states():
    """The compiled gradient's temporaries, at T = 512, D N = 256 numbers a step."""
    xs = jnp.ones((1, 512, 4))

    def bytes_of(cell):
        params = cell.init(jax.random.key(0), 4)
        loss = lambda p: jnp.sum(sj.unroll(cell, p, xs)[1])
        used: Any = jax.jit(jax.grad(loss)).lower(params).compile().memory_analysis()
        return used.temp_size_in_bytes

    windows, everything = (bytes_of(sj.linear.Mamba(8, remat=remat)) for remat in (16, None))
    assert 4 * windows < everything


CONFORMING: dict[str, Any] = {
    "min_gru": sj.linear.MinGRU(3),
    "min_lstm": sj.linear.MinLSTM(3, candidate="positive"),
    "qrnn": sj.linear.QRNN(3, kernel_size=3),
    "sru": sj.linear.SRU(3),
    "lru": sj.linear.LRU(3, state_size=2),
    "rg_lru": sj.linear.RGLRU(),
    "s5": sj.linear.S5(3, state_size=2),
    "mamba": sj.linear.Mamba(3, state_size=2, remat=5),
}


@pytest.mark.parametrize("name", CONFORMING)
def test_steps_are_every_form_from_any_carry_under_masks_and_resets(name, x64):
    cell, random = CONFORMING[name], np.random.default_rng(0)
    params = jax.tree.map(jnp.asarray, drawn(cell))
    xs, mask = random.normal(size=(2, 7, 2)), jnp.asarray(random.random((2, 7)) < 0.7)
    flags = jnp.asarray(random.random((2, 7)) < 0.3)
    other = lambda a: jnp.asarray(random.normal(size=a.shape))
    carry, initial = (jax.tree.map(other, cell.initial_carry(params, 2)) for _ in range(2))

    @jax.jit
    def all_forms(xs):
        methods = ("sequential", "associative", "chunked", "auto")
        cells = [dataclasses.replace(cell, method=method) for method in methods]
        steps = sj.core.Steps(mask, flags, initial)
        forms = [each.unroll(params, carry, xs, steps) for each in cells]
        step = functools.partial(cell.step, params)
        return forms, sj.scan(step, carry, xs, mask=mask, reset=flags, initial=initial)

    forms, expected = all_forms(jnp.asarray(xs))
    for form in forms:
        chex.assert_trees_all_close(form, expected, rtol=1e-10, atol=1e-12)
