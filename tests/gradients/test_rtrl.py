"""Real-time recurrent learning against backpropagation through all of time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.gradient_methods import (
    BATCH,
    ELMAN,
    HIDDEN,
    LENGTH,
    MINUS,
    PLUS,
    assert_close,
    balancing,
    flat,
    loss_of,
    make_case,
    rtrl,
    split,
    truth,
)

import seqjax as sj


@pytest.mark.parametrize("window", [1, 3, LENGTH])
def test_it_is_backpropagation(window, x64):
    """Whole windows, and a shorter last one; two leaves in the carry, two rows."""
    loss_fn = loss_of(sj.LSTM(HIDDEN))
    case = make_case(sj.LSTM(HIDDEN))
    found = jax.jit(rtrl(loss_fn, window))(*case)
    assert_close(found, truth(loss_fn, *case))


def test_influence_continues_from_call_to_call(x64):
    """An endless stream, a part at a time: the gradients of the parts sum to that of the whole."""
    loss_fn, (params, carry, batch) = loss_of(ELMAN), make_case(ELMAN)
    run = jax.jit(sj.gradients.rtrl(loss_fn))
    state, total = sj.gradients.init_rtrl_state(params, carry), 0
    for part in split(batch):
        (_, state), grads = run(params, state, part)
        total = total + flat(grads)
    (_, after), expected = truth(loss_fn, params, carry, batch)
    np.testing.assert_allclose(total, flat(expected), rtol=1e-10)
    assert_close(state.carry, after)
    whole = jax.jacrev(lambda p: loss_fn(p, carry, batch, None)[1])(params)
    rows = [np.reshape(leaf, (BATCH * HIDDEN, -1)) for leaf in jax.tree.leaves(whole)]
    np.testing.assert_allclose(state.influence, np.concatenate(rows, axis=1), atol=1e-10)


def test_leaves_without_derivatives_travel_in_the_carry(x64):
    """Streams of noise and counters are carried, and have no influence."""
    cell = sj.Zoneout(ELMAN, 0.5)
    loss_fn, (params, _, batch) = loss_of(cell), make_case(ELMAN)
    carry = cell.initial_carry(params["cell"], BATCH, key=jax.random.key(3))
    expected = truth(loss_fn, params, carry, batch)
    found = jax.jit(rtrl(loss_fn, 3))(params, carry, batch)
    assert_close(found[1], expected[1])
    exact = sj.gradients.artbp(loss_fn, 3, 0.0)
    assert_close(jax.jit(exact)(params, carry, batch, jax.random.key(0))[1], expected[1])
    plain = functools.partial(jax.tree.leaves, is_leaf=lambda a: a is None)
    assert len(plain(found[0][1])) == len(plain(carry))


def test_an_online_learner_follows_the_exact_gradient_where_truncation_runs_away():
    def learn(value_and_grad, start):
        @jax.jit
        def run(theta, carry):
            def update(state, _):
                theta, carry = state
                (_, carry), grad = value_and_grad(theta, carry, jnp.zeros((1, 4)))
                return (theta - 0.001 * grad, carry), theta

            return jax.lax.scan(update, (theta, carry), None, length=1500)[1]

        return np.asarray(run(jnp.float32(0.1), start))

    zeros = jnp.zeros((1, PLUS + MINUS))
    goal = 1 / (2 * (PLUS - MINUS))
    state = sj.gradients.init_rtrl_state(jnp.float32(0.1), zeros)
    exact = learn(sj.gradients.rtrl(balancing), state)
    np.testing.assert_allclose(exact[-1], goal, atol=0.01)
    truncated = learn(sj.truncated_value_and_grad(balancing, 4), zeros)
    assert not abs(truncated[-1] - goal) < 0.2


def test_a_state_of_something_else_is_refused():
    params, carry, batch = make_case(ELMAN)
    run = sj.gradients.rtrl(loss_of(ELMAN))
    remedy = r"Make it with init_rtrl_state\(params, carry\)\."
    with pytest.raises(ValueError, match=rf"state is \w+; expected RTRLState\. {remedy}"):
        run(params, carry, batch)
    smaller = sj.gradients.init_rtrl_state({"w_o": params["w_o"]}, carry)
    with pytest.raises(ValueError, match=rf"\(4, 2\); expected \[N, P\] = \(4, 12\).*{remedy}"):
        run(params, smaller, batch)
