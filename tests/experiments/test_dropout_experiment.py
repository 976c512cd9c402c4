"""The experiment on dropout: its cell against a loop, its problems, and a run in small."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

import seqjax as sj
from experiments.foundations.dropout import data, experiment, model
from experiments.foundations.dropout.model import RecurrentDropout
from experiments.lab.task import Estimate
from seqjax.testing import check_cell

LETTERS = "abcab" * 60
TEXT = data.Text.of(LETTERS, "abcab" * 30, "bcaab" * 31)


def test_recurrent_dropout_keeps_the_contract():
    check_cell(RecurrentDropout(sj.LSTM(4), sj.LSTMCarry(0.3, 0.0)))


@pytest.mark.parametrize("variational", [False, True])
def test_recurrent_dropout_by_a_loop(variational):
    """A linear recurrence of ones: what comes out tells which units were dropped when."""
    cell = RecurrentDropout(
        sj.Elman(64, activation="identity", use_bias=False, w_h_init=sj.initializers.Identity()),
        0.25,
        variational,
    )
    params = cell.init(jax.random.key(0), 1)
    carry = cell.initial_carry(params, 2, key=jax.random.key(1))
    carry = carry._replace(cell=jnp.ones_like(carry.cell))
    states = [np.array(carry.cell)]
    for _ in range(4):
        carry, y = cell.step(params, carry, jnp.zeros((2, 1)))
        states.append(np.array(y))
    first = states[1] != 0
    np.testing.assert_allclose(states[1], np.where(first, 1 / 0.75, 0), rtol=1e-6)
    left = [np.mean(state != 0) for state in states[1:]]
    expected = [0.75] * 4 if variational else [0.75**t for t in range(1, 5)]
    np.testing.assert_allclose(left, expected, atol=0.12)
    assert (np.array(left) == left[0]).all() == variational
    _, still = sj.unroll(cell, params, jnp.zeros((2, 3, 1)))  # without a key, nothing drops
    assert not still.any()


def test_dropped_h_reaches_the_gates_and_not_the_memory():
    """With c left alone and no weights, c is what it is without dropout; dropped, it is not."""
    zeros = jax.tree.map(jnp.zeros_like, sj.LSTM(8).init(jax.random.key(0), 1))
    kept = {}
    for name, rates in {"h": sj.LSTMCarry(0.5, 0.0), "h and c": sj.LSTMCarry(0.5, 0.5)}.items():
        cell = RecurrentDropout(sj.LSTM(8), rates)
        carry = cell.initial_carry(zeros, 4, key=jax.random.key(1))
        carry = carry._replace(cell=carry.cell._replace(c=jnp.ones((4, 8))))
        kept[name] = np.array(sj.unroll(cell, zeros, jnp.zeros((4, 2, 1)), carry=carry)[0].cell.c)
    np.testing.assert_allclose(kept["h"], 0.25, rtol=1e-6)  # two forget gates of σ(0)
    assert (kept["h and c"] == 0).any()


def test_arms_differ_in_dropout_alone():
    nets = [model.Network(arm, 6, 5, 3) for arm in model.ARMS]
    symbols = jax.random.randint(jax.random.key(2), (4, 9), 0, 5)
    params = [net.init(jax.random.key(0)) for net in nets]
    sizes = {sum(leaf.size for leaf in jax.tree.leaves(one)) for one in params}
    assert len(sizes) == 1
    for net, one in zip(nets, params, strict=True):
        noisy = net.logits(one, symbols, jax.random.key(3))
        changed = (noisy != net.logits(one, symbols)).any()
        assert changed == (net.arm.name != "none"), net.arm.name
        other = net.logits(one, symbols, jax.random.key(4))
        assert (noisy != other).any() == (net.arm.name != "none"), net.arm.name


def test_text_as_rows():
    ids = jnp.arange(3 * data.WINDOW + 7)
    found = np.array(data.rows(ids))
    assert found.shape == (3, data.WINDOW + 1)
    np.testing.assert_array_equal(found[1:, 0], found[:-1, -1])
    np.testing.assert_array_equal(found[:, 1:].ravel(), np.arange(1, 3 * data.WINDOW + 1))
    assert TEXT.vocab_size == 3 and TEXT.held_out.shape == (2, 150)
    counts = np.array([121, 121, 61])
    p = counts / counts.sum()
    shares = np.bincount(TEXT.held_out[1]) / 150
    np.testing.assert_allclose(TEXT.unigram, -np.sum(shares * np.log(p)))


def test_what_is_to_be_remembered_comes_first():
    symbols, classes = map(np.array, data.copying_rows(jax.random.key(0), 200, 20))
    assert symbols.shape == (200, 21)
    np.testing.assert_array_equal(symbols[:, 0], classes)
    assert symbols[:, 1:].min() == data.CLASSES and set(classes) == set(range(8))


def test_losses_train_with_dropout_and_evaluate_without():
    arm = next(arm for arm in model.ARMS if arm.name == "weight-drop")
    task = experiment.text_task(arm, TEXT, experiment.Config(text_size=4))
    params = task.init(jax.random.key(0))
    first = task.evaluate(params, jax.random.key(1), 0)
    again = task.evaluate(params, jax.random.key(2), 0)
    assert first["nats/char"] == again["nats/char"]
    np.testing.assert_allclose(
        first["gap"].mean, first["nats/char"].mean - first["training text"].mean
    )
    grads = jax.grad(task.loss)(params, jax.random.key(3))
    recurrent = grads["cell"][0].w_h
    assert 0.1 < np.mean(np.array(recurrent) == 0) < 0.4  # dropped weights get no gradient
    assert isinstance(first["gap"], Estimate)
