"""Gradients through time against what can be written down by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.hand_backpropagation import RULES, backpropagate

import seqjax as sj
from seqjax.losses import cross_entropy, cross_entropy_sum

BATCH, LENGTH, INPUT, HIDDEN = 3, 6, 2, 4
YS = np.zeros((BATCH, LENGTH, HIDDEN))
each_cell = pytest.mark.parametrize(
    "cell", list(RULES), ids=["elman", "lstm", "gru_after", "gru_before"]
)


def jitter(tree, seed=0, scale=0.5):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda a: a + scale * random.normal(size=jnp.shape(a)), tree)


def make_inputs(cell):
    """(params, carry, xs) in float64."""
    params = cell.init(jax.random.key(0), INPUT)
    carry = cell.initial_carry(params, BATCH)
    return jitter((params, carry, jnp.zeros((BATCH, LENGTH, INPUT))), scale=0.7)


def weigh(kind, carry):
    """Weights of a loss that is their inner product with (final carry, ys)."""
    final, ys = jitter(jax.tree.map(jnp.zeros_like, (carry, YS)), seed=1, scale=1.0)
    nothing = jax.tree.map(jnp.zeros_like, carry)
    return {
        "sum over steps": (nothing, jnp.ones_like(ys)),
        "mean over steps": (nothing, jnp.ones_like(ys) / ys.size),
        "last output": (nothing, jnp.zeros_like(ys).at[:, -1].set(ys[:, -1])),
        "final carry": (final, jnp.zeros_like(ys)),
        "everything": (final, ys),
    }[kind]


@functools.partial(jax.jit, static_argnames="cell")
def value(cell, inputs, weights):
    params, carry, xs = inputs
    result = sj.unroll(cell, params, xs, carry=carry)
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), result, weights)
    return sum(jax.tree.leaves(products)), result


gradient = jax.jit(jax.grad(value, argnums=1, has_aux=True), static_argnames="cell")


@functools.partial(jax.jit, static_argnames="cell")
def slope(cell, inputs, along, weights):
    """The derivative along a direction, by forward mode through the steps."""

    def stepped(inputs):
        params, carry, xs = inputs
        result = sj.scan(lambda carry, x: cell.step(params, carry, x), carry, xs)
        products = jax.tree.map(lambda a, b: jnp.sum(a * b), result, weights)
        return sum(jax.tree.leaves(products))

    return jax.jvp(stepped, (inputs,), (along,))[1]


def close(got, expected, tolerance=1e-9):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


KINDS = ["sum over steps", "mean over steps", "last output", "final carry", "everything"]


@pytest.mark.parametrize("kind", KINDS)
@each_cell
def test_gradients_are_those_written_by_hand(cell, kind, x64):
    """Of params, inputs and the initial carry, which may be learned."""
    inputs = make_inputs(cell)
    weights = weigh(kind, inputs[1])
    grads, result = gradient(cell, inputs, weights)
    arrays = jax.tree.map(np.asarray, (*inputs, *weights))
    expected_result, expected = backpropagate(RULES[cell], *arrays)
    close(result, expected_result, 1e-12)
    close(grads, expected)


@each_cell
def test_reverse_mode_is_forward_mode_is_finite_differences(cell, x64):
    inputs = make_inputs(cell)
    weights = weigh("everything", inputs[1])
    grads, _ = gradient(cell, inputs, weights)
    along = jitter(jax.tree.map(jnp.zeros_like, inputs), seed=2, scale=1.0)
    reverse = sum(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), grads, along)))
    np.testing.assert_allclose(slope(cell, inputs, along, weights), reverse, rtol=1e-9)
    moved = lambda size: jax.tree.map(lambda a, b: a + size * b, inputs, along)
    up, down = (value(cell, moved(size), weights)[0] for size in (1e-5, -1e-5))
    np.testing.assert_allclose((up - down) / 2e-5, reverse, rtol=1e-7)


def test_gradient_of_a_weight_is_an_outer_product_summed_over_steps(x64):
    """One row: each use of w_x adds the outer product of its input and the error there."""
    params, carry, xs = make_inputs(sj.Elman(HIDDEN))
    carry, xs = carry[:1], xs[:1]

    def loss(biases):  # one bias a step: its gradient is the error there
        h = carry
        for t in range(LENGTH):
            h = jnp.tanh(xs[:, t] @ params.w_x + h @ params.w_h + biases[t])
        return jnp.sum(h)

    errors = jax.grad(loss)(jnp.tile(params.b, (LENGTH, 1)))
    grads = jax.grad(lambda p: jnp.sum(sj.unroll(sj.Elman(HIDDEN), p, xs, carry=carry)[0]))(params)
    parts = [np.outer(xs[0, t], errors[t]) for t in range(LENGTH)]
    np.testing.assert_allclose(grads.w_x, sum(parts), rtol=1e-12)
    assert np.abs(grads.w_x - parts[0]).max() > 0.01  # the first use alone is not the gradient


@each_cell
def test_gradient_of_shared_weights_is_the_sum_over_their_copies(cell, x64):
    """Of whatever loss: of a mean too, which must not be divided by T a second time."""
    params, carry, xs = make_inputs(cell)

    @jax.jit
    def untied(copies, carry):
        total = 0.0
        for t, copy in enumerate(copies):
            carry, y = cell.step(copy, carry, xs[:, t])
            total += jnp.sum(y)
        return total / (BATCH * LENGTH * HIDDEN)

    copies = jax.grad(untied)([params] * LENGTH, carry)
    summed = jax.tree.map(lambda *parts: sum(parts), *copies)
    grads, _ = gradient(cell, (params, carry, xs), weigh("mean over steps", carry))
    close(grads[0], summed)


def test_gradient_of_a_mean_is_that_of_the_sum_over_real_tokens():
    cell = sj.LSTM(HIDDEN)
    params = cell.init(jax.random.key(0), INPUT)
    random = np.random.default_rng(0)
    xs = jnp.asarray(random.normal(size=(BATCH, LENGTH, INPUT)), jnp.float32)
    targets = random.integers(0, HIDDEN, (BATCH, LENGTH))
    lengths = np.array([6, 1, 3])
    mask = np.arange(LENGTH) < lengths[:, None]

    @jax.jit
    def grads(params, lengths, mask):
        def losses(params):
            _, logits = sj.unroll(cell, params, xs, lengths=lengths)
            total = cross_entropy_sum(logits, targets, mask=mask).total
            return cross_entropy(logits, targets, mask=mask), total

        return jax.jacrev(losses)(params)

    for ends, real, count in ((None, None, BATCH * LENGTH), (lengths, mask, 6 + 1 + 3)):
        mean, total = grads(params, ends, real)
        close(jax.tree.map(lambda a: a * float(count), mean), total, 1e-5)  # noqa: B023


@pytest.mark.parametrize("length", [1, 100])
def test_identity_and_relu_pass_the_gradient_of_active_units_unchanged(length):
    """It is the product of Jacobians that stays 1, through w_h alone; dead units pass nothing."""
    cell = sj.Elman(
        HIDDEN,
        activation="relu",
        w_x_init=sj.initializers.Normal(0.001),
        w_h_init=sj.initializers.Identity(),
    )
    params = cell.init(jax.random.key(0), INPUT)
    h = jnp.array([0.7, -0.2, 1.3, -0.9])

    def final(h):
        return sj.unroll(cell, params, jnp.zeros((1, length, INPUT)), carry=h[None])[0][0]

    np.testing.assert_array_equal(jax.jacobian(final)(h), np.diag([1.0, 0.0, 1.0, 0.0]))


def test_identity_with_tanh_and_sigmoid(x64):
    """The slope of tanh is 1 at 0 and loses nothing there; the sigmoid's is 1/4 at most."""

    def product(activation, length=20):
        cell = sj.Elman(HIDDEN, activation=activation, w_h_init=sj.initializers.Identity())
        params = jax.tree.map(jnp.float64, cell.init(jax.random.key(0), INPUT))
        xs = jnp.zeros((1, length, INPUT))
        final = lambda h: sj.unroll(cell, params, xs, carry=h[None])[0][0]
        return jax.jacobian(final)(jnp.zeros(HIDDEN))

    np.testing.assert_array_equal(product("tanh"), np.eye(HIDDEN))
    sigmoid = np.diag(product("sigmoid"))
    assert (sigmoid > 0).all() and (sigmoid <= 0.25**20).all()


