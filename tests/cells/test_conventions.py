"""Where authors of recurrent networks disagree: each convention, and the exact way between two.

Every reference here is a NumPy loop in the other author's own terms.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

BATCH, LENGTH, SIZE = 2, 6, 3  # inputs as wide as states: a mistaken order of the two must fit


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def draw(*shape, seed=0, scale=0.8):
    return scale * np.random.default_rng([seed, *shape]).normal(size=shape)


def draw_gru(reset="after", b_n=True) -> Any:
    after = reset == "after"
    return sj.cells.GRUParams(
        w_x=jnp.asarray(draw(SIZE, 3 * SIZE)),
        w_h=jnp.asarray(draw(SIZE, 3 * SIZE, seed=1)),
        b=jnp.asarray(draw(3 * SIZE)),
        b_n=jnp.asarray(draw(SIZE) if b_n else np.zeros(SIZE)) if after else None,
    )


XS = draw(BATCH, LENGTH, SIZE, scale=1.0)
H0 = draw(BATCH, SIZE)


def loop(step, carry: Any = H0, xs=XS):
    """ys of a NumPy step (carry, x) -> (carry, y)."""
    ys = []
    for t in range(xs.shape[1]):
        carry, y = step(carry, xs[:, t])
        ys.append(y)
    return np.stack(ys, axis=1)


def gru_ys(params, reset: Any = "after", h=H0, xs=XS):
    """What seqjax's GRU puts out."""
    cell = sj.GRU(SIZE, reset=reset)
    dtype = params.w_x.dtype
    _, ys = sj.unroll(cell, params, jnp.asarray(xs, dtype), carry=jnp.asarray(h, dtype))
    return np.asarray(ys)


def lstm_ys(params, carry=(H0, H0), xs=XS):
    """What seqjax's LSTM puts out."""
    carry = sj.LSTMCarry(*map(jnp.asarray, carry))
    _, ys = sj.unroll(sj.LSTM(SIZE), params, jnp.asarray(xs), carry=carry)
    return np.asarray(ys)


def overwriting_gru(params, reset):
    """The step of h = (1 - z) h + z n, in which z = 1 forgets."""
    w_r, w_z, w_n = np.split(np.asarray(params.w_x), 3, axis=1)
    u_r, u_z, u_n = np.split(np.asarray(params.w_h), 3, axis=1)
    b_r, b_z, b = np.split(np.asarray(params.b), 3)

    def step(h, x):
        r = sigmoid(x @ w_r + h @ u_r + b_r)
        z = sigmoid(x @ w_z + h @ u_z + b_z)
        if reset == "after":
            n = np.tanh(x @ w_n + b + r * (h @ u_n + np.asarray(params.b_n)))
        else:
            n = np.tanh(x @ w_n + b + (r * h) @ u_n)
        h = (1 - z) * h + z * n
        return h, h

    return step


@pytest.mark.parametrize("reset", ["after", "before"])
def test_negated_update_gate_is_the_other_convention(reset):
    params = jax.tree.map(lambda a: a.astype(jnp.float32), draw_gru(reset))
    expected = loop(overwriting_gru(params, reset))
    close = lambda ys: np.allclose(ys, expected, rtol=0, atol=1e-6)
    assert close(gru_ys(sj.cells.negate_update_gate(params), reset))
    assert not close(gru_ys(params, reset))


@pytest.mark.parametrize("reset", ["after", "before"])
def test_negating_the_update_gate_twice_changes_no_bit(reset):
    params = draw_gru(reset)
    once: Any = sj.cells.negate_update_gate(params)
    twice = sj.cells.negate_update_gate(once)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), twice, params))
    # r, n and the candidate's second bias stay as they are.
    np.testing.assert_array_equal(once.w_x[:, :SIZE], params.w_x[:, :SIZE])
    np.testing.assert_array_equal(once.w_h[:, 2 * SIZE :], params.w_h[:, 2 * SIZE :])
    np.testing.assert_array_equal(once.b[SIZE : 2 * SIZE], -params.b[SIZE : 2 * SIZE])


def test_one_initial_bias_of_the_update_gate_means_opposite_things(x64):
    zeros = jax.tree.map(jnp.zeros_like, draw_gru())
    params = zeros._replace(b=zeros.b.at[SIZE : 2 * SIZE].set(3.0))
    keep = sigmoid(3.0) ** LENGTH  # 0.75: n = 0, so all that is left of h is what was kept
    expected = np.broadcast_to(keep * H0, H0.shape)
    np.testing.assert_allclose(gru_ys(params)[:, -1], expected, rtol=1e-12)
    overwritten = loop(overwriting_gru(params, "after"))[:, -1]
    np.testing.assert_allclose(overwritten, (1 - sigmoid(3.0)) ** LENGTH * H0, rtol=1e-9)
    assert np.abs(overwritten).max() < 1e-7 < 0.5 * np.abs(expected).max()


