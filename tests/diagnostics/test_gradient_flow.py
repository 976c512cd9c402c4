"""How a gradient vanishes or explodes, against what is known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

flow_of = jax.jit(sj.diagnostics.gradient_flow, static_argnames=("cell", "select"))
LINEAR = sj.Elman(3, activation="identity", use_bias=False)
XS = np.ones((1, 1000, 2), np.float32)


def through(w_h):
    """Params of a linear network that multiplies its state by w_h."""
    return LINEAR.init(jax.random.key(0), 2)._replace(w_h=jnp.asarray(w_h))


def turn(rho):
    return through(sj.initializers.Orthogonal(rho)(jax.random.key(1), (3, 3)))


@pytest.mark.parametrize("rho", [0.01, 0.9, 1.0, 1.5])
def test_slope_of_a_turn_is_its_radius_over_a_thousand_steps_of_float32(rho):
    """rho^1000 is 1e-2000 or 1e176: neither is a float32."""
    flow = flow_of(LINEAR, turn(rho), XS)
    assert flow.log_norms.dtype == jnp.float32 and flow.saturation == {}
    for curve in (np.asarray(flow.log_norms[0]), np.asarray(flow.log_gains[0])):
        assert curve[0] == 0
        np.testing.assert_allclose(curve[1:] / np.arange(1, 1001), np.log(rho), atol=1e-4)
        np.testing.assert_allclose(curve[1000] / 1000, np.log(rho), atol=1e-5)
    np.testing.assert_allclose(flow.exponents[0], np.log(rho), atol=1e-4)


def test_tiny_and_huge_jacobians_do_not_leave_float32():
    for scale in (1e-30, 1e30):
        flow = flow_of(LINEAR, turn(scale), 0 * XS)
        expected = np.arange(1001) * np.log(scale)
        np.testing.assert_allclose(flow.log_norms[0], expected, rtol=1e-5)


def test_what_is_lost_is_minus_infinity_and_nothing_is_nan():
    """A delay line forgets all after as many steps as it has places."""
    flow = flow_of(LINEAR, through(np.eye(3, k=1, dtype=np.float32)), XS)
    np.testing.assert_allclose(flow.log_norms[0, :3], 0, atol=1e-6)
    np.testing.assert_array_equal(flow.log_norms[0, 3:], -np.inf)
    np.testing.assert_allclose(flow.log_gains[0, 1:3], 0.5 * np.log([2 / 3, 1 / 3]), rtol=1e-5)
    assert np.isfinite(flow.log_input_norms[0, :3]).all()
    np.testing.assert_array_equal(flow.log_input_norms[0, 3:], -np.inf)
    np.testing.assert_allclose(flow.memory, 2)


def test_norms_are_those_of_the_jacobians(x64):
    """Of a product of matrices that do not commute, in the whole state and in c alone."""
    cell, length = sj.LSTM(2), 5
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (2, length, 2))
    start = 0.3 * jax.random.normal(jax.random.key(2), (2, 2, 2))
    flow = flow_of(cell, params, xs, carry=sj.LSTMCarry(*start))
    memory = flow_of(cell, params, xs, carry=sj.LSTMCarry(*start), select=cell_path)
    flat = lambda h: sj.LSTMCarry(h[None, :2], h[None, 2:])
    step = lambda h, x: jnp.concatenate(cell.step(params, flat(h), x[None])[0], axis=1)[0]
    both = jax.jit(lambda h, x: (step(h, x), jax.jacrev(step, (0, 1))(h, x)))
    log_norm = lambda a: np.log(np.linalg.norm(a, 2))
    for b in range(2):
        h, jacobians = jnp.concatenate([start[0, b], start[1, b]]), []
        for t in range(length):
            h, found = both(h, xs[b, t])
            jacobians.append(map(np.asarray, found))
        product = np.eye(4)
        for lag, (of_h, of_x) in enumerate(reversed(jacobians)):
            entering = log_norm(product @ of_x)
            np.testing.assert_allclose(flow.log_input_norms[b, lag], entering, atol=1e-10)
            entering = log_norm((product @ of_x)[2:])
            np.testing.assert_allclose(memory.log_input_norms[b, lag], entering, atol=1e-10)
            product = product @ of_h
            gain = np.log(np.linalg.norm(product) / 2)
            np.testing.assert_allclose(flow.log_norms[b, lag + 1], log_norm(product), atol=1e-10)
            np.testing.assert_allclose(flow.log_gains[b, lag + 1], gain, atol=1e-10)
            part = log_norm(product[2:, 2:])
            np.testing.assert_allclose(memory.log_norms[b, lag + 1], part, atol=1e-10)
    share = np.mean(
        np.asarray(sj.diagnostics.gate_values(cell, params, xs, carry=sj.LSTMCarry(*start))["f"])
        > 0.9
    )
    np.testing.assert_allclose(np.mean(flow.saturation["f"].right), share, atol=1e-6)


def cell_path(carry):
    return carry.c


@pytest.mark.parametrize("bias", [0.0, 1.0, 3.0, 5.0])
def test_memory_of_an_lstm_decays_by_its_forget_gate(bias):
    cell = sj.LSTM(3)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 2))
    params = params._replace(b=params.b.at[3:6].set(bias))
    flow = flow_of(cell, params, XS[:, :300], select=cell_path)
    decay = -np.log1p(np.exp(-bias))
    norms = np.asarray(flow.log_norms[0], np.float64)
    np.testing.assert_allclose(norms[1:] / np.arange(1, 301), decay, atol=1e-6)
    np.testing.assert_allclose(flow.half_life[0], np.log(0.5) / decay, rtol=1e-4)
    np.testing.assert_allclose(flow.memory[0], -1 / decay, rtol=1e-4)


# T w^(T-1) h_0 for h_0 = 1, at w = 0.9 and w = 1.1.
TOY = {3: (2.43, 3.63), 10: (3.874, 23.58), 50: (0.28632, 5335.95), 100: (2.9513e-3, 1.25278e6)}


def test_gradient_of_the_toy_is_its_table(x64):
    """h_T = w^T h_0: a weight's gradient is T times one state Jacobian."""
    cell, lengths = sj.Elman(1, activation="identity", use_bias=False), np.array(list(TOY))
    xs, h_0 = jnp.zeros((4, 100, 1)), jnp.ones((4, 1))

    @jax.jit
    def gradients(w):
        params = lambda w: sj.cells.ElmanParams(jnp.zeros((1, 1)), w[None, None], None)
        final = lambda w: sj.unroll(cell, params(w), xs, carry=h_0, lengths=lengths)[0][:, 0]
        flow = sj.diagnostics.gradient_flow(cell, params(w), xs[:1], carry=h_0[:1])
        return jax.jacrev(final)(w), flow.log_norms[0, lengths - 1]

    for w, expected in zip((0.9, 1.1), np.array(list(TOY.values())).T, strict=True):
        gradient, log_norms = gradients(jnp.float64(w))
        np.testing.assert_allclose(gradient, expected, rtol=2e-4)
        np.testing.assert_allclose(gradient, lengths * w ** (lengths - 1.0), rtol=1e-12)
        np.testing.assert_allclose(gradient, lengths * np.exp(log_norms), rtol=1e-11)


