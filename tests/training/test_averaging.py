"""The triggered average against the paper's algorithm, written as a loop over lists."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj


def algorithm_1(weights, losses, n, interval):
    """Merity, Keskar and Socher 2018, algorithm 1, on the weights that the steps gave."""
    T, logs = None, []
    for k in range(len(weights)):
        if k % interval == 0 and T is None:
            v, t = losses[k // interval], len(logs)
            if t > n and v > min(logs[: t - n]):
                T = k
            logs.append(v)
    return weights[-1] if T is None else np.mean(weights[T:], axis=0), T


def by_spec(average, weights, losses, interval):
    """The same by the spec, in one scan over steps."""

    def step(state, inputs):
        k, w, loss = inputs
        state = average.update(state, w)
        seen = average.observe(state, loss)
        now = k % interval == 0
        return jax.tree.map(lambda a, b: jnp.where(now, a, b), seen, state), None

    steps = jnp.arange(len(weights))
    state = average.init(weights[0])
    state, _ = jax.lax.scan(step, state, (steps, weights, losses[steps // interval]))
    return average.params(state), state


run = jax.jit(by_spec, static_argnums=0)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(24, 3)).astype(np.float32)
FALLING = np.linspace(3, 1, 24).astype(np.float32)
NOISY = (FALLING + RNG.normal(size=24)).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_average_is_that_of_the_paper(n):
    """For losses with every kind of turn, two intervals and three patiences."""
    triggers = set()
    for losses in (FALLING, NOISY, NOISY[::-1].copy(), np.full(24, 2, np.float32)):
        for interval in (1, 3):
            expected, T = algorithm_1(WEIGHTS, losses, n, interval)
            found, state = run(sj.training.TriggeredAverage(n), WEIGHTS, losses, interval)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
            assert bool(state.triggered) == (T is not None)
            assert int(state.averaged) == (1 if T is None else len(WEIGHTS) - T)
            triggers.add(T)
    assert None in triggers and len(triggers) > 2


def test_before_the_trigger_params_are_the_latest_to_the_bit():
    _, state = run(sj.training.TriggeredAverage(2), WEIGHTS, FALLING, 1)
    np.testing.assert_array_equal(state.mean, WEIGHTS[-1])


def observe_all(average, losses):
    state = average.init(jnp.float32(0))
    fired = []
    for loss in losses:
        state = average.observe(state, loss)
        fired.append(bool(state.triggered))
    return fired


def test_the_last_n_losses_are_not_compared_with():
    assert observe_all(sj.training.TriggeredAverage(2), [3, 1, 2, 2.5, 1.5]) == [False] * 4 + [True]
    assert observe_all(sj.training.TriggeredAverage(1), [3, 1, 2, 1.5]) == [
        False,
        False,
        False,
        True,
    ]
    assert observe_all(sj.training.TriggeredAverage(0), [3, 1, 2]) == [False, False, True]
    assert (
        observe_all(sj.training.TriggeredAverage(0), [1, 1, 1]) == [False] * 3
    )  # above, not as high
    assert observe_all(sj.training.TriggeredAverage(0), [1, 2, 0]) == [
        False,
        True,
        True,
    ]  # for good


def test_a_loss_of_nan_counts_as_inf():
    nan = float("nan")
    assert observe_all(sj.training.TriggeredAverage(0), [1, nan]) == [False, True]
    assert observe_all(sj.training.TriggeredAverage(0), [nan, nan, 1, 2]) == [False] * 3 + [True]
    assert observe_all(sj.training.TriggeredAverage(0), [1, nan]) == observe_all(
        sj.training.TriggeredAverage(0), [1, float("inf")]
    )


def test_half_precision_is_averaged_in_float32_and_other_leaves_are_the_latest():
    average = sj.training.TriggeredAverage(0)
    make = lambda i: {
        "w": jnp.full(2, i, jnp.bfloat16),
        "n": jnp.int32(i),
        "key": jax.random.key(i),
    }
    state = average.observe(average.observe(average.init(make(0)), 1.0), 2.0)
    step = jax.jit(average.update)
    for i in range(1, 257):
        state = step(state, make(i))
    found = average.params(state)
    assert found["w"].dtype == jnp.float32 and found["n"] == 256
    np.testing.assert_allclose(found["w"], 128, rtol=1e-5)  # in bfloat16 it would stand still
    assert (jax.random.key_data(found["key"]) == jax.random.key_data(jax.random.key(256))).all()


def test_average_of_noisy_steps_is_nearer_to_the_minimum():
    """SGD on w²/2 with noise: at a rate of 1/2 the variance of w is 1/3, of n averaged ~ 1/n."""
    noise = jax.random.normal(jax.random.key(0), (2000,))
    average = sj.training.TriggeredAverage(0)

    def step(carry, e):
        w, state = carry
        w = w - 0.5 * (w - e)
        return (w, average.update(state, w)), w

    state = average.observe(average.observe(average.init(jnp.float32(0)), 0.0), 1.0)
    (_, state), path = jax.jit(lambda: jax.lax.scan(step, (jnp.float32(0), state), noise))()
    np.testing.assert_allclose(np.var(path), 1 / 3, rtol=0.1)
    np.testing.assert_allclose(average.params(state), np.append(path, 0).mean(), rtol=1e-4)
    assert average.params(state) ** 2 < 25 / 2000


FRACTION: Any = 1.5
STATE = sj.training.TriggeredAverage().init({"w": jnp.zeros(2)})
BAD = {
    "patience": (lambda: sj.training.TriggeredAverage(-1), "patience is -1; expected an integer"),
    "fraction": (lambda: sj.training.TriggeredAverage(FRACTION), "patience is 1.5; expected"),
    "bool": (lambda: sj.training.TriggeredAverage(False), "patience is False; expected"),
    "structure": (
        lambda: sj.training.TriggeredAverage().update(STATE, {"v": jnp.zeros(2)}),
        "as those that `init` was given",
    ),
    "shape": (
        lambda: sj.training.TriggeredAverage().update(STATE, {"w": jnp.zeros(3)}),
        "params['w'] is float32[3]; expected float32[2]",
    ),
    "loss": (
        lambda: sj.training.TriggeredAverage().observe(STATE, jnp.ones(3)),
        "loss has shape (3,); expected one number",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_say_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)


THREE: Any = np.int64(3)


def test_spec_is_a_value():
    assert sj.training.TriggeredAverage(3) == sj.training.TriggeredAverage(THREE)
    assert eval(
        repr(sj.training.TriggeredAverage(3)), dict(vars(sj.training))
    ) == sj.training.TriggeredAverage(3)


def test_it_stands_beside_a_step_that_donates_its_params():
    loss_fn = lambda w, carry, x, key: (jnp.sum((w["w"] - x) ** 2), carry)
    optimizer = optax.sgd(0.5)
    train_step = sj.make_train_step(loss_fn, optimizer)
    params = {"w": jnp.zeros(2)}
    state = sj.init_train_state(params, optimizer, key=jax.random.key(0))
    average = sj.training.TriggeredAverage()
    averaged = average.init(state.params)
    for x in (1.0, 3.0):
        state, _ = train_step(state, x)
        averaged = average.update(averaged, state.params)
    np.testing.assert_array_equal(average.params(averaged)["w"], [3.0, 3.0])