def test_reset_before_and_after_are_different_functions(x64):
    after = draw_gru(b_n=False)
    before = after._replace(b_n=None)
    difference = np.abs(gru_ys(after, "after") - gru_ys(before, "before"))
    assert difference.max() > 0.05


def test_resets_agree_where_the_candidate_matrix_is_diagonal(x64):
    after = draw_gru(b_n=False)
    u_n = jnp.diag(jnp.asarray(draw(SIZE)))
    after = after._replace(w_h=after.w_h.at[:, 2 * SIZE :].set(u_n))
    before = after._replace(b_n=None)
    np.testing.assert_allclose(gru_ys(after, "after"), gru_ys(before, "before"), rtol=1e-12)


def test_resets_agree_where_all_units_share_one_reset(x64):
    after = draw_gru(b_n=False)
    same = lambda a: a.at[..., :SIZE].set(a[..., :1])
    after = after._replace(w_x=same(after.w_x), w_h=same(after.w_h), b=same(after.b))
    before = after._replace(b_n=None)
    np.testing.assert_allclose(gru_ys(after, "after"), gru_ys(before, "before"), rtol=1e-12)


def test_two_biases_of_an_lstm_are_one(x64):
    w_x, w_h = draw(SIZE, 4 * SIZE), draw(SIZE, 4 * SIZE, seed=1)
    b_x, b_h = draw(4 * SIZE), draw(4 * SIZE, seed=1)

    def step(carry, x):
        h, c = carry
        i, f, g, o = np.split((x @ w_x + b_x) + (h @ w_h + b_h), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return (h, c), h

    params = sj.cells.LSTMParams(jnp.asarray(w_x), jnp.asarray(w_h), jnp.asarray(b_x + b_h))
    np.testing.assert_allclose(lstm_ys(params), loop(step, (H0, H0)), rtol=1e-12, atol=1e-14)


def test_two_biases_of_a_gru_are_one_for_the_gates_only(x64):
    params = draw_gru()
    w_x, w_h = np.asarray(params.w_x), np.asarray(params.w_h)
    b_x, b_h = draw(3 * SIZE), draw(3 * SIZE, seed=1)

    def step(h, x):
        x_r, x_z, x_n = np.split(x @ w_x + b_x, 3, axis=1)
        h_r, h_z, h_n = np.split(h @ w_h + b_h, 3, axis=1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        h = (1 - z) * np.tanh(x_n + r * h_n) + z * h
        return h, h

    expected, gates = loop(step), np.arange(3 * SIZE) < 2 * SIZE
    folded = params._replace(b=jnp.asarray(b_x + gates * b_h), b_n=jnp.asarray(b_h[~gates]))
    np.testing.assert_allclose(gru_ys(folded), expected, rtol=1e-12, atol=1e-14)
    wrong = params._replace(b=jnp.asarray(b_x + b_h), b_n=jnp.zeros(SIZE))
    assert np.abs(gru_ys(wrong) - expected).max() > 0.05


def joined_lstm(w, b, order, forget_bias=0.0, joined="hx"):
    """The step that takes one product of [h, x] or [x, h], gates named in any order."""

    def step(carry, x):
        h, c = carry
        together = np.concatenate([h, x] if joined == "hx" else [x, h], axis=1)
        gate = dict(zip(order, np.split(together @ w + b, 4, axis=1), strict=True))
        c = sigmoid(gate["f"] + forget_bias) * c + sigmoid(gate["i"]) * np.tanh(gate["g"])
        h = sigmoid(gate["o"]) * np.tanh(c)
        return (h, c), h

    return step


@pytest.mark.parametrize("joined", ["hx", "xh"])
def test_one_matrix_on_h_and_x_is_two_matrices(joined, x64):
    w, b = draw(2 * SIZE, 4 * SIZE), draw(4 * SIZE)
    first, second = jnp.asarray(w[:SIZE]), jnp.asarray(w[SIZE:])
    w_h, w_x = (first, second) if joined == "hx" else (second, first)
    expected = loop(joined_lstm(w, b, "ifgo", joined=joined), (H0, H0))
    split = sj.cells.LSTMParams(w_x, w_h, jnp.asarray(b))
    np.testing.assert_allclose(lstm_ys(split), expected, rtol=1e-12, atol=1e-14)
    swapped = split._replace(w_x=w_h, w_h=w_x)
    assert np.abs(lstm_ys(swapped) - expected).max() > 0.05


@pytest.mark.parametrize(
    ("order", "forget_bias"),
    [("ifgo", 0.0), ("igfo", 1.0), ("gifo", 0.0), ("iofg", 0.0), ("figo", 0.5)],
    ids=["torch", "added_as_it_runs", "candidate_first", "onnx", "forget_first"],
)
def test_orders_of_gates_are_permutations_of_blocks(order, forget_bias, x64):
    """A forget bias that a library adds as it runs goes into b, once."""
    w, b = draw(2 * SIZE, 4 * SIZE), draw(4 * SIZE)
    expected = loop(joined_lstm(w, b, order, forget_bias), (H0, H0))

    def arrange(a):
        blocks = dict(zip(order, np.split(a, 4, axis=-1), strict=True))
        return np.concatenate([blocks[gate] for gate in "ifgo"], axis=-1)

    matrix, bias = arrange(w), arrange(b)
    bias[SIZE : 2 * SIZE] += forget_bias
    params = sj.cells.LSTMParams(*map(jnp.asarray, (matrix[SIZE:], matrix[:SIZE], bias)))
    np.testing.assert_allclose(lstm_ys(params), expected, rtol=1e-12, atol=1e-14)
    if order != "ifgo":
        as_it_is = sj.cells.LSTMParams(*map(jnp.asarray, (w[SIZE:], w[:SIZE], b)))
        assert np.abs(lstm_ys(as_it_is) - expected).max() > 0.05


def test_reset_gate_forgets_inside_the_candidate_only(x64):
    """Prose that says r "forgets": a closed reset gate leaves what the update gate keeps alone."""
    params = draw_gru()
    close_r = lambda keep: params._replace(
        w_x=params.w_x.at[:, : 2 * SIZE].set(0),
        w_h=params.w_h.at[:, : 2 * SIZE].set(0),
        b=params.b.at[: 2 * SIZE].set(jnp.repeat(jnp.array([-800.0, keep]), SIZE)),
    )
    np.testing.assert_array_equal(gru_ys(close_r(800.0))[:, -1], H0)  # r = 0, z = 1
    w_n, b = np.asarray(params.w_x)[:, 2 * SIZE :], np.asarray(params.b)[2 * SIZE :]
    expected = np.tanh(XS @ w_n + b)  # r = z = 0: no trace of the past
    np.testing.assert_allclose(gru_ys(close_r(-800.0)), expected, rtol=1e-12)


def test_input_gate_is_logistic_and_candidate_is_tanh(x64):
    """Some call the input gate the "candidate choice" and tanh(g) the "candidate values"."""
    shut = jnp.repeat(jnp.array([0.0, -800.0, 2.0, 800.0]), SIZE)  # i, f, g, o
    params = sj.cells.LSTMParams(jnp.zeros((SIZE, 4 * SIZE)), jnp.zeros((SIZE, 4 * SIZE)), shut)
    expected = np.full(XS.shape, np.tanh(sigmoid(0.0) * np.tanh(2.0)))
    np.testing.assert_allclose(lstm_ys(params), expected, rtol=1e-12)


def test_slopes_of_the_activations(x64):
    """tanh' reaches 1, so it alone makes no gradient vanish; that of the sigmoid is 1/4 at most."""
    points = jnp.arange(-6.0, 6.125, 0.125)
    tanh, logistic = (jax.vmap(jax.grad(f))(points) for f in (jnp.tanh, jax.nn.sigmoid))
    assert float(jax.grad(jnp.tanh)(0.0)) == 1.0
    assert float(jax.grad(jax.nn.sigmoid)(0.0)) == 0.25
    assert float(tanh.max()) == 1.0 and float(logistic.max()) == 0.25
    assert (tanh > 0).all() and (logistic > 0).all()


def elman_ys(params, reset):
    _, ys = sj.unroll(sj.Elman(SIZE), params, jnp.asarray(XS), reset=jnp.asarray(reset))
    return np.asarray(ys)


def draw_elman() -> Any:
    w_x, w_h, b = draw(SIZE, SIZE), draw(SIZE, SIZE, seed=1), draw(SIZE)
    step = lambda h, x: np.tanh(x @ w_x + h @ w_h + b)
    return sj.cells.ElmanParams(*map(jnp.asarray, (w_x, w_h, b))), step


def test_segment_ids_are_resets_where_they_change(x64):
    """Packed data names the document of each step; it may name a document 0, or one by chance."""
    params, step = draw_elman()
    ids = np.array([[0, 0, 5, 5, 5, 2], [7, 7, 7, 7, 0, 0]])
    h, expected = np.zeros((BATCH, SIZE)), []
    for t in range(LENGTH):
        if t > 0:
            h = h * (ids[:, t] == ids[:, t - 1])[:, None]
        h = step(h, XS[:, t])
        expected.append(h)
    reset = jnp.diff(ids, prepend=ids[:, :1]) != 0
    np.testing.assert_allclose(elman_ys(params, reset), np.stack(expected, axis=1), rtol=1e-12)


def test_done_flags_are_resets_one_step_later(x64):
    """An episode's last step is marked done: the state after it is the initial one."""
    params, step = draw_elman()
    done = np.array([[0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 1]], bool)

    def act(h, t):
        h = step(h, XS[:, t])
        return h * ~done[:, t : t + 1], h

    h, expected = np.zeros((BATCH, SIZE)), []
    for t in range(LENGTH):
        h, y = act(h, t)
        expected.append(y)
    expected = np.stack(expected, axis=1)
    reset = np.pad(done[:, :-1], ((0, 0), (1, 0)))
    np.testing.assert_allclose(elman_ys(params, reset), expected, rtol=1e-12)
    assert np.abs(elman_ys(params, done) - expected).max() > 0.05