def test_weight_gradient_of_the_toy_grows_to_its_maximum_before_it_vanishes():
    lengths = np.arange(1, 200)
    sizes = lengths * 0.9 ** (lengths - 1)
    assert abs(lengths[sizes.argmax()] - -1 / np.log(0.9)) < 1  # 9.49
    assert (
        sj.diagnostics.memory_length(np.log(sizes, dtype=np.float32), share=0.5) > 9
    )  # a rise is no fall


def test_slope_is_the_largest_exponent_and_the_bound_of_pascanu_holds():
    cell = sj.Elman(4, w_h_init=sj.initializers.Orthogonal(1.3))
    params = cell.init(jax.random.key(0), 2)
    xs = 0.5 * jax.random.normal(jax.random.key(1), (2, 400, 2))
    flow = flow_of(cell, params, xs)
    norms, gains = np.asarray(flow.log_norms), np.asarray(flow.log_gains)
    bound = np.arange(401) * np.log(1.3)  # max |tanh'| = 1
    assert (norms <= bound + 1e-3).all() and (gains <= norms + 1e-5).all()
    np.testing.assert_allclose(norms[:, 400] / 400, flow.exponents[:, 0], atol=0.02)
    assert abs(float(flow.exponents[0, 0]) - np.log(1.3)) > 0.05  # the bound is not the answer


