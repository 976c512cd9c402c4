"""Dynamic evaluation against a loop over windows, its update rule against the paper's formulas."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj
from seqjax.training import (
    decay_towards,
    dynamic_evaluation,
    mean_squared_gradients,
    scale_by_mean_squares,
)

B, T, V, N = 2, 4, 5, 6
CELL, KEY = sj.GRU(3), jax.random.key(0)
PARAMS = {
    "cell": CELL.init(KEY, V),
    "out": jax.random.normal(jax.random.key(1), (3, V)),
}
TOKENS = np.random.default_rng(0).integers(0, V, (N, B, T + 1))
WINDOWS = (TOKENS[:, :, :-1], TOKENS[:, :, 1:])
START = CELL.initial_carry(PARAMS["cell"], B)


def loss_fn(params, carry, window, key):
    inputs, targets = window
    xs = jax.nn.one_hot(inputs, V)
    carry, ys = sj.unroll(CELL, params["cell"], xs, carry=carry)
    return sj.cross_entropy(ys @ params["out"], targets), carry


def evaluate(rate, windows=WINDOWS):
    return dynamic_evaluation(loss_fn, optax.sgd(rate), PARAMS, START, windows)


evaluate = jax.jit(evaluate)


@jax.jit
def gradient(params, carry, window):
    return jax.value_and_grad(loss_fn, has_aux=True)(params, carry, window, None)


def loop(rate, windows=WINDOWS):
    """Score, then learn, window by window."""
    params, carry, losses = PARAMS, START, []
    for window in zip(*windows, strict=True):
        (loss, carry), grads = gradient(params, carry, window)
        losses.append(loss)
        params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
    return np.array(losses), params, carry


def test_it_is_scoring_and_learning_in_turn():
    found, (losses, params, carry) = evaluate(0.3), loop(0.3)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found.params, params)
    np.testing.assert_allclose(found.carry, carry, atol=1e-5)
    assert found.skipped == 0 and len(set(losses.round(3).tolist())) == N


def test_rate_0_is_static_evaluation_to_the_bit():
    found = evaluate(0.0)

    @jax.jit
    def static(windows):
        def one(carry, window):
            (loss, carry), _ = jax.value_and_grad(loss_fn, has_aux=True)(
                PARAMS, carry, window, None
            )
            return carry, loss

        return jax.lax.scan(one, START, windows)

    carry, losses = static(WINDOWS)
    np.testing.assert_array_equal(found.losses, losses)
    np.testing.assert_array_equal(found.carry, carry)
    jax.tree.map(np.testing.assert_array_equal, found.params, PARAMS)


def test_no_loss_depends_on_later_targets_nor_its_params_on_its_own():
    """Other targets from window n on: what was scored before is the same, and so is θₙ."""
    n = 3
    inputs, targets = WINDOWS
    changed = np.where(np.arange(N)[:, None, None] >= n, (targets + 1) % V, targets)
    first, second = evaluate(0.3), evaluate(0.3, (inputs, changed))
    np.testing.assert_array_equal(first.losses[:n], second.losses[:n])
    assert (first.losses[n:] != second.losses[n:]).all()
    # Scored on its changed targets by the params of the unchanged past.
    (losses, params, carry) = loop(0.3, (inputs[:n], targets[:n]))
    (expected, _), _ = gradient(params, carry, (inputs[n], changed[n]))
    np.testing.assert_allclose(second.losses[n], expected, rtol=1e-5)


def test_it_learns_a_text_that_repeats():
    windows = jax.tree.map(lambda a: np.repeat(a[:1], 12, axis=0), WINDOWS)
    static, adapted = evaluate(0.0, windows), evaluate(0.5, windows)
    assert adapted.losses[-1] < static.losses[-1] - 0.2
    assert adapted.losses[0] == static.losses[0]


def test_keys_are_folded_in_and_windows_counted():
    loss = lambda w, carry, x, key: (jax.random.uniform(key) + 0 * w, carry)
    found = dynamic_evaluation(loss, optax.sgd(0.1), jnp.float32(1), (), jnp.zeros(3), key=KEY)
    expected = [jax.random.uniform(jax.random.fold_in(KEY, n)) for n in range(3)]
    np.testing.assert_array_equal(found.losses, expected)


def test_a_window_that_is_not_finite_changes_no_params():
    loss = lambda w, carry, x, key: ((w - x) ** 2, carry + 1)
    text = jnp.array([2.0, jnp.nan, jnp.inf, 2.0])
    for optimizer in (optax.sgd(0.25), optax.sgd(0.0), optax.adam(0.1)):
        found = dynamic_evaluation(loss, optimizer, jnp.float32(0), jnp.int32(0), text)
        alone = dynamic_evaluation(loss, optimizer, jnp.float32(0), jnp.int32(0), text[::3])
        assert found.skipped == 2 and alone.skipped == 0 and found.carry == 4
        np.testing.assert_array_equal(found.losses[jnp.array([0, 3])], alone.losses)
        assert found.params == alone.params
        assert not np.isfinite(found.losses[1]) and not np.isfinite(found.losses[2])


def test_the_update_rule_is_the_papers():
    """θ - η g / (√MS + ε) + min(λ √MS / mean √MS, 1) (θ_g - θ), two windows by hand."""
    squares = {"a": np.array([4.0, 0.25, 100.0], np.float32), "b": np.array(1.0, np.float32)}
    anchor = {"a": jnp.array([1.0, 2.0, 3.0]), "b": jnp.array(-1.0)}
    rate, decay, epsilon = 0.1, 0.4, 0.5
    loss = lambda p, carry, x, key: (jnp.sum(p["a"] ** 2) * x + p["b"] * x, carry)
    optimizer = optax.chain(
        scale_by_mean_squares(squares, epsilon),
        optax.scale_by_learning_rate(rate),
        decay_towards(anchor, decay, squares),
    )
    found = dynamic_evaluation(loss, optimizer, anchor, (), jnp.array([1.0, -2.0]))
    a, b = np.array([1.0, 2.0, 3.0]), -1.0
    roots = np.array([2.0, 0.5, 10.0, 1.0])
    share = np.minimum(decay * roots / roots.mean(), 1)
    assert share[2] == 1 and share[0] < 1
    for x in (1.0, -2.0):
        step_a = -rate * 2 * a * x / (roots[:3] + epsilon) + share[:3] * ([1, 2, 3] - a)
        step_b = -rate * x / (roots[3] + epsilon) + share[3] * (-1 - b)
        a, b = a + step_a, b + step_b
    np.testing.assert_allclose(found.params["a"], a, rtol=1e-6)
    np.testing.assert_allclose(found.params["b"], b, rtol=1e-6)


def first(results) -> Any:
    return results[0]


def test_decay_alone_goes_a_share_of_the_way_back():
    anchor, params = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, 0.0])}
    updates: Any = {"w": jnp.array([0.5, 0.5])}
    for rate in (0.0, 0.25, 1.0):
        pull = decay_towards(anchor, rate)
        found = first(pull.update(updates, pull.init(params), params))["w"]
        np.testing.assert_allclose(found, 0.5 + rate * np.array([-2.0, 2.0]), rtol=1e-6)
    still = decay_towards(anchor, 0.5, jax.tree.map(jnp.zeros_like, anchor))
    np.testing.assert_array_equal(first(still.update(updates, (), params))["w"], updates["w"])


def test_mean_squared_gradients_are_those_of_a_loop():
    carry, total = START, jax.tree.map(jnp.zeros_like, PARAMS)
    for window in zip(*WINDOWS, strict=True):
        (_, carry), grads = gradient(PARAMS, carry, window)
        total = jax.tree.map(lambda a, g: a + g**2, total, grads)
    found = jax.jit(lambda w: mean_squared_gradients(loss_fn, PARAMS, START, w))(WINDOWS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b / N, rtol=1e-4), found, total)


def test_half_precision_keeps_its_dtype():
    half = jnp.full(3, 1.0, jnp.bfloat16)
    loss = lambda w, carry, x, key: (jnp.sum(w.astype(jnp.float32)) * x, carry)
    squares = mean_squared_gradients(loss, half, (), jnp.array([1.0, 3.0]))
    assert squares.dtype == jnp.bfloat16 and (squares == 5).all()
    chain = optax.chain(scale_by_mean_squares(squares), decay_towards(half, 0.5, squares))
    found = dynamic_evaluation(loss, chain, half, (), jnp.array([1.0, 3.0]))
    assert found.params.dtype == jnp.bfloat16


quadratic = lambda w, carry, x, key: ((w - x) ** 2, carry)
ONE = jnp.float32(1)
NUMBER: Any = 0.1
OLD_KEY = jax.random.PRNGKey(0)
BAD = {
    "optimizer": (
        lambda: dynamic_evaluation(quadratic, NUMBER, ONE, (), jnp.ones(3)),
        "optimizer is 0.1; expected an optax.GradientTransformation",
    ),
    "windows": (
        lambda: dynamic_evaluation(quadratic, optax.sgd(1), ONE, (), (jnp.ones(3), jnp.ones(2))),
        "windows has leaves of shapes (3,), (2,); expected [N, ...] with one N.",
    ),
    "no windows": (lambda: mean_squared_gradients(quadratic, ONE, (), ()), "expected [N, ...]"),
    "one number": (
        lambda: dynamic_evaluation(quadratic, optax.sgd(1), ONE, (), jnp.float32(1)),
        "windows has leaves of shapes (); expected [N, ...]",
    ),
    "loss": (
        lambda: dynamic_evaluation(quadratic, optax.sgd(1), jnp.ones(2), (), jnp.ones(3)),
        "loss_fn returned a loss of shape (2,)",
    ),
    "carry": (
        lambda: dynamic_evaluation(lambda w, c, x, k: (w, x), optax.sgd(1), ONE, (), jnp.ones(3)),
        "loss_fn was given a carry of ()",
    ),
    "key": (
        lambda: dynamic_evaluation(quadratic, optax.sgd(1), ONE, (), jnp.ones(3), key=OLD_KEY),
        "key is an array of uint32 with shape (2,); expected a typed key.",
    ),
    "key of squares": (
        lambda: mean_squared_gradients(quadratic, ONE, (), jnp.ones(3), key=OLD_KEY),
        "key is an array of uint32 with shape (2,); expected a typed key.",
    ),
    "integers": (
        lambda: dynamic_evaluation(quadratic, optax.sgd(1), jnp.int32(1), (), jnp.ones(3)),
        "params is int32; expected floats only.",
    ),
    "epsilon": (lambda: scale_by_mean_squares(ONE, 0.0), "epsilon is 0.0; expected a positive"),
    "squares": (lambda: scale_by_mean_squares({"w": -ONE}), "mean_squares['w'] holds numbers"),
    "squares NaN": (lambda: decay_towards(ONE, 0.1, ONE * jnp.nan), "mean_squares holds numbers"),
    "rate": (lambda: decay_towards(ONE, 1.5), "rate is 1.5; expected a share of the way back"),
    "rate below 0": (lambda: decay_towards(ONE, -0.1), "rate is -0.1; expected a share"),
    "params": (lambda: decay_towards(ONE, 0.1).update(ONE, ()), "params is None; expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_say_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)
