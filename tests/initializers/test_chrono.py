"""Chrono initialisation: the distribution of biases, and the half-lives that cells really have."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

KEY, LONGEST = jax.random.key(5), 200.0
GATED = {
    "lstm": sj.LSTM(3),
    "peephole": sj.cells.PeepholeLSTM(3),
    "projected": sj.cells.ProjectedLSTM(3, projection_size=2),
    "coupled": sj.cells.CoupledLSTM(3),
    "gru_after": sj.GRU(3),
    "gru_before": sj.GRU(3, reset="before"),
    "diagonal_gru": sj.cells.DiagonalGRU(3),
    "diagonal_lstm": sj.cells.DiagonalLSTM(3),
    "mgu": sj.cells.MGU(3),
    "min_gru": sj.linear.MinGRU(3),
    "min_lstm": sj.linear.MinLSTM(3),
    "qrnn": sj.linear.QRNN(3),
    "sru": sj.linear.SRU(3),
    "layer_norm": sj.cells.LayerNormLSTM(3),
    "conv": sj.cells.ConvLSTM(3, kernel_size=1, shape=(1,)),
}


def test_times_are_uniform():
    """The empirical distribution of 1 / (1 - σ(b)) against that of U(2, T): Kolmogorov-Smirnov."""
    b = np.asarray(sj.initializers.Chrono(LONGEST)(KEY, (5000,)), np.float64)
    times = np.sort(1 + np.exp(b))
    np.testing.assert_allclose(times, np.sort(1 / (1 - 1 / (1 + np.exp(-b)))), rtol=1e-12)
    expected = np.clip((times - 2) / (LONGEST - 2), 0, 1)
    seen = np.arange(1, 5001) / 5000
    assert np.max(np.abs(seen - expected)) < 1.63 / np.sqrt(5000)  # 1 % of uniform draws exceed it
    assert times[0] >= 2 and times[-1] <= LONGEST


@pytest.mark.parametrize("name", GATED)
def test_half_life_of_a_state_left_alone(name):
    """With weights of 0 and nothing to write, a state of 1 decays by σ(b_f) at each step."""
    cell = GATED[name]
    params = sj.initializers.chrono_biases(cell.init(jax.random.key(0), 3), KEY, LONGEST)
    weights = {name for name in params._fields if name.startswith("w_")}
    params = params._replace(**{name: 0 * getattr(params, name) for name in weights})
    carry = jax.tree.map(jnp.ones_like, cell.initial_carry(params, 1))
    xs = jnp.zeros((1, 1, 1, 3) if name == "conv" else (1, 1, 3))
    after, _ = sj.unroll(cell, params, xs, carry=carry)
    state = lambda c: getattr(c, "c", getattr(c, "h", c))
    kept = np.asarray(state(after), np.float64).ravel()
    u = np.exp(
        np.asarray(sj.initializers.Chrono(LONGEST)(jax.random.fold_in(KEY, 0), (3,)), np.float64)
    )
    np.testing.assert_allclose(kept, u / (1 + u), rtol=1e-5)


def test_half_life_in_steps():
    """State 1 halves after ln 2 / -ln σ(b_f) steps: counted, against the formula."""
    cell = sj.LSTM(4)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, 1))
    params = sj.initializers.chrono_biases(params, KEY, 50.0)
    carry = cell.initial_carry(params, 1)._replace(c=jnp.ones((1, 4)))

    def step(carry, x):
        carry, _ = cell.step(params, carry, x)
        return carry, carry.c

    _, cs = sj.scan(step, carry, jnp.zeros((1, 60, 1)))
    counted = np.sum(np.asarray(cs[0]) > 0.5, axis=0)
    b_f = np.asarray(params.b[4:8], np.float64)
    formula = np.log(2) / np.log1p(np.exp(-b_f))
    np.testing.assert_array_equal(counted, np.floor(formula))
    assert len(set(counted.tolist())) > 2


def test_only_the_biases_of_keeping_and_writing_gates_change():
    before = sj.LSTM(3).init(jax.random.key(0), 2)
    after = sj.initializers.chrono_biases(before, KEY, LONGEST)
    i, f, g, o = after.b.reshape(4, 3)
    np.testing.assert_array_equal(i, -f)
    np.testing.assert_array_equal(np.stack([g, o]), 0)
    assert (f > 0).all() and (np.diff(f) != 0).all()
    np.testing.assert_array_equal(after.w_x, before.w_x)
    np.testing.assert_array_equal(after.w_h, before.w_h)
    gru = sj.initializers.chrono_biases(sj.GRU(3).init(jax.random.key(0), 2), KEY, LONGEST)
    r, z, n = gru.b.reshape(3, 3)
    assert (z > 0).all()
    np.testing.assert_array_equal(np.stack([r, n, gru.b_n]), 0)
    np.testing.assert_array_equal(z, f)


def test_any_tree_of_params_and_dtype():
    cell = sj.Stack((sj.Bidirectional(sj.LSTM(2)), sj.Dropout(0.5), sj.Residual(sj.GRU(4))))
    before = {"cell": cell.init(KEY, 3), "out": jnp.ones((4, 2), jnp.bfloat16)}
    before = jax.tree.map(lambda a: a.astype(jnp.bfloat16), before)
    after = jax.jit(lambda p: sj.initializers.chrono_biases(p, KEY, LONGEST))(before)
    both, _, gru = after["cell"]
    assert (both.forward.b != both.backward.b).any() and (gru.b[4:8] > 0).all()
    same = lambda a, b: a.shape == b.shape and a.dtype == b.dtype
    assert all(jax.tree.leaves(jax.tree.map(same, before, after)))
    assert (after["out"] == 1).all()


THREE: Any = 3
BAD = {
    "longest": (
        lambda: sj.initializers.chrono_biases(sj.LSTM(2).init(KEY, 1), KEY, 2),
        "longest is 2.0; expected the steps of the longest dependency, above 2.",
    ),
    "infinite": (
        lambda: sj.initializers.Chrono(float("inf")),
        "longest is inf; expected a finite number.",
    ),
    "no gates": (
        lambda: sj.initializers.chrono_biases(sj.Elman(2).init(KEY, 1), KEY, 9),
        "params is a ElmanParams in which nothing says its gates; expected params of a gated cell",
    ),
    "no bias": (
        lambda: sj.initializers.chrono_biases(sj.GRU(2, use_bias=False).init(KEY, 1), KEY, 9),
        "params is a GRUParams whose b is None; expected biases.",
    ),
    "key": (
        lambda: sj.initializers.chrono_biases(sj.LSTM(2).init(KEY, 1), THREE, 9),
        "key is 3; expected a typed",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_say_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)
