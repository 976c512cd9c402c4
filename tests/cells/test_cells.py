"""Cells against their equations, written out in NumPy; and what makes each one itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def drawn(cell, input_size=2, seed=0):
    """Params with every number different from its default, in float64 NumPy."""
    random = np.random.default_rng(seed)
    params = cell.init(jax.random.key(0), input_size)
    return jax.tree.map(lambda a: random.normal(size=a.shape) * 0.7, params)


def run(cell, params, xs):
    carry, ys = sj.unroll(cell, jax.tree.map(jnp.asarray, params), jnp.asarray(xs)[None])
    return jax.tree.map(lambda a: np.asarray(a[0]), (carry, ys))


XS = np.random.default_rng(1).normal(size=(6, 2))


def test_peephole_sees_the_old_memory_and_its_output_gate_the_new_one(x64):
    cell = sj.cells.PeepholeLSTM(3)
    p = drawn(cell)
    h, c, expected = np.zeros(3), np.zeros(3), []
    for x in XS:
        i, f, g, o = np.split(x @ p.w_x + h @ p.w_h + p.b, 4)
        i, f = sigmoid(i + p.p_i * c), sigmoid(f + p.p_f * c)
        c = f * c + i * np.tanh(g)
        h = sigmoid(o + p.p_o * c) * np.tanh(c)
        expected.append(h)
    carry, ys = run(cell, p, XS)
    np.testing.assert_allclose(ys, expected, rtol=1e-12)
    np.testing.assert_allclose(carry.c, c, rtol=1e-12)


def test_peephole_starts_as_a_plain_lstm():
    peephole, plain = sj.cells.PeepholeLSTM(3), sj.LSTM(3)
    params = peephole.init(jax.random.key(0), 2)
    lstm = sj.cells.LSTMParams(params.w_x, params.w_h, params.b)
    xs = jnp.asarray(XS, jnp.float32)[None]
    got, expected = sj.unroll(peephole, params, xs)[1], sj.unroll(plain, lstm, xs)[1]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_projected_lstm_feeds_its_projection_back(x64):
    cell = sj.cells.ProjectedLSTM(4, projection_size=3)
    p = drawn(cell)
    h, c, expected = np.zeros(3), np.zeros(4), []
    for x in XS:
        i, f, g, o = np.split(x @ p.w_x + h @ p.w_h + p.b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(c)) @ p.w_p
        expected.append(h)
    carry, ys = run(cell, p, XS)
    np.testing.assert_allclose(ys, expected, rtol=1e-12)
    assert carry.c.shape == (4,) and carry.h.shape == (3,)


def test_layer_norm_lstm_normalises_both_products_and_the_memory(x64):
    cell = sj.cells.LayerNormLSTM(3)
    p = drawn(cell)

    def norm(a, scale):
        return scale * (a - a.mean()) / np.sqrt(a.var() + cell.epsilon)

    h, c, expected = np.zeros(3), np.zeros(3), []
    for x in XS:
        z = norm(x @ p.w_x, p.scale_x) + norm(h @ p.w_h, p.scale_h) + p.b
        i, f, g, o = np.split(z, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(norm(c, p.scale_c) + p.bias_c)
        expected.append(h)
    np.testing.assert_allclose(run(cell, p, XS)[1], expected, rtol=1e-10)


def test_layer_norm_lstm_does_not_feel_the_scale_of_its_input_weights():
    cell = sj.cells.LayerNormLSTM(3)
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.asarray(XS, jnp.float32)[None]
    larger = params._replace(w_x=params.w_x * 50)
    ys, scaled = (sj.unroll(cell, p, xs)[1] for p in (params, larger))
    np.testing.assert_allclose(ys, scaled, atol=1e-3)


def test_coupled_lstm_writes_what_it_forgets(x64):
    cell = sj.cells.CoupledLSTM(3)
    p = drawn(cell)
    h, c, expected = np.zeros(3), np.zeros(3), []
    for x in XS:
        f, g, o = np.split(x @ p.w_x + h @ p.w_h + p.b, 3)
        c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        expected.append(h)
        assert (np.abs(c) <= 1).all()
    np.testing.assert_allclose(run(cell, p, XS)[1], expected, rtol=1e-12)


def test_jordan_feeds_its_output_back(x64):
    cell = sj.cells.Jordan(4, output_size=3, output_activation="tanh")
    p = drawn(cell)
    y, expected = np.zeros(3), []
    for x in XS:
        h = np.tanh(x @ p.w_x + y @ p.w_y + p.b)
        y = np.tanh(h @ p.w_o + p.b_o)
        expected.append(y)
    np.testing.assert_allclose(run(cell, p, XS)[1], expected, rtol=1e-12)


def test_irnn_is_one_line_and_keeps_what_it_holds():
    cell = sj.Elman(
        4,
        activation="relu",
        w_x_init=sj.initializers.Normal(0.001),
        w_h_init=sj.initializers.Identity(),
    )
    params = cell.init(jax.random.key(0), 2)
    np.testing.assert_array_equal(params.w_h, np.eye(4))
    start = jnp.array([[1.0, 2.0, 3.0, 4.0]])
    carry, _ = sj.unroll(cell, params, jnp.zeros((1, 1000, 2)), carry=start)
    np.testing.assert_array_equal(carry, start)


def test_orthogonal_blocks_keep_the_norm():
    params = sj.LSTM(8).init(jax.random.key(0), 2)
    for block in jnp.split(params.w_h, 4, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(8), atol=1e-5)


@pytest.mark.parametrize("reset", ["after", "before"])
def test_a_gru_whose_gate_is_one_or_zero_holds_or_overwrites_to_the_last_bit(reset):
    cell = sj.GRU(16, reset=reset)
    params = cell.init(jax.random.key(0), 3)
    b = params.b
    assert b is not None
    carry = jax.random.uniform(jax.random.key(1), (4, 16), minval=-1.0)
    xs = jax.random.normal(jax.random.key(2), (4, 60, 3))
    run = jax.jit(lambda b: sj.unroll(cell, params._replace(b=b), xs, carry=carry))
    held, _ = run(b.at[16:32].set(60.0))
    np.testing.assert_array_equal(held, carry)
    _, ys = run(b.at[16:32].set(-60.0).at[32:].set(60.0))
    np.testing.assert_array_equal(ys, np.full_like(ys, ys[0, 0, 0]))  # of n = tanh(60 + ...)
    np.testing.assert_allclose(ys, 1, atol=4e-7)


def test_forget_bias_is_in_the_params_and_not_added_again():
    cell = sj.LSTM(3, forget_bias=5.0)
    params = cell.init(jax.random.key(0), 2)
    np.testing.assert_array_equal(params.b, [0] * 3 + [5] * 3 + [0] * 6)
    zeros = jax.tree.map(jnp.zeros_like, params)
    start = sj.LSTMCarry(jnp.zeros((1, 3)), jnp.ones((1, 3)))
    carry, _ = cell.step(zeros, start, jnp.zeros((1, 2)))
    np.testing.assert_allclose(carry.c, 0.5 * np.ones((1, 3)))


@pytest.mark.parametrize("function", [jnp.tanh, jax.nn.relu, jax.nn.softplus])
def test_known_activation_functions_are_kept_by_name(function):
    cell = sj.Elman(3, activation=function)
    assert cell == sj.Elman(3, activation=function.__name__)


def test_any_function_is_an_activation(x64):
    cell = sj.Elman(3, activation=lambda a: a / (1 + jnp.abs(a)))
    p = drawn(cell)
    h, expected = np.zeros(3), []
    for x in XS:
        a = x @ p.w_x + h @ p.w_h + p.b
        h = a / (1 + np.abs(a))
        expected.append(h)
    np.testing.assert_allclose(run(cell, p, XS)[1], expected, rtol=1e-12)


def test_dropout_keeps_the_mean_and_the_rate():
    cell = sj.Dropout(0.3)
    _, ys = sj.unroll(cell, (), jnp.ones((8, 50, 100)), key=jax.random.key(0))
    dropped = float((ys == 0).mean())
    # 40,000 draws: three standard errors.
    assert abs(dropped - 0.3) < 3 * np.sqrt(0.3 * 0.7 / ys.size)
    np.testing.assert_allclose(ys[ys != 0], 1 / 0.7, rtol=1e-6)
    assert (ys[:, 0] != ys[:, 1]).any() and (ys[0] != ys[1]).any()
    _, plain = sj.unroll(cell, (), jnp.ones((2, 3, 4)))
    np.testing.assert_array_equal(plain, 1)


def test_zoneout_without_a_key_is_the_expectation(x64):
    rates = sj.LSTMCarry(h=0.1, c=0.4)
    cell, plain = sj.Zoneout(sj.LSTM(3), rates), sj.LSTM(3)
    p = jax.tree.map(jnp.asarray, drawn(plain))
    start = sj.LSTMCarry(jnp.ones((1, 3)), -jnp.ones((1, 3)))
    x = jnp.asarray(XS[:1])
    new, _ = plain.step(p, start, x)
    carry, y = cell.step(p, sj.cells.ZoneoutCarry(start, None), x)
    np.testing.assert_allclose(carry.cell.h, 0.1 * start.h + 0.9 * new.h, rtol=1e-12)
    np.testing.assert_allclose(carry.cell.c, 0.4 * start.c + 0.6 * new.c, rtol=1e-12)
    np.testing.assert_array_equal(y, carry.cell.h)


def test_zoneout_with_a_key_keeps_units_at_its_rate():
    rates = sj.LSTMCarry(h=0.1, c=0.4)
    cell = sj.Zoneout(sj.LSTM(2000), rates)
    params = sj.LSTM(2000, w_h_init=sj.initializers.Normal(0.01)).init(jax.random.key(0), 2)
    carry = cell.initial_carry(params, 2, key=jax.random.key(1))
    marked = carry._replace(cell=jax.tree.map(lambda a: a + 7.0, carry.cell))
    after, y = cell.step(params, marked, jnp.ones((2, 2)))
    for rate, leaf in zip(rates, after.cell, strict=True):
        kept = float((leaf == 7.0).mean())
        assert abs(kept - rate) < 3 * np.sqrt(rate * (1 - rate) / leaf.size)
    assert ((after.cell.h == 7.0) != (after.cell.c == 7.0)).any()
    np.testing.assert_array_equal(y, after.cell.h)


def test_padding_overrides_zoneout():
    cell = sj.Zoneout(sj.GRU(3), 0.5)
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.ones((1, 5, 2))
    for key in (None, jax.random.key(0)):
        long, _ = sj.unroll(cell, params, xs, key=key, lengths=jnp.array([2]))
        short, _ = sj.unroll(cell, params, xs[:, :2], key=key)
        np.testing.assert_array_equal(long.cell, short.cell)


def test_learned_carry_is_learned_and_returned_to_by_a_reset(x64):
    cell = sj.LearnedCarry(sj.LSTM(3))
    params = cell.init(jax.random.key(0), 2)
    params = params._replace(carry=sj.LSTMCarry(jnp.arange(3.0), -jnp.arange(3.0)))
    xs = jnp.asarray(XS)[None]
    reset = jnp.zeros((1, 6), bool).at[0, 4].set(True)
    _, ys = sj.unroll(cell, params, xs, reset=reset)
    _, again = sj.unroll(cell, params, xs[:, 4:])
    np.testing.assert_allclose(ys[:, 4:], again, rtol=1e-12)
    grads = jax.grad(lambda p: jnp.sum(sj.unroll(cell, p, xs, reset=reset)[1]))(params)
    assert (grads.carry.h != 0).all() and (grads.carry.c != 0).all()


def test_residual_adds_its_inputs():
    cell = sj.Residual(sj.Elman(2))
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.asarray(XS, jnp.float32)[None]
    _, ys = sj.unroll(cell, params, xs)
    np.testing.assert_allclose(ys - xs, sj.unroll(cell.cell, params, xs)[1], atol=1e-6)


def test_stack_feeds_each_member_the_one_before():
    cells = sj.LSTM(3), sj.GRU(4)
    stack = sj.Stack(cells)
    params = stack.init(jax.random.key(0), 2)
    xs = jnp.asarray(XS, jnp.float32)[None]
    carry, ys = sj.unroll(stack, params, xs)
    ours, middle = sj.unroll(cells[0], params[0], xs)
    theirs, expected = sj.unroll(cells[1], params[1], middle)
    np.testing.assert_array_equal(ys, expected)
    assert [type(c) for c in carry] == [type(ours), type(theirs)]


@pytest.mark.parametrize(
    "merge, of", [("sum", np.add), ("product", np.multiply), ("mean", lambda a, b: (a + b) / 2)]
)
def test_bidirectional_merges(merge, of):
    cell = sj.Bidirectional(sj.GRU(3), merge=merge)
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.asarray(XS, jnp.float32)[None]
    _, ys = sj.unroll(cell, params, xs)
    forward = sj.unroll(cell.cell, params.forward, xs)[1]
    backward = sj.unroll(cell.cell, params.backward, xs[:, ::-1])[1][:, ::-1]
    np.testing.assert_allclose(ys, of(forward, backward), rtol=1e-6)


def test_final_carries_of_both_directions_have_seen_everything():
    """h_{f,T} and h_{b,1}; the output at the last step has seen one token backward."""
    cell = sj.Bidirectional(sj.Elman(3))
    params = cell.init(jax.random.key(0), 2)

    def moved_by_the_first_input(read):
        grad = jax.grad(lambda xs: jnp.sum(read(*sj.unroll(cell, params, xs))))(jnp.ones((1, 4, 2)))
        return bool((grad[0, 0] != 0).any())

    assert moved_by_the_first_input(lambda carry, ys: carry.forward)
    assert moved_by_the_first_input(lambda carry, ys: carry.backward)
    assert not moved_by_the_first_input(lambda carry, ys: ys[:, -1, 3:])