def test_identity_with_relu_has_slope_zero_and_sigmoids_a_quarter_at_most():
    relu = sj.Elman(
        3,
        activation="relu",
        w_x_init=sj.initializers.Normal(0.001),
        w_h_init=sj.initializers.Identity(),
    )
    params, xs = relu.init(jax.random.key(0), 2), jnp.zeros((1, 50, 2))
    flow = flow_of(relu, params, xs, carry=jnp.ones((1, 3)))
    np.testing.assert_array_equal(flow.log_norms, 0)
    assert flow.memory[0] == np.inf and flow.half_life[0] == np.inf
    flow = flow_of(sj.Elman(3, activation="sigmoid"), params, xs, carry=jnp.ones((1, 3)))
    assert (np.asarray(flow.log_norms[0]) <= np.arange(51) * np.log(0.25) + 1e-4).all()


def test_tokens_have_no_input_norms():
    class Embed:
        def init(self, key, input_size):
            return jnp.ones((input_size, 2))

        def initial_carry(self, params, batch_size, key=None):
            return jnp.zeros((batch_size, 2))

        def step(self, params, carry, x):
            return 0.5 * carry + params[x], carry

    flow = flow_of(Embed(), jnp.ones((4, 2)), jnp.zeros((1, 3), int))
    assert flow.log_input_norms is None
    np.testing.assert_allclose(flow.log_norms[0], np.arange(4) * np.log(0.5), rtol=1e-5)


def test_memory_length_is_where_the_last_fall_crosses_the_level():
    lags = np.arange(40.0, dtype=np.float32)
    for share in (0.5, 0.1):
        found = sj.diagnostics.memory_length(np.float32(np.log(0.8)) * lags, share)
        np.testing.assert_allclose(found, np.log(share) / np.log(0.8), rtol=1e-5)
    curve = np.log([1.0, 0.2, 0.9, 0.3, 0.1], dtype=np.float32)  # half of 1 is passed twice
    expected = 2 + np.log(0.9 / 0.5) / np.log(0.9 / 0.3)
    np.testing.assert_allclose(sj.diagnostics.memory_length(curve, 0.5), expected, rtol=1e-5)
    rows = np.zeros((3, 2), np.float32)
    rows[1, 1], rows[2, 1] = np.nan, -np.inf
    np.testing.assert_array_equal(sj.diagnostics.memory_length(rows), [np.inf, np.nan, 0])


KEYED = sj.Zoneout(sj.LSTM(2), 0.5)


def stochastic():
    params = KEYED.init(jax.random.key(0), 2)
    carry = KEYED.initial_carry(params, 1, key=jax.random.key(1))
    return sj.diagnostics.gradient_flow(KEYED, params, np.ones((1, 5, 2)), carry=carry)


GRU = sj.GRU(3)
BAD = {
    "such as lambda carry: carry.c": (GRU, {"select": lambda carry: ()}),
    "expected a function that returns leaves of it": (GRU, {"select": lambda carry: carry + 9}),
    "carry has shape (2, 3); expected the batch axis first": (GRU, {"carry": np.ones((2, 3))}),
    "the carry is empty; expected a cell that has a state": (sj.cells.Feedforward(3), {}),
}


@pytest.mark.parametrize("message", list(BAD))
def test_bad_input_is_named(message):
    cell, how = BAD[message]
    params = cell.init(jax.random.key(0), 2)
    with pytest.raises(ValueError) as error:
        sj.diagnostics.gradient_flow(cell, params, **{"xs": np.ones((1, 5, 2), np.float32), **how})
    assert message in str(error.value)


def test_other_bad_input_is_named():
    with pytest.raises(ValueError, match="key<fry>.* Start a stochastic cell without a key"):
        stochastic()
    with pytest.raises(ValueError, match="share is 1.0; expected a number with 0 < share < 1"):
        sj.diagnostics.memory_length(np.ones(3), 1.0)
    with pytest.raises(ValueError, match=r"log_curve is int32\[3\]; expected floats"):
        sj.diagnostics.memory_length(np.ones(3, np.int32))
