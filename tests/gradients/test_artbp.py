"""Randomly truncated backpropagation: truncation and backpropagation are its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.gradient_methods import (
    DRAWS,
    ELMAN,
    HIDDEN,
    MINUS,
    PLUS,
    assert_close,
    assert_unbiased,
    balancing,
    draws,
    flat,
    loss_of,
    make_case,
    rtrl,
    truth,
)

import seqjax as sj


def test_without_randomness_it_is_backpropagation(x64):
    loss_fn, case = loss_of(sj.GRU(HIDDEN)), make_case(sj.GRU(HIDDEN))
    found = jax.jit(sj.gradients.artbp(loss_fn, 2, 0.0))(*case, jax.random.key(0))
    assert_close(found, truth(loss_fn, *case))


def test_always_cut_it_is_truncation_and_both_are_biased(x64):
    loss_fn, case = loss_of(sj.GRU(HIDDEN)), make_case(sj.GRU(HIDDEN))
    always = sj.gradients.artbp(loss_fn, 2, lambda age: jnp.float32(1))
    found = jax.jit(always)(*case, jax.random.key(0))
    assert_close(found, jax.jit(sj.truncated_value_and_grad(loss_fn, 2))(*case))
    assert np.abs(flat(found[1]) - flat(truth(loss_fn, *case)[1])).max() > 0.01


def test_chances_are_given_the_windows_since_the_last_cut(x64):
    """Cuts whenever three windows are over are truncation to three."""
    loss_fn, case = loss_of(sj.GRU(HIDDEN)), make_case(sj.GRU(HIDDEN))
    third = sj.gradients.artbp(loss_fn, 1, lambda age: (age >= 3).astype(jnp.float32))
    found = jax.jit(third)(*case, jax.random.key(0))
    assert_close(found, jax.jit(sj.truncated_value_and_grad(loss_fn, 3))(*case))


@pytest.mark.parametrize("window", [1, 2])
def test_the_mean_of_many_draws_is_the_gradient(window):
    truncation = 0.4 if window == 1 else sj.gradients.power_law_truncation(2.0)
    assert_unbiased(sj.gradients.artbp(loss_of(ELMAN), window, truncation))


def test_short_truncation_goes_the_wrong_way_where_the_others_go_right():
    """In the limit h_0 = 2 (P - M) theta: it has to fall for h_0 to rise to 1."""
    case = jnp.float32(0.1), jnp.zeros((1, PLUS + MINUS)), jnp.zeros((1, 200))
    exact = jax.jit(rtrl(balancing))(*case)[1]
    short = jax.jit(sj.truncated_value_and_grad(balancing, 4))(*case)[1]
    long = jax.jit(sj.truncated_value_and_grad(balancing, 100))(*case)[1]
    assert exact > 0 and long > 0 and short < 0  # the step is against the gradient
    artbp = draws(
        sj.gradients.artbp(balancing, 4, sj.gradients.power_law_truncation(8.0, 6.0)), case
    )
    assert artbp.mean() > 3 * artbp.std() / np.sqrt(DRAWS)


def test_power_law_has_the_mean_that_it_is_given():
    chance = sj.gradients.power_law_truncation(50.0, exponent=6.0)
    hazard = np.asarray(chance(jnp.arange(1.0, 20001.0)))
    alive = np.concatenate([[1.0], np.cumprod(1 - hazard)])
    np.testing.assert_allclose(alive.sum(), 50, rtol=0.02)
    ratio = np.log(alive[20000] * hazard[-1]) - np.log(alive[10000] * hazard[9999])
    np.testing.assert_allclose(ratio / np.log(2), -6, atol=0.1)


def test_bad_truncation_is_refused():
    for truncation in (1.0, -0.1):
        with pytest.raises(ValueError, match=f"truncation is {truncation}; expected a probability"):
            sj.gradients.artbp(loss_of(ELMAN), 1, truncation)
    with pytest.raises(ValueError, match=r"mean is 1.0; expected more than 1 window\."):
        sj.gradients.power_law_truncation(1.0)
    with pytest.raises(ValueError, match=r"exponent is 2; expected more than 2\."):
        sj.gradients.power_law_truncation(9.0, 2)
