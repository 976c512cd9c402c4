"""The sLSTM against its equations without a stabiliser, and what the stabiliser is for."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

GATES = ["sigmoid", "exponential"]
LENGTH, INPUT, SIZE, HEADS = 6, 3, 4, 2


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def drawn(cell, seed=0) -> Any:
    """Params with every number different from its default, in float64."""
    random = np.random.default_rng(seed)
    params = cell.init(jax.random.key(0), INPUT)
    return jax.tree.map(lambda a: jnp.asarray(0.7 * random.normal(size=a.shape)), params)


XS = np.random.default_rng(1).normal(size=(2, LENGTH, INPUT))


def loop(params, xs, forget_gate, heads=HEADS):
    """h [T, H] of the paper's c, n and h as they stand, for xs [T, D]: one row, head by head."""
    forget = {"sigmoid": sigmoid, "exponential": np.exp}[forget_gate]
    w_x, w_h, b = (np.asarray(a) for a in params)
    size, units = w_x.shape[1] // 4, w_x.shape[1] // 4 // heads
    h, c, n, hs = np.zeros(size), np.zeros(size), np.zeros(size), []
    for x in xs:
        gates = (x @ w_x + b).reshape(4, heads, units)
        for head in range(heads):
            mine = h[head * units : (head + 1) * units]
            gates[:, head] += (mine @ w_h[head]).reshape(4, units)
        i, f, g, o = gates.reshape(4, size)
        c = forget(f) * c + np.exp(i) * np.tanh(g)
        n = forget(f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        hs.append(h)
    return np.stack(hs)


@pytest.mark.parametrize("forget_gate", GATES)
def test_slstm_is_the_papers_without_its_stabiliser(forget_gate, x64):
    cell = sj.cells.SLSTM(SIZE, heads=HEADS, forget_gate=forget_gate)
    params = drawn(cell)
    carry, ys = sj.unroll(cell, params, jnp.asarray(XS))
    for row in range(2):
        np.testing.assert_allclose(ys[row], loop(params, XS[row], forget_gate), rtol=1e-10)
    assert (carry.n >= 1).all()


@pytest.mark.parametrize("forget_gate", GATES)
def test_a_constant_in_every_input_gate_changes_only_the_scale(forget_gate, x64):
    cell = sj.cells.SLSTM(SIZE, heads=HEADS, forget_gate=forget_gate)
    params = drawn(cell)
    shifted = params._replace(b=params.b.at[:SIZE].add(300.0))
    (carry, ys), (moved, same) = (sj.unroll(cell, p, jnp.asarray(XS)) for p in (params, shifted))
    np.testing.assert_allclose(same, ys, rtol=1e-10)
    np.testing.assert_allclose(moved.n, carry.n, rtol=1e-10)
    np.testing.assert_allclose(moved.m, carry.m + 300, rtol=1e-12)
    # Of some steps only, it matters.
    _, ys = sj.unroll(cell, shifted, jnp.asarray(XS[:, 3:]), carry=carry)
    assert np.abs(ys - same[:, 3:]).max() > 1e-3


@pytest.mark.parametrize("forget_gate", GATES)
def test_no_gate_overflows(forget_gate):
    cell = sj.cells.SLSTM(SIZE, heads=HEADS, forget_gate=forget_gate)
    params = cell.init(jax.random.key(0), INPUT)
    xs = jnp.asarray(XS, jnp.float32)

    def loss(params, xs):
        carry, ys = sj.unroll(cell, params, xs)
        return jnp.sum(ys), (carry, ys)

    run = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    for gates in itertools.product([-1e3, 0.0, 1e3], [-1e3, 0.0, 1e3], [0.0], [-1e3, 1e3]):
        b = jnp.repeat(jnp.array(gates), SIZE)
        results = run(params._replace(b=b), xs)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results)), gates
    # A memory of one step holds that step's value, however little was written.
    b = jnp.repeat(jnp.array([-1e3, 1e3, 0.5, 0.0]), SIZE)
    params = jax.tree.map(jnp.zeros_like, params)._replace(b=b)
    _, y = cell.step(params, cell.initial_carry(params, 2), xs[:, 0])
    np.testing.assert_allclose(y, np.full((2, SIZE), 0.5 * np.tanh(0.5)), rtol=1e-6)


def test_a_reset_empties_one_row_and_not_its_mates():
    """Whether a memory is empty is asked unit by unit: nothing was written since, in one row."""
    cell = sj.cells.SLSTM(SIZE, heads=HEADS)
    params = cell.init(jax.random.key(0), INPUT)
    params = params._replace(b=params.b.at[:SIZE].set(-500.0))
    xs = jnp.asarray(np.concatenate([XS[:1], XS[:1]]), jnp.float32)
    reset = jnp.zeros((2, LENGTH), bool).at[0, 4].set(True)
    _, ys = sj.unroll(cell, params, xs, reset=reset)
    _, alone = sj.unroll(cell, params, xs[:1, 4:])
    _, whole = sj.unroll(cell, params, xs[1:])
    np.testing.assert_allclose(ys[0, 4:], alone[0], rtol=1e-5)
    np.testing.assert_allclose(ys[1], whole[0], rtol=1e-5)
    assert np.abs(ys[0, 4:] - ys[1, 4:]).max() > 0.01


