"""The convolutional LSTM against loops over places, and what convolutions promise."""

import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def drawn(cell, input_size, seed=0):
    """Params with every number different from its default, in NumPy."""
    random = np.random.default_rng(seed)
    params = cell.init(jax.random.key(0), input_size)
    return jax.tree.map(lambda a: random.normal(size=a.shape) * 0.5, params)


def correlate(x, w, stride=1, dilation=1, padding="same"):
    """x [*S, C] by w [*K, C, M], place by place; zeros outside lie half before, half after."""
    reach = [(k - 1) * dilation for k in w.shape[:-2]]
    if padding == "same":
        shape = [-(-size // stride) for size in x.shape[:-1]]
        axes = zip(shape, reach, x.shape[:-1], strict=True)
        before = [max((n - 1) * stride + r + 1 - size, 0) // 2 for n, r, size in axes]
    else:
        shape = [(s - r - 1) // stride + 1 for s, r in zip(x.shape[:-1], reach, strict=True)]
        before = [0] * len(shape)
    result = np.zeros((*shape, w.shape[-1]))
    for place in itertools.product(*map(range, shape)):
        for offset in itertools.product(*map(range, w.shape[:-2])):
            parts = zip(place, offset, before, strict=True)
            source = tuple(p * stride + o * dilation - pad for p, o, pad in parts)
            if all(0 <= s < n for s, n in zip(source, x.shape[:-1], strict=True)):
                result[place] += x[source] @ w[offset]
    return result


@pytest.mark.parametrize(
    ("kernel_size", "shape", "peepholes"),
    [(3, (5,), True), ((3, 2), (3, 4), False), ((3, 1, 2), (2, 2, 3), True)],
)
def test_equals_a_numpy_loop(kernel_size, shape, peepholes, x64):
    cell = sj.cells.ConvLSTM(2, kernel_size=kernel_size, shape=shape, peepholes=peepholes)
    p = drawn(cell, 3)
    peep_i, peep_f, peep_o = (p.p_i, p.p_f, p.p_o) if peepholes else (0, 0, 0)
    xs = np.random.default_rng(1).normal(size=(2, 3, *shape, 3))
    carry, ys = sj.unroll(cell, jax.tree.map(jnp.asarray, p), jnp.asarray(xs))
    for row in range(2):
        h = c = np.zeros((*shape, 2))
        for t in range(3):
            gates = correlate(xs[row, t], p.w_x) + correlate(h, p.w_h) + p.b
            i, f, g, o = np.split(gates, 4, axis=-1)
            c = sigmoid(f + peep_f * c) * c + sigmoid(i + peep_i * c) * np.tanh(g)
            h = sigmoid(o + peep_o * c) * np.tanh(c)
            np.testing.assert_allclose(ys[row, t], h, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(carry.c[row], c, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_the_convolution_of_the_input_strides_and_dilates(stride, dilation, padding, x64):
    """In NumPy; that of the state keeps its shape, with stride 1, as in Keras."""
    how = {"stride": stride, "dilation": dilation, "padding": padding}
    cell = sj.cells.ConvLSTM(
        2, kernel_size=(3, 2), shape=(6, 7), strides=stride, dilation=dilation, padding=padding
    )
    p = drawn(cell, 3)
    xs = np.random.default_rng(1).normal(size=(1, 3, 6, 7, 3))
    carry, ys = sj.unroll(cell, jax.tree.map(jnp.asarray, p), jnp.asarray(xs))
    h = c = np.zeros((*cell.state_shape, 2))
    for t in range(3):
        gates = correlate(xs[0, t], p.w_x, **how) + correlate(h, p.w_h) + p.b
        i, f, g, o = np.split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(ys[0, t], h, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(carry.c[0], c, rtol=1e-11, atol=1e-13)


def test_a_smaller_state_in_a_stack_and_with_peepholes():
    first = sj.cells.ConvLSTM(2, kernel_size=3, shape=(8, 6), strides=2, peepholes=True)
    second = sj.cells.ConvLSTM(4, kernel_size=3, shape=first.state_shape, padding="valid")
    cell = sj.Stack((first, second))
    params = cell.init(jax.random.key(0), 1)
    assert params[0].p_i.shape == (4, 3, 2)
    _, ys = sj.unroll(cell, params, jnp.ones((2, 3, 8, 6, 1)))
    assert ys.shape == (2, 3, 2, 1, 4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"strides": 0}, r"strides\[0\] is 0; expected an integer of at least 1"),
        ({"dilation": (1, 2)}, r"dilation is \(1, 2\) but shape is \(5,\); expected one number"),
        ({"padding": "full"}, "padding is 'full'; expected one of 'same', 'valid'"),
        ({"padding": "valid", "dilation": 3}, r"shape is \(5,\), on which a kernel of \(3,\) with"),
    ],
    ids=["strides", "dilation", "padding", "place"],
)
def test_windows_that_do_not_fit(setting, message):
    with pytest.raises(ValueError, match=message):
        sj.cells.ConvLSTM(2, kernel_size=3, shape=(5,), **setting)


def test_kernels_of_one_place_are_an_lstm_at_each():
    cell = sj.cells.ConvLSTM(3, kernel_size=1, shape=(2, 2))
    params = cell.init(jax.random.key(0), 2)
    plain = sj.cells.LSTMParams(params.w_x[0, 0], params.w_h[0, 0], params.b)
    xs = jax.random.normal(jax.random.key(1), (2, 5, 2, 2, 2))
    ys = sj.unroll(cell, params, xs)[1]
    for place in itertools.product(range(2), range(2)):
        at = (slice(None), slice(None), *place)
        np.testing.assert_allclose(ys[at], sj.unroll(sj.LSTM(3), plain, xs[at])[1], rtol=1e-5)


def test_a_moved_image_moves_the_output_and_the_past_spreads_a_place_a_step():
    cell = sj.cells.ConvLSTM(2, kernel_size=3, shape=(9,), forget_bias=0.0)
    params = cell.init(jax.random.key(0), 1)
    point = jnp.zeros((2, 3, 9, 1)).at[0, 0, 4].set(1.0).at[1, 0, 3].set(1.0)
    ys = np.asarray(sj.unroll(cell, params, point)[1])
    np.testing.assert_allclose(ys[0, :, 1:], ys[1, :, :-1], rtol=1e-6, atol=1e-7)
    for t in range(3):
        np.testing.assert_array_equal((ys[0, t] != 0).all(-1), np.abs(np.arange(9) - 4) <= t + 1)


def test_params_do_not_depend_on_the_shape():
    small, large = (
        sj.cells.ConvLSTM(2, kernel_size=3, shape=(4, 3)),
        sj.cells.ConvLSTM(2, kernel_size=3, shape=(6, 7)),
    )
    assert replace(small, shape=(6, 7)) == large
    params, others = (cell.init(jax.random.key(0), 1) for cell in (small, large))
    jax.tree.map(np.testing.assert_array_equal, params, others)
    xs = jnp.ones((1, 2, 6, 7, 1))
    assert sj.unroll(large, params, xs)[1].shape == (1, 2, 6, 7, 2)


@pytest.mark.parametrize(("rows", "steps"), [(2, 0), (0, 2)])
def test_no_steps_and_no_rows(rows, steps):
    cell = sj.cells.ConvLSTM(2, kernel_size=3, shape=(4, 3))
    params = cell.init(jax.random.key(0), 1)
    carry, ys = sj.unroll(cell, params, jnp.ones((rows, steps, 4, 3, 1)))
    assert ys.shape == (rows, steps, 4, 3, 2) and carry.c.shape == (rows, 4, 3, 2)


def test_layers_stack_and_add():
    shape = (4, 3)
    cell = sj.Stack(
        (
            sj.cells.ConvLSTM(2, kernel_size=3, shape=shape),
            sj.Residual(sj.cells.ConvLSTM(2, kernel_size=3, shape=shape)),
        )
    )
    params: Any = cell.init(jax.random.key(0), 1)
    assert params[1].w_x.shape == (3, 3, 2, 8)
    xs = jax.random.normal(jax.random.key(1), (2, 3, *shape, 1))
    first = sj.unroll(cell.cells[0], params[0], xs)[1]
    second = sj.unroll(cell.cells[1].cell, params[1], first)[1]
    np.testing.assert_allclose(sj.unroll(cell, params, xs)[1], first + second, rtol=1e-5, atol=1e-6)


def test_every_wrapper_finds_the_width_of_a_cell_of_images():
    conv = sj.cells.ConvLSTM(2, kernel_size=3, shape=(4, 3))
    wrapped = (sj.Zoneout(conv, 0.1), sj.LearnedCarry(conv), sj.Stack((conv,)), sj.Residual(conv))
    for cell in (*wrapped, sj.Bidirectional(conv)):
        stack = sj.Stack((cell, sj.cells.ConvLSTM(1, kernel_size=1, shape=(4, 3))))
        params: Any = jax.eval_shape(lambda key: stack.init(key, 2), jax.random.key(0))  # noqa: B023
        assert params[1].w_x.shape[-2] == (4 if isinstance(cell, sj.Bidirectional) else 2)


def test_specs_hold_one_size_for_each_axis():
    cell = sj.cells.ConvLSTM(2, kernel_size=np.int64(3), shape=[4, np.int32(5)])  # pyright: ignore[reportArgumentType]
    assert cell == sj.cells.ConvLSTM(2, kernel_size=(3, 3), shape=(4, 5)) and hash(cell) == hash(
        replace(cell)
    )
    assert repr(cell.shape) == "(4, 5)" and repr(cell.kernel_size) == "(3, 3)"


def test_init_is_a_plain_lstms_but_for_the_kernel():
    params = sj.cells.ConvLSTM(
        2, kernel_size=(3, 5), shape=(4, 4), forget_bias=0.5, peepholes=True
    ).init(jax.random.key(0), 3)
    assert params.w_x.shape == (3, 5, 3, 8) and params.w_h.shape == (3, 5, 2, 8)
    np.testing.assert_array_equal(params.b, np.repeat([0, 0.5, 0, 0], 2))
    for peephole in (params.p_i, params.p_f, params.p_o):
        assert peephole is not None and peephole.shape == (4, 4, 2) and not peephole.any()
    gate = params.w_h[..., :2].reshape(-1, 2)
    np.testing.assert_allclose(gate.T @ gate, np.eye(2), atol=1e-5)
