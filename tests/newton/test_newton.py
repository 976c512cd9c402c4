"""Newton's method over time: equal to running step by step, in values, gradients and in failure."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.newton.solver import linear_recurrence

METHODS = ("newton", "quasi-newton", "block-newton")
CASES = {
    "gru": (sj.GRU(4), METHODS[:2]),
    "lstm": (sj.LSTM(3), METHODS[:2]),
    "stack": (sj.Stack((sj.Elman(3), sj.Zoneout(sj.GRU(2), 0.2))), METHODS[:1]),
    "diagonal_gru": (sj.cells.DiagonalGRU(4), METHODS),
    "diagonal_lstm": (sj.cells.DiagonalLSTM(3), METHODS),
}
T = 23


def data(cell, batch_size=3, length=T, input_size=2):
    params = cell.init(jax.random.key(0), input_size)
    params = jax.tree.map(lambda a: a + 0.1, params)
    xs = jax.random.normal(jax.random.key(1), (batch_size, length, input_size))
    carry = cell.initial_carry(params, batch_size)
    carry = jax.tree.map(lambda a: a + 0.3 * jax.random.normal(jax.random.key(2), a.shape), carry)
    return params, xs, carry


@functools.partial(jax.jit, static_argnames=("cell", "method", "reverse"))
def outcome(cell, params, xs, carry, how, *, method, reverse=False):
    """Values of a loss on ys and the carry, and its gradients; method None is `unroll`."""

    def loss(params, xs, carry):
        if method is None:
            last, ys = sj.unroll(cell, params, xs, carry=carry, reverse=reverse, **how)
        else:
            found = sj.newton.unroll(
                cell,
                params,
                xs,
                carry=carry,
                reverse=reverse,
                method=method,
                tolerance=1e-12,
                **how,
            )
            last, ys = found.carry, found.ys
        total = jnp.sum(jnp.sin(ys)) + sum(jnp.sum(jnp.cos(a)) for a in jax.tree.leaves(last))
        return total, (last, ys)

    return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(params, xs, carry)


def close(got, expected, tolerance=1e-9):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("reverse", [False, True])
def test_equals_unroll_with_padding_resets_and_a_carry(x64, name, reverse):
    cell, methods = CASES[name]
    params, xs, carry = data(cell)
    mask = jax.random.uniform(jax.random.key(3), xs.shape[:2]) < 0.8
    reset = jax.random.uniform(jax.random.key(4), xs.shape[:2]) < 0.2
    how = {"lengths": jnp.array([T, 0, 9]), "mask": mask, "reset": reset}
    xs = jnp.where(mask[..., None], xs, jnp.nan)
    expected = outcome(cell, params, xs, carry, how, method=None, reverse=reverse)
    assert np.isfinite(expected[0][0])
    for method in methods:
        close(outcome(cell, params, xs, carry, how, method=method, reverse=reverse), expected)


def test_a_thousand_steps_in_single_precision_take_few_iterations():
    xs = jax.random.normal(jax.random.key(1), (2, 1000, 4))
    cases: Any = (
        (sj.GRU(8), "newton", 10),
        (sj.cells.DiagonalGRU(8), "block-newton", 7),
        (sj.cells.DiagonalLSTM(8), "block-newton", 7),
    )
    for cell, method, most in cases:
        params = cell.init(jax.random.key(0), 4)
        found = jax.jit(
            lambda params, cell=cell, method=method: sj.newton.unroll(
                cell, params, xs, method=method
            )
        )(params)
        assert found.converged.all() and found.iterations.max() <= most
        np.testing.assert_allclose(found.ys, sj.unroll(cell, params, xs)[1], atol=1e-5)


def test_after_k_iterations_the_first_k_steps_are_exact(x64):
    cell = sj.Elman(3, w_h_init=sj.initializers.Orthogonal(3.0))
    params, xs, carry = data(cell)
    _, ys = sj.unroll(cell, params, xs, carry=carry)
    run = lambda k: sj.newton.unroll(
        cell, params, xs, carry=carry, tolerance=1e-13, max_iters=k, fallback=False
    )
    for k in (1, 2, 5):
        found = run(k)
        np.testing.assert_allclose(found.carries[:, :k], ys[:, :k], atol=1e-12)
        assert not found.converged.any() and (found.iterations == k).all()
        assert (jnp.abs(found.carries[:, -1] - ys[:, -1]) > 1e-6).any()
    assert run(T + 1).converged.all()


def test_rows_that_do_not_converge_are_run_step_by_step(x64):
    cell = sj.Elman(4, w_h_init=sj.initializers.Orthogonal(2.0))
    params, xs, carry = data(cell, length=40)
    carry = carry.at[0].set(0.0)
    xs = xs.at[0].set(0.0)
    params = params._replace(b=jnp.zeros_like(params.b))  # row 0 rests, the others are chaotic
    expected = outcome(cell, params, xs, carry, {}, method=None)
    run = functools.partial(sj.newton.unroll, cell, max_iters=4)
    found = run(params, xs, carry=carry)
    assert found.converged.tolist() == [True, False, False]
    assert found.iterations.tolist() == [1, 4, 4]
    close((found.carry, found.ys), expected[0][1], 1e-7)

    @jax.jit
    @jax.grad
    def slope(params):
        found = run(params, xs, carry=carry)
        last = sum(jnp.sum(jnp.cos(a)) for a in jax.tree.leaves(found.carry))
        return jnp.sum(jnp.sin(found.ys)) + last

    close(slope(params), expected[1][0], 1e-6)
    bare = run(params, xs, carry=carry, fallback=False)
    assert bare.converged.tolist() == [True, False, False]
    assert (jnp.abs(bare.ys[1:] - expected[0][1][1][1:]) > 1e-3).any()


def test_values_that_are_not_finite_are_no_success():
    cell = sj.GRU(3)
    params, xs, _ = data(cell)
    xs = xs.at[1, 4].set(jnp.nan)
    found = sj.newton.unroll(cell, params, xs)
    _, ys = sj.unroll(cell, params, xs)
    assert found.converged.tolist() == [True, False, True]
    assert (found.iterations[1] == 1) and bool(jnp.isnan(found.ys[1, 4:]).all())
    np.testing.assert_allclose(found.ys, ys, atol=1e-5)


def test_a_good_guess_saves_iterations(x64):
    cell = sj.GRU(4)
    params, xs, carry = data(cell)
    run = functools.partial(sj.newton.unroll, cell, carry=carry, tolerance=1e-6)
    cold = run(params, xs)
    warm = run(jax.tree.map(lambda a: a * (1 + 1e-6), params), xs, guess=cold.carries)
    assert (warm.iterations < cold.iterations).all() and warm.converged.all()
    assert (run(params, xs, guess=cold.carries).iterations == 1).all()
    gradient = jax.grad(lambda guess: jnp.sum(run(params, xs, guess=guess).ys))(cold.carries)
    assert not gradient.any()


@pytest.mark.parametrize("method", METHODS)
def test_second_derivatives_and_vmap(x64, method):
    cell = sj.cells.DiagonalGRU(2)
    params, xs, _ = data(cell, batch_size=2, length=6)

    def slope(run):
        first = jax.grad(lambda p, xs: jnp.sum(jnp.sin(run(p, xs))))
        return jax.grad(lambda p, xs: jnp.sum(jnp.cos(first(p, xs).w_h)))

    newton = lambda p, xs: sj.newton.unroll(cell, p, xs, method=method, tolerance=1e-13).ys
    plain = lambda p, xs: sj.unroll(cell, p, xs)[1]
    close(jax.jit(slope(newton))(params, xs), jax.jit(slope(plain))(params, xs))
    many = jnp.stack([xs, 2 * xs])
    over = lambda run: jax.jit(jax.vmap(run, (None, 0)))(params, many)
    close(over(newton), over(plain))


@pytest.mark.parametrize("cell", [sj.cells.DiagonalGRU(3), sj.cells.DiagonalLSTM(3)])
def test_units_of_an_elementwise_cell_see_only_themselves(x64, cell):
    params, xs, carry = data(cell)
    step = lambda carry: cell.step(params, carry, xs[:1, 0])[0]
    jacobian = jax.jacfwd(step)(jax.tree.map(lambda a: a[:1], carry))
    for block in jax.tree.leaves(jacobian):  # [1, 3, 1, 3]
        block = block[0, :, 0]
        np.testing.assert_array_equal(block, np.diag(np.diag(block)))


def test_diagonal_cells_are_their_equations(x64):
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    gru, lstm = sj.cells.DiagonalGRU(3), sj.cells.DiagonalLSTM(3)
    params, xs, carry = jax.tree.map(np.asarray, data(gru))
    h = carry
    for t in range(4):
        a_r, a_z, a_n = np.split(xs[:, t] @ params.w_x + params.b, 3, axis=-1)
        r, z = sigmoid(a_r + params.w_h[0] * h), sigmoid(a_z + params.w_h[1] * h)
        h = (1 - z) * np.tanh(a_n + params.w_h[2] * r * h) + z * h
    close(sj.unroll(gru, params, xs[:, :4], carry=carry)[0], h, 1e-12)
    params, xs, carry = jax.tree.map(np.asarray, data(lstm))
    h, c = carry
    for t in range(4):
        a_f, a_g, a_o = np.split(xs[:, t] @ params.w_x + params.b, 3, axis=-1)
        f = sigmoid(a_f + params.w_h[0] * h + params.w_c[0] * c)
        c = f * c + (1 - f) * np.tanh(a_g + params.w_h[1] * h)
        h = sigmoid(a_o + params.w_h[2] * h + params.w_c[1] * c) * np.tanh(c)
    close(sj.unroll(lstm, params, xs[:, :4], carry=carry)[0], sj.LSTMCarry(h, c), 1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_linear_solve_is_the_recurrence(x64, reverse):
    blocks = jax.random.normal(jax.random.key(0), (2, 7, 3, 2, 2))
    inputs = jax.random.normal(jax.random.key(1), (2, 7, 3, 2))
    h, expected = np.zeros((2, 3, 2)), np.zeros((2, 7, 3, 2))
    for t in reversed(range(7)) if reverse else range(7):
        expected[:, t] = h = np.einsum("buij,buj->bui", blocks[:, t], h) + inputs[:, t]
    close(linear_recurrence(blocks, inputs, reverse), expected)
    thin = linear_recurrence(blocks[..., :1, :1], inputs[..., :1], reverse)
    padded = blocks[..., :1, :1] * jnp.eye(2)
    close(thin, linear_recurrence(padded, inputs, reverse)[..., :1])


@pytest.mark.parametrize("length", [0, 1])
def test_no_step_and_one_step(length):
    cell = sj.LSTM(3)
    params, xs, carry = data(cell, length=length)
    found = sj.newton.unroll(cell, params, xs, carry=carry)
    close((found.carry, found.ys), sj.unroll(cell, params, xs, carry=carry), 1e-6)
    assert found.converged.all() and found.carries.h.shape == (3, length, 3)


def test_half_precision_params():
    cell = sj.LSTM(3)
    params, xs, _ = data(cell)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    found = sj.newton.unroll(cell, half, xs.astype(jnp.bfloat16), tolerance=1e-3)
    carry, ys = sj.unroll(cell, half, xs.astype(jnp.bfloat16))
    assert found.ys.dtype == ys.dtype and found.carry.c.dtype == carry.c.dtype
    np.testing.assert_allclose(found.ys.astype(jnp.float32), ys.astype(jnp.float32), atol=0.03)


GRU, XS = sj.GRU(3), np.ones((2, 5, 2), np.float32)
PARAMS = GRU.init(jax.random.key(0), 2)


class Steps:
    """A cell that counts."""

    def init(self, key, input_size):
        return ()

    def initial_carry(self, params, batch_size, key=None):
        return {"n": jnp.zeros(batch_size, jnp.int32)}

    def step(self, params, carry, x):
        return {"n": carry["n"] + 1}, x


SHORT = XS[:, :4, :1].repeat(3, 2)
LONG = np.array([5, 6])


@pytest.mark.parametrize(
    ("message", "cell", "how"),
    [
        ("method is 'deer'; expected one of 'newton', 'quasi-newton'", GRU, {"method": "deer"}),
        ("GRU is not elementwise; expected a cell whose", GRU, {"method": "block-newton"}),
        ("tolerance is 0; expected a positive number", GRU, {"tolerance": 0}),
        ("tolerance is nan; expected a positive number", GRU, {"tolerance": float("nan")}),
        ("max_iters is 0; expected an integer of at least 1", GRU, {"max_iters": 0}),
        ("carry['n'] is int32; expected floats", Steps(), {}),
        ("the carry is empty; expected a cell with a state", sj.Dropout(0.5), {}),
        (
            "cell is Bidirectional, an encoder, which reads whole",
            sj.Bidirectional(GRU),
            {},
        ),
        ("guess is float32[2, 4, 3]; expected float32[2, 5, 3]", GRU, {"guess": SHORT}),
        ("lengths has values from 5 to 6; expected 0 <= lengths <= T = 5", GRU, {"lengths": LONG}),
    ],
)
def test_bad_input_is_named(message, cell, how):
    with pytest.raises(ValueError) as error:
        sj.newton.unroll(cell, PARAMS if cell is GRU else (), XS, **how)
    assert message in str(error.value)
