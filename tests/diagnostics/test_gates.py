"""The values of gates, for any cell that has some."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

XS = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
sigmoid = lambda a: 1 / (1 + np.exp(-np.asarray(a)))


@functools.partial(jax.jit, static_argnames="cell")
def gates_of(cell, params, xs):
    return sj.diagnostics.gate_values(cell, params, xs)


def init(cell):
    return cell.init(jax.random.key(0), 2)


def test_gates_of_an_lstm_are_those_of_its_equations():
    cell, params = sj.LSTM(2), init(sj.LSTM(2))
    gates, (h, c) = gates_of(cell, params, XS), cell.initial_carry(params, 3)
    for t in range(4):
        i, f, _, o = np.split(np.asarray(XS[:, t] @ params.w_x + h @ params.w_h + params.b), 4, 1)
        (h, c), _ = cell.step(params, sj.LSTMCarry(h, c), jnp.asarray(XS[:, t]))
        for name, gate in {"i": i, "f": f, "o": o}.items():
            np.testing.assert_allclose(gates[name][:, t], sigmoid(gate), rtol=1e-5)
    assert gates.keys() == {"i", "f", "o"}


NAMES = {
    sj.GRU(2): "r z",
    sj.GRU(2, reset="before"): "r z",
    sj.Elman(2): "",
    sj.cells.PeepholeLSTM(2): "i f o",
    sj.cells.ProjectedLSTM(2, projection_size=1): "i f o",
    sj.cells.LayerNormLSTM(2): "i f o",
    sj.cells.CoupledLSTM(2): "f o",
    sj.cells.MGU(2): "f",
    sj.cells.SLSTM(2): "o",
    sj.cells.DiagonalGRU(2): "r z",
    sj.cells.DiagonalLSTM(2): "f o",
    sj.linear.MinGRU(2): "z",
    sj.linear.MinLSTM(2): "f",
    sj.linear.QRNN(2): "f o",
    sj.linear.SRU(2): "f r",
    sj.linear.RGLRU(2): "r i",
    sj.linear.MLSTM(2, heads=2): "o",
    sj.linear.DeltaNet(2, heads=2): "beta",
    sj.Zoneout(sj.GRU(2), 0.5): "r z",
    sj.LearnedCarry(sj.GRU(2)): "r z",
    sj.Stack((sj.GRU(2), sj.Residual(sj.LSTM(2)), sj.Dropout(0.5), sj.GRU(3))): "r z i f o r2 z2",
}


@pytest.mark.parametrize("cell", list(NAMES), ids=str)
def test_gates_have_names_and_lie_between_0_and_1(cell):
    gates = jax.eval_shape(lambda: sj.diagnostics.gate_values(cell, init(cell), XS))
    assert gates.keys() == {name.replace("2", " 2") for name in NAMES[cell].split()}
    for gate in gates.values():
        assert gate.shape[:2] == XS.shape[:2] and gate.dtype == jnp.float32


def test_the_gate_of_time_is_a_gate():
    cell = sj.cells.PhasedLSTM(2)
    xs = sj.cells.Timed(XS, np.cumsum(np.ones((3, 4), np.float32), axis=1))
    params = cell.init(jax.random.key(0), 2)
    gates = gates_of(cell, params, xs)
    assert gates.keys() == {"i", "f", "o", "k"}
    np.testing.assert_allclose(gates["k"], cell.time_gate(params, xs.times), rtol=1e-5)


def with_own_jvp(function):
    function = jax.custom_jvp(function)
    function.defjvps(None)
    return function


def with_own_vjp(function):
    function = jax.custom_vjp(function)
    function.defvjp(lambda x: (x, None), lambda _, cotangent: (cotangent,))
    return function


@dataclass
class Own:
    """A cell of the user's own, whose gate is computed inside a call."""

    call: Any = jax.jit

    def init(self, key, input_size):
        return jnp.zeros(input_size)

    def initial_carry(self, params, batch_size, key=None):
        return jnp.zeros((batch_size, *params.shape))

    def step(self, params, carry, x):
        gate = lambda x: sj.cells.name_gate(jax.nn.sigmoid(x), "keep")
        return self.call(gate)(x) * carry + x, carry


@pytest.mark.parametrize("call", [jax.jit, jax.checkpoint, with_own_jvp, with_own_vjp])
def test_gates_are_seen_through_calls(call):
    """Each is a primitive of JAX that is known by its name."""
    gates = sj.diagnostics.gate_values(Own(call), jnp.zeros(2), XS)
    np.testing.assert_allclose(gates["keep"], sigmoid(XS), rtol=1e-6)


def test_shares_are_counted_unit_by_unit_over_rows_and_steps():
    xs = np.log(np.linspace(0.001, 0.999, 200)) - np.log1p(-np.linspace(0.001, 0.999, 200))
    xs = np.stack([xs, np.full(200, 9.0)], axis=-1).astype(np.float32).reshape(2, 100, 2)
    found = sj.diagnostics.gate_saturation(Own(), jnp.zeros(2), xs)["keep"]
    np.testing.assert_allclose(found.left, [0.1, 0], atol=1e-6)
    np.testing.assert_allclose(found.right, [0.1, 1], atol=1e-6)
    found = sj.diagnostics.gate_saturation(Own(), jnp.zeros(2), xs, low=0.3, high=0.5)["keep"]
    np.testing.assert_allclose(found.left, [0.3, 0], atol=1e-6)
    np.testing.assert_allclose(found.right, [0.5, 1], atol=1e-6)


def test_a_name_changes_no_program():
    """It leaves no trace in what is compiled, nor in gradients."""
    plain = lambda x: jnp.sum(jax.nn.sigmoid(x) ** 2)
    named = lambda x: jnp.sum(sj.cells.name_gate(jax.nn.sigmoid(x), "f") ** 2)
    text = lambda f: jax.jit(jax.grad(f)).lower(XS).as_text().replace("<lambda>", "")
    assert text(plain) == text(named)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (
            "low is 0.9 and high 0.1",
            lambda c, p: sj.diagnostics.gate_saturation(c, p, XS, low=0.9, high=0.1),
        ),
        ("low is -1 and high 0.9", lambda c, p: sj.diagnostics.gate_saturation(c, p, XS, low=-1)),
        (
            "carry has shape (1, 2)",
            lambda c, p: sj.diagnostics.gate_values(c, p, XS, carry=jnp.ones((1, 2))),
        ),
        ("cell is 3; expected a cell", lambda c, p: sj.diagnostics.gate_values(3, p, XS)),
        ("name is ''; expected a word", lambda c, p: sj.cells.name_gate(jnp.asarray(XS), "")),
        ("name is 'a b'; expected a word", lambda c, p: sj.cells.name_gate(jnp.asarray(XS), "a b")),
    ],
)
def test_bad_input_is_named(message, call):
    with pytest.raises(ValueError) as error:
        call(sj.GRU(2), init(sj.GRU(2)))
    assert message in str(error.value)
