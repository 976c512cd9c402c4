"""What makes a network recurrent: one function at every step, order, any length, any batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.zoo import CELLS

import seqjax as sj

ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
}
LSTM = sj.LSTM(4)


def draw(*shape):
    return np.random.default_rng(shape).normal(size=shape)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_elman_equals_a_numpy_loop(activation, use_bias, x64):
    """With a read-out, the network of the textbooks: a = b + W h + U x, h = act(a), o = c + V h."""
    cell = sj.Elman(4, activation=activation, use_bias=use_bias)
    u, w, b = draw(3, 4), draw(4, 4), draw(4) if use_bias else None
    v, c, xs, h = draw(4, 2), draw(2), draw(2, 7, 3), draw(2, 4)
    bias = None if b is None else jnp.asarray(b)
    params = sj.cells.ElmanParams(jnp.asarray(u), jnp.asarray(w), bias)
    final, ys = sj.unroll(cell, params, jnp.asarray(xs), carry=jnp.asarray(h))
    outputs = ys @ v + c
    for t in range(xs.shape[1]):
        h = ACTIVATIONS[activation](xs[:, t] @ u + h @ w + (0 if b is None else b))
        np.testing.assert_allclose(ys[:, t], h, rtol=0, atol=1e-12)
        np.testing.assert_allclose(outputs[:, t], h @ v + c, rtol=0, atol=1e-11)
    np.testing.assert_allclose(final, h, rtol=0, atol=1e-12)


def test_params_do_not_depend_on_the_length():
    params = LSTM.init(jax.random.key(0), 3)
    xs = jnp.asarray(draw(2, 40, 3), jnp.float32)
    shapes = lambda tree: jax.tree.map(lambda a: a.shape, tree)
    _, longest = sj.unroll(LSTM, params, xs)
    for length in (1, 7, 40):
        _, ys = sj.unroll(LSTM, params, xs[:, :length])
        np.testing.assert_allclose(ys, longest[:, :length], rtol=1e-6, atol=1e-6)
        loss = lambda params, xs: jnp.sum(sj.unroll(LSTM, params, xs)[1])
        grads = jax.eval_shape(jax.grad(loss), params, xs[:, :length])
        assert shapes(grads) == shapes(params)


@pytest.mark.parametrize("cell", [sj.Elman(4), LSTM, sj.GRU(4)], ids=["elman", "lstm", "gru"])
def test_order_matters_as_it_does_not_to_a_bag(cell):
    params = cell.init(jax.random.key(0), 3)
    tokens = np.random.default_rng(0).integers(0, 3, (2, 8))
    shuffled = np.random.default_rng(1).permutation(tokens, axis=1)
    one_hot = [jax.nn.one_hot(a, 3) for a in (tokens, shuffled)]
    bag = lambda carry, x: (carry + x, carry)
    bags = [sj.scan(bag, jnp.zeros((2, 3)), xs)[0] for xs in one_hot]
    np.testing.assert_array_equal(*bags)
    first, second = (sj.unroll(cell, params, xs)[1][:, -1] for xs in one_hot)
    assert np.abs(first - second).max() > 1e-3


def test_a_bidirectional_output_has_seen_the_next_input():
    """To predict x_t+1 from it is to copy; an LSTM's output depends on x_1 .. x_t alone."""

    def reach(cell):  # [t, s]: whether y_t depends on x_s
        params = cell.init(jax.random.key(0), 3)
        total = lambda xs: jnp.sum(sj.unroll(cell, params, xs)[1], axis=(0, 2))
        slopes = jax.jacobian(total)(jnp.asarray(draw(1, 5, 3), jnp.float32))
        return np.asarray((slopes != 0).any(axis=(1, 3)))

    np.testing.assert_array_equal(reach(LSTM), np.tri(5, dtype=bool))
    assert reach(sj.Bidirectional(LSTM)).all()
    assert reach(sj.Stack((sj.Bidirectional(LSTM), LSTM))).all()


@pytest.mark.parametrize("name", ["lstm", "gru_before", "deep_bidirectional"])
def test_a_padded_batch_is_its_rows_one_by_one(name):
    cell, lengths = CELLS[name], [5, 1, 3]
    params = cell.init(jax.random.key(0), 3)
    xs = jnp.asarray(draw(3, 5, 3), jnp.float32)
    carry, ys = sj.unroll(cell, params, xs, lengths=jnp.array(lengths))
    for row, length in enumerate(lengths):
        alone, outputs = sj.unroll(cell, params, xs[row : row + 1, :length])
        np.testing.assert_allclose(ys[row, :length], outputs[0], rtol=0, atol=1e-6)
        for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[row], b[0], rtol=0, atol=1e-6)


def count_equations(jaxpr):
    """Equations of a program, those of the programs inside it included."""
    inner = [
        part.jaxpr if hasattr(part, "jaxpr") else part
        for equation in jaxpr.eqns
        for value in equation.params.values()
        for part in (value if isinstance(value, (tuple, list)) else (value,))
        if hasattr(part, "jaxpr") or hasattr(part, "eqns")
    ]
    return len(jaxpr.eqns) + sum(map(count_equations, inner))


def program_size(function, length):
    """Equations of a function of xs [2, T, 4] and of its gradient."""
    total = lambda xs: jnp.sum(function(xs))
    return count_equations(jax.make_jaxpr(jax.grad(total))(jnp.ones((2, length, 4))).jaxpr)


# They hold the associative form too, for other platforms than a CPU: as much per doubling of T.
LOGARITHMIC = {"min_gru", "qrnn", "lru", "rg_lru", "s5", "linear_stack"}


@pytest.mark.parametrize("name", list(CELLS))
def test_programs_do_not_grow_with_time(name):
    """Neither that of a loss nor that of its gradient: hence neither does compilation."""
    cell = CELLS[name]
    params = cell.init(jax.random.key(0), 4)
    run = lambda xs: sj.unroll(cell, params, xs, key=jax.random.key(1))[1]
    if name not in LOGARITHMIC:
        assert program_size(run, 20) == program_size(run, 2000)
        return
    short, long, longest = (program_size(run, 2**power) for power in (5, 10, 15))
    assert short < long and longest - long <= 1.1 * (long - short)


def test_the_program_of_a_python_loop_grows_with_time():
    params = LSTM.init(jax.random.key(0), 4)
    unroll = lambda xs: sj.unroll(LSTM, params, xs)[1]

    def loop(xs):
        carry, ys = LSTM.initial_carry(params, 2), []
        for t in range(xs.shape[1]):
            carry, y = LSTM.step(params, carry, xs[:, t])
            ys.append(y)
        return jnp.stack(ys, axis=1)

    assert program_size(loop, 20) > 1.8 * program_size(loop, 10)
    assert program_size(unroll, 20) == program_size(unroll, 10)