def test_heads_do_not_see_each_other(x64):
    cell = sj.cells.SLSTM(SIZE, heads=HEADS)
    params = drawn(cell)
    carry, x = cell.initial_carry(params, 1), jnp.asarray(XS[:1, 0])
    slopes = jax.jacobian(lambda h: cell.step(params, carry._replace(h=h), x)[1])(carry.h)
    seen = np.asarray(slopes[0, :, 0] != 0)
    np.testing.assert_array_equal(seen, np.kron(np.eye(HEADS), np.ones((2, 2))) > 0)


def test_one_head_sees_all(x64):
    cell = sj.cells.SLSTM(SIZE)
    params = drawn(cell)
    _, ys = sj.unroll(cell, params, jnp.asarray(XS))
    np.testing.assert_allclose(ys[0], loop(params, XS[0], "sigmoid", heads=1), rtol=1e-10)


def test_the_scale_of_a_state_is_free(x64):
    """(c, n, m) and (c e^-a, n e^-a, m + a) are one state."""
    cell = sj.cells.SLSTM(SIZE, heads=HEADS)
    params = drawn(cell)
    carry, _ = sj.unroll(cell, params, jnp.asarray(XS))
    scaled = carry._replace(c=carry.c * 4, n=carry.n * 4, m=carry.m - np.log(4))
    (_, ys), (_, same) = (
        sj.unroll(cell, params, jnp.asarray(XS), carry=c) for c in (carry, scaled)
    )
    np.testing.assert_allclose(same, ys, rtol=1e-10)


def test_a_carry_made_by_hand_divides_by_one_at_least(x64):
    cell = sj.cells.SLSTM(SIZE, heads=HEADS)
    params = drawn(cell)
    carry = sj.cells.SLSTMCarry(
        *(jnp.asarray(v * np.ones((1, SIZE))) for v in (0.1, 0.2, 1e-9, 1e3))
    )
    carry, y = cell.step(params, carry, jnp.asarray(XS[:1, 0]))
    assert (carry.n < 1e-3).all() and (np.abs(y) <= np.abs(carry.c)).all()


def test_initial_params():
    cell = sj.cells.SLSTM(6, heads=2, forget_bias=(1.0, 3.0))
    params = cell.init(jax.random.key(0), INPUT)
    np.testing.assert_allclose(params.b[6:12], [1, 2, 3, 1, 2, 3])
    assert not params.b[:6].any() and not params.b[12:].any()
    for block in [params.w_h[n, :, 3 * g : 3 * g + 3] for n in range(2) for g in range(4)]:
        np.testing.assert_allclose(block @ block.T, np.eye(3), atol=1e-5)
    first, second = params.w_h
    assert (first != second).all()


def test_sums_are_float32_under_bfloat16():
    cell = sj.cells.SLSTM(SIZE, heads=HEADS)
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), cell.init(jax.random.key(0), INPUT))
    carry, y = cell.step(params, cell.initial_carry(params, 2), jnp.ones((2, INPUT)))
    assert {y.dtype, carry.h.dtype} == {jnp.dtype(jnp.bfloat16)}
    assert {carry.c.dtype, carry.n.dtype, carry.m.dtype} == {jnp.dtype(jnp.float32)}


CELL = sj.cells.SLSTM(4)
BAD: dict[str, Any] = {
    "heads": (
        lambda: sj.cells.SLSTM(5, heads=2),
        "hidden_size is 5 but heads is 2; expected hidden_size to be a multiple of heads.",
    ),
    "no heads": (
        lambda: sj.cells.SLSTM(4, heads=0),
        "heads is 0; expected an integer of at least 1.",
    ),
    "gate": (
        lambda: sj.cells.SLSTM(4, forget_gate="exp"),  # pyright: ignore[reportArgumentType]
        "forget_gate is 'exp'; expected one of 'sigmoid', 'exponential'.",
    ),
    "bias": (
        lambda: sj.cells.SLSTM(4, forget_bias=3.0),  # pyright: ignore[reportArgumentType]
        "forget_bias is 3.0; expected a pair of finite numbers, from and to.",
    ),
    "bias inf": (
        lambda: sj.cells.SLSTM(4, forget_bias=(0.0, float("inf"))),
        "forget_bias is (0.0, inf); expected a pair of finite numbers, from and to.",
    ),
    "complex": (
        lambda: sj.unroll(CELL, CELL.init(jax.random.key(0), 3), jnp.ones((1, 2, 3), complex)),
        "xs has dtype complex64; expected floating point. Embed or one-hot tokens first.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_says_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == text
