"""Unbiased online recurrent optimisation: right on average."""

import jax
import jax.numpy as jnp
import pytest
from support.gradient_methods import (
    ELMAN,
    assert_unbiased,
    deviations,
    draws,
    flat,
    loss_of,
    make_case,
    split,
    truth,
    uoro,
)

import seqjax as sj


@pytest.mark.parametrize("window", [1, 3])
def test_the_mean_of_many_draws_is_the_gradient(window):
    assert_unbiased(uoro(loss_of(ELMAN), window))


def test_estimates_of_influence_continue_from_call_to_call():
    loss_fn, (params, carry, batch) = loss_of(ELMAN), make_case(ELMAN)
    run, parts = sj.gradients.uoro(loss_fn, 3), split(batch)

    def both(params, carry, batch, key):
        del batch
        first, second = jax.random.split(key)
        state = sj.gradients.init_uoro_state(params, carry)
        (_, state), grads = run(params, state, parts[0], first)
        (loss, state), more = run(params, state, parts[1], second)
        return (loss, state), jax.tree.map(jnp.add, grads, more)

    samples = draws(both, (params, carry, batch), seed=1)
    expected = flat(truth(loss_fn, params, carry, batch)[1])
    assert deviations(samples, expected).max() < 3


def test_a_state_of_something_else_is_refused():
    params, carry, batch = make_case(ELMAN)
    run, key = sj.gradients.uoro(loss_of(ELMAN)), jax.random.key(0)
    remedy = r"Make it with init_uoro_state\(params, carry\)\."
    with pytest.raises(ValueError, match=rf"state is \w+; expected UOROState\. {remedy}"):
        run(params, carry, batch, key)
    smaller = sj.gradients.init_uoro_state({"w_o": params["w_o"]}, carry)
    with pytest.raises(ValueError, match=rf"shapes \(4,\) and \(2,\); expected .*{remedy}"):
        run(params, smaller, batch, key)
