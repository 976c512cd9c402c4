"""Lyapunov exponents against those that are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj


def test_exponents_of_a_linear_recurrence_are_those_of_its_matrix(x64):
    cell = sj.Elman(3, activation="identity")
    params = cell.init(jax.random.key(0), 2)
    turn = sj.initializers.Orthogonal()(jax.random.key(1), (3, 3))
    xs = jax.random.normal(jax.random.key(2), (2, 600, 2))
    for rho in (0.8, 1.1):
        found = sj.diagnostics.lyapunov_exponents(
            cell, params._replace(w_h=rho * turn), xs, count=3
        )
        np.testing.assert_allclose(found, np.full((2, 3), np.log(rho)), atol=1e-10)
    triangular = jnp.array([[0.5, 0.3, -0.2], [0.0, 0.9, 0.4], [0.0, 0.0, -0.2]])
    found = sj.diagnostics.lyapunov_exponents(
        cell, params._replace(w_h=triangular), xs, count=3, skip=100
    )
    np.testing.assert_allclose(found[0], np.log([0.9, 0.5, 0.2]), atol=1e-3)


def test_exponents_survive_a_thousand_steps_in_single_precision():
    cell = sj.Elman(4, activation="identity", w_h_init=sj.initializers.Orthogonal(0.01))
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.ones((1, 1000, 2))  # the product over time is 1e-2000
    found = sj.diagnostics.lyapunov_exponents(cell, params, xs, count=4)
    np.testing.assert_allclose(found, np.log(0.01), atol=1e-4)


def test_all_exponents_make_the_determinant_and_the_largest_the_norm(x64):
    cell = sj.Elman(4, w_h_init=sj.initializers.Orthogonal(1.6))
    params = cell.init(jax.random.key(0), 2)
    xs = 0.3 * jax.random.normal(jax.random.key(1), (1, 26, 2))
    warm, _ = sj.unroll(cell, params, xs[:, :20])
    run = lambda **how: sj.diagnostics.lyapunov_exponents(
        cell, params, xs[:, 20:], carry=warm, **how
    )
    step = lambda h, x: cell.step(params, h, x)
    jacobian = jax.jacfwd(lambda h: sj.scan(step, h, xs[:, 20:])[0])(warm)[0, :, 0]
    _, volume = np.linalg.slogdet(jacobian)
    np.testing.assert_allclose(jnp.sum(run(count=4)), volume / 6, atol=1e-9)
    growth = np.log(np.linalg.norm(jacobian, 2)) / 6
    assert growth - 0.5 < run()[0, 0] <= growth + 1e-12
    np.testing.assert_allclose(run()[0, 0], run(count=4)[0, 0], atol=1e-12)


def test_units_that_never_meet_have_the_largest_exponent_of_all(x64):
    cell = sj.Elman(3, activation="identity")
    params = cell.init(jax.random.key(0), 2)._replace(w_h=jnp.diag(jnp.array([0.1, 0.9, 0.5])))
    found = sj.diagnostics.lyapunov_exponents(cell, params, jnp.ones((1, 300, 2)), skip=50)
    np.testing.assert_allclose(found, np.log([[0.9]]), atol=1e-9)


@pytest.mark.parametrize(
    ("message", "how"),
    [
        ("count is 4; expected at most 3", {"count": 4}),
        ("count is 0; expected an integer of at least 1", {"count": 0}),
        ("skip is 5; expected an integer of 0..T - 1 = 4", {"skip": 5}),
        ("skip is -1; expected an integer of 0..T - 1 = 4", {"skip": -1}),
    ],
)
def test_count_and_skip_have_bounds(message, how):
    cell = sj.GRU(3)
    with pytest.raises(ValueError) as error:
        sj.diagnostics.lyapunov_exponents(
            cell, cell.init(jax.random.key(0), 2), np.ones((2, 5, 2)), **how
        )
    assert message in str(error.value)