HALF_LIVES = {0.0: 1.0, 1.0: 2.21, 2.0: 5.46, 3.0: 14.27, 5.0: 103.2}  # in steps
LEFT_AFTER_100 = {1.0: 2.5e-14, 3.0: 7.8e-3, 5.0: 0.511}


@pytest.mark.parametrize("bias", list(HALF_LIVES))
def test_memory_of_an_lstm_decays_by_its_forget_gate(bias, x64):
    """dc_T/dc_0 along the memory is the product of the forget gates, sigmoid(b)^T: it decays."""
    cell, length = sj.LSTM(HIDDEN, forget_bias=bias), 100
    zeros = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), INPUT))
    params = jax.tree.map(jnp.float64, zeros._replace(b=cell.init(jax.random.key(0), INPUT).b))
    h = jnp.zeros((1, HIDDEN))

    def final(c):
        xs = jnp.zeros((1, length, INPUT))
        return sj.unroll(cell, params, xs, carry=sj.LSTMCarry(h, c[None]))[0].c[0]

    jacobian = jax.jacobian(final)(jnp.ones(HIDDEN))
    kept = (1 / (1 + np.exp(-bias))) ** length
    np.testing.assert_allclose(jacobian, kept * np.eye(HIDDEN), rtol=1e-12, atol=0)
    half_life = length * np.log(0.5) / np.log(jacobian[0, 0])
    np.testing.assert_allclose(half_life, HALF_LIVES[bias], rtol=3e-3)
    if bias in LEFT_AFTER_100:
        np.testing.assert_allclose(kept, LEFT_AFTER_100[bias], rtol=2e-2)
