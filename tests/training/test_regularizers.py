"""Weight-drop, activation and temporal regularisation: each number against a loop."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj

KEY = jax.random.key(3)
LSTM = sj.LSTM(8).init(jax.random.key(0), input_size=2)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("rate", [0, 0.0, np.float32(0), jnp.float32(0)])
def test_rate_0_is_the_identity(rate):
    assert_same(sj.training.drop_weights(LSTM, KEY, rate), LSTM)


def test_kept_weights_are_scaled_and_the_others_are_0():
    dropped = sj.training.drop_weights(LSTM, KEY, rate=0.3)
    kept = np.array(dropped.w_h) != 0
    np.testing.assert_allclose(dropped.w_h, np.where(kept, LSTM.w_h / 0.7, 0), rtol=1e-6)
    assert_same((dropped.w_x, dropped.b), (LSTM.w_x, LSTM.b))
    assert abs(kept.mean() - 0.7) < 5 * np.sqrt(0.3 * 0.7 / kept.size)


def test_a_draw_is_unbiased_in_value_and_gradient():
    """E[m ⊙ w / (1 - rate)] = w; its derivative is m / (1 - rate), of mean 1."""

    def value_and_slope(key):
        return jax.vjp(lambda w: sj.training.drop_weights({"w_h": w}, key, 0.25)["w_h"], LSTM.w_h)

    def one(key):
        value, back = value_and_slope(key)
        return value, back(jnp.ones_like(value))[0]

    values, slopes = jax.jit(jax.vmap(one))(jax.random.split(KEY, 2000))
    error = np.sqrt(0.25 / 0.75 / 2000)  # of the mean of m / 0.75
    assert np.max(np.abs(values.mean(0) / LSTM.w_h - 1)) < 5 * error
    assert np.max(np.abs(slopes.mean(0) - 1)) < 5 * error
    np.testing.assert_allclose(values, slopes * LSTM.w_h, rtol=1e-6)


def test_the_draw_depends_on_the_key_and_the_leaf_alone():
    same = sj.training.drop_weights((LSTM, LSTM, {"other": LSTM}), KEY, 0.5)
    first, second, third = same[0].w_h, same[1].w_h, same[2]["other"].w_h
    assert (first != second).any() and (second != third).any()
    assert_same(sj.training.drop_weights((LSTM, LSTM, {"other": LSTM}), KEY, 0.5), same)
    assert_same(jax.jit(sj.training.drop_weights)((LSTM,), KEY, 0.5)[0].w_h, first)
    assert (sj.training.drop_weights(LSTM, jax.random.key(4), 0.5).w_h != first).any()


def test_any_tree_of_params_and_any_names():
    cell = sj.Stack((sj.Bidirectional(sj.GRU(6)), sj.Dropout(0.5), sj.Residual(sj.Elman(12))))
    params = {"cell": cell.init(KEY, input_size=2), "out": jnp.ones((12, 3))}
    dropped = sj.training.drop_weights(params, KEY, 0.5)
    (both, _, elman), (both_was, _, elman_was) = dropped["cell"], params["cell"]
    pairs = zip((*both, elman), (*both_was, elman_was), strict=True)
    for new, old in pairs:
        assert (new.w_h == 0).any() and (new.w_h != 0).any()
        assert_same(new._replace(w_h=old.w_h), old)
    assert_same(dropped["out"], params["out"])
    other = sj.training.drop_weights(params, KEY, 0.5, names=("w_x", "out"))
    assert (other["out"] == 0).any() and (other["cell"][0].forward.w_x == 0).any()
    assert_same(other["cell"][2].w_h, elman_was.w_h)
    assert_same(
        sj.training.drop_weights(LSTM, KEY, 0.5, names="w_h"),
        sj.training.drop_weights(LSTM, KEY, 0.5),
    )


def test_half_precision_stays_and_is_scaled_in_float32():
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), LSTM)
    dropped = sj.training.drop_weights(half, KEY, jnp.float32(0.3))
    assert dropped.w_h.dtype == jnp.bfloat16
    exact = jnp.where(dropped.w_h != 0, half.w_h.astype(jnp.float32) / 0.7, 0)
    assert_same(dropped.w_h, exact.astype(jnp.bfloat16))


RNG = np.random.default_rng(0)
YS = RNG.normal(size=(4, 6, 3)).astype(np.float32)
MASK, RESET = RNG.random((4, 6)) < 0.7, RNG.random((4, 6)) < 0.3
DIRTY = np.where(MASK[..., None], YS, np.nan)


def activation_loop(ys, mask):
    squares = [y**2 for row, real in zip(ys, mask, strict=True) for y in row[real].ravel()]
    return np.mean(squares)


def temporal_loop(ys, mask, reset):
    squares = []
    for row, real, begun in zip(ys, mask, reset, strict=True):
        for t in range(1, len(row)):
            if real[t] and real[t - 1] and not begun[t]:
                squares.extend((row[t] - row[t - 1]) ** 2)
    return np.mean(squares)


ALL, NONE = np.ones((4, 6), bool), np.zeros((4, 6), bool)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("reset", [None, RESET])
def test_penalties_are_means_over_what_is_real(mask, reset):
    ys = YS if mask is None else DIRTY
    real, begun = (ALL if mask is None else mask), (NONE if reset is None else reset)
    np.testing.assert_allclose(
        sj.training.activation_penalty(ys, mask), activation_loop(YS, real), rtol=1e-6
    )
    np.testing.assert_allclose(
        sj.training.temporal_penalty(ys, mask, reset), temporal_loop(YS, real, begun), rtol=1e-6
    )


def test_gradients_are_those_of_the_formula_and_0_in_padding():
    found = jax.grad(sj.training.activation_penalty)(DIRTY, MASK)
    expected = np.where(MASK[..., None], 2 * YS / (3 * MASK.sum()), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = np.array(jax.grad(sj.training.temporal_penalty)(DIRTY, MASK, RESET))
    expected = np.zeros_like(YS)
    pairs = MASK[:, 1:] & MASK[:, :-1] & ~RESET[:, 1:]
    change = np.where(pairs[..., None], YS[:, 1:] - YS[:, :-1], 0) * 2 / (3 * pairs.sum())
    expected[:, 1:] += change
    expected[:, :-1] -= change
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("ys", [YS[:, :1], YS[:, :0], YS[:0], YS])
def test_nothing_real_is_0_with_gradient_0(ys):
    mask = np.zeros(ys.shape[:2], bool)
    assert (
        sj.training.activation_penalty(ys, mask) == 0
        and sj.training.temporal_penalty(ys, mask) == 0
    )
    assert not np.any(jax.grad(sj.training.activation_penalty)(ys, mask))
    assert not np.any(jax.grad(sj.training.temporal_penalty)(ys, mask))
    if ys.shape[1] == 1:
        assert sj.training.temporal_penalty(ys) == 0 and sj.training.activation_penalty(ys) > 0


def test_half_precision_is_summed_in_float32():
    ys = jnp.full((1, 4096, 1), 1.0, jnp.bfloat16)
    assert (
        sj.training.activation_penalty(ys).dtype == jnp.float32
        and sj.training.activation_penalty(ys) == 1
    )
    steps = jnp.arange(4096).astype(jnp.bfloat16)[None, :, None]
    exact = np.mean(np.square(np.diff(np.asarray(steps.astype(jnp.float32)), axis=1)))
    np.testing.assert_allclose(sj.training.temporal_penalty(steps), exact, rtol=1e-6)


def test_images_are_outputs_too():
    film = jnp.asarray(RNG.normal(size=(2, 3, 4, 5, 2)), jnp.float32)
    np.testing.assert_allclose(
        sj.training.activation_penalty(film), np.mean(np.square(film)), rtol=1e-6
    )
    np.testing.assert_allclose(
        sj.training.temporal_penalty(film), np.mean(np.square(np.diff(film, axis=1))), rtol=1e-6
    )


def test_pieces_compose_in_one_train_step():
    """Weight-drop, AR, TAR and the triggered average around a step that knows of none of them."""
    cell, average = sj.Stack((sj.LSTM(4), sj.Dropout(0.2))), sj.training.TriggeredAverage(0)
    xs = jnp.asarray(RNG.normal(size=(2, 5, 3)), jnp.float32)

    def loss_fn(params, carry, batch, key):
        dropped = sj.training.drop_weights(params, key, 0.5)
        _, ys = sj.unroll(cell, dropped, batch, key=jax.random.fold_in(key, 1))
        penalty = 2 * sj.training.activation_penalty(ys) + sj.training.temporal_penalty(ys)
        return jnp.mean((ys.sum(-1) - 1) ** 2) + penalty, carry

    params, optimizer = cell.init(KEY, input_size=3), optax.sgd(0.1)
    train_step = sj.make_train_step(loss_fn, optimizer, donate=False)
    state, averaged = sj.init_train_state(params, optimizer, key=KEY), average.init(params)
    seen = []
    for n in range(4):
        state, metrics = train_step(state, xs)
        averaged = average.observe(average.update(averaged, state.params), float(n))
        seen.append(state.params[0].w_h)
        expected = loss_fn(params, (), xs, jax.random.fold_in(KEY, n))[0]
        np.testing.assert_allclose(metrics.loss, expected, rtol=1e-5)
        params = state.params
    np.testing.assert_allclose(average.params(averaged)[0].w_h, np.mean(seen[1:], 0), rtol=1e-5)


SEVEN: Any = 7
BAD = {
    "rate 1": (
        lambda: sj.training.drop_weights(LSTM, KEY, 1.0),
        "rate is 1.0; expected a probability",
    ),
    "rate below 0": (lambda: sj.training.drop_weights(LSTM, KEY, -0.1), "rate is -0.1; expected"),
    "rate NaN": (
        lambda: sj.training.drop_weights(LSTM, KEY, jnp.float32("nan")),
        "rate is nan; expected",
    ),
    "key": (lambda: sj.training.drop_weights(LSTM, SEVEN, 0.5), "key is 7; expected a typed key"),
    "keys": (
        lambda: sj.training.drop_weights(LSTM, jax.random.split(KEY), 0.5),
        "expected one key",
    ),
    "name": (
        lambda: sj.training.drop_weights(LSTM, KEY, 0.5, names=("w_h", "weight_hh")),
        "no leaf of params is called 'weight_hh'; expected some of b, w_h, w_x.",
    ),
    "no names": (lambda: sj.training.drop_weights(LSTM, KEY, 0.5, names=()), "names is ()"),
    "integers": (
        lambda: sj.training.drop_weights({"w_h": jnp.arange(3)}, KEY, 0.5),
        "params['w_h'] is Array([0, 1, 2], dtype=int32); expected floats",
    ),
    "integer ys": (
        lambda: sj.training.activation_penalty(jnp.ones((2, 3), int)),
        "ys is int32[2, 3]",
    ),
    "ys of one axis": (
        lambda: sj.training.temporal_penalty(jnp.ones(3)),
        "expected floats [B, T, ...]",
    ),
    "mask": (
        lambda: sj.training.activation_penalty(YS, ALL.T),
        "mask has shape (6, 4); expected [B, T]",
    ),
    "reset": (
        lambda: sj.training.temporal_penalty(YS, reset=ALL.astype(int)),
        "reset has dtype int",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_say_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)
