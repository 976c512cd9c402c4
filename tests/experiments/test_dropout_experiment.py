"""The experiment on dropout: its cell against a loop, its problems, and a run in small."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

import seqjax as sj
from experiments.dropout import arms, problems
from experiments.dropout.__main__ import main
from experiments.dropout.cells import RecurrentDropout
from experiments.sweeps import Estimate
from seqjax.testing import check_cell

LETTERS = "abcab" * 60
TEXT = problems.Text.of(LETTERS, "abcab" * 30, "bcaab" * 31)


def test_recurrent_dropout_keeps_the_contract():
    check_cell(RecurrentDropout(sj.LSTM(4), sj.LSTMCarry(0.3, 0.0)))


@pytest.mark.parametrize("variational", [False, True])
def test_recurrent_dropout_by_a_loop(variational):
    """A linear recurrence of ones: what comes out tells which units were dropped when."""
    cell = RecurrentDropout(
        sj.Elman(64, "identity", use_bias=False, w_h_init=sj.initializers.Identity()),
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
    nets = [arms.Network(arm, 6, 5, 3) for arm in arms.ARMS]
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
    ids = jnp.arange(3 * problems.WINDOW + 7)
    found = np.array(problems.rows(ids))
    assert found.shape == (3, problems.WINDOW + 1)
    np.testing.assert_array_equal(found[1:, 0], found[:-1, -1])
    np.testing.assert_array_equal(found[:, 1:].ravel(), np.arange(1, 3 * problems.WINDOW + 1))
    assert TEXT.vocab_size == 3 and TEXT.held_out.shape == (2, 150)
    counts = np.array([121, 121, 61])
    p = counts / counts.sum()
    shares = np.bincount(TEXT.held_out[1]) / 150
    np.testing.assert_allclose(TEXT.unigram, -np.sum(shares * np.log(p)))


def test_what_is_to_be_remembered_comes_first():
    symbols, classes = map(np.array, problems.copying_rows(jax.random.key(0), 200))
    assert symbols.shape == (200, problems.LAG + 1)
    np.testing.assert_array_equal(symbols[:, 0], classes)
    assert symbols[:, 1:].min() == problems.CLASSES and set(classes) == set(range(8))


def test_losses_train_with_dropout_and_evaluate_without(monkeypatch):
    monkeypatch.setattr(problems, "TEXT_SIZE", 4)
    arm = next(arm for arm in arms.ARMS if arm.name == "weight-drop")
    task = problems.text_task(arm, TEXT, 1)
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


def test_in_small_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(problems, "tunes", lambda: TEXT)
    for name, value in {"TEXT_SIZE": 8, "PROBE_SIZE": 8, "LAG": 2, "TEST_ROWS": 64}.items():
        monkeypatch.setattr(problems, name, value)
    args = ["--seeds", "2", "--steps", "50", "--only", "none", "--out", str(tmp_path)]
    assert main(args) == 0
    found = json.loads((tmp_path / "results.json").read_text())["tasks"]
    assert set(found) == {"text, none", "memory, none"}
    assert found["text, none"]["curve"][0][-1] < found["text, none"]["curve"][0][0]
    assert "300 characters to train on, 150 to test on" in capsys.readouterr().out
    assert (tmp_path / "dropout.png").stat().st_size > 5000
    assert main(["--only", "nothing"]) == 2
    assert "only is 'nothing'; expected part of one of: text, none" in capsys.readouterr().err
    assert main(["--steps", "-1"]) == 2
    assert "steps is -1; expected at least 1" in capsys.readouterr().err
