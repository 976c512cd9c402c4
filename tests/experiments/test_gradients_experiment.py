"""The experiment on gradients in its pieces, and in small."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.gradients import arms, clipping, measure, report
from experiments.gradients.__main__ import main
from experiments.lab.network import Network
from experiments.lab.task import parameters


def test_networks_are_equally_large_and_the_text_is_split_by_topic():
    counts = [parameters(arm.network.init) for arm in arms.arms(30_000)]
    assert max(counts) < 1.02 * min(counts) and abs(np.mean(counts) - 30_000) < 500
    parts = arms.splits()
    assert all(part.min() >= 0 and part.max() < len(arms.LETTERS) for part in parts)
    sizes = np.array([part.size for part in parts])
    assert (sizes > 10_000).all() and sizes[0] > 0.6 * sizes.sum()
    text = lambda part: "".join(arms.LETTERS[i] for i in part)
    train, test = text(parts[0]), text(parts[2])
    pieces = [test[i : i + 100] for i in range(0, len(test) - 100, 100)]
    assert sum(piece in train for piece in pieces) < 0.05 * len(pieces)
    assert 2 < arms.unigram_entropy() < np.log(len(arms.LETTERS))


def test_initial_params_are_those_that_training_begins_with():
    arm = arms.arms(2_000)[2]
    key = jax.random.split(jax.random.key(1))[0]
    expected = jax.tree.leaves(arm.network.init(key))
    for got, leaf in zip(jax.tree.leaves(arms.initial(arm, 2)), expected, strict=True):
        np.testing.assert_array_equal(got[1], leaf)


def test_units_without_gates_are_counted_at_their_ends():
    for name, shift, ends in (
        ("tanh", 9.0, (0, 1)),
        ("tanh", -9.0, (1, 0)),
        ("relu", -9.0, (1, 0)),
    ):
        cell = sj.Elman(2, activation=name)
        params = cell.init(jax.random.key(0), len(arms.LETTERS))
        found = measure.units(cell, params._replace(b=jnp.full(2, shift)))["h"]
        np.testing.assert_array_equal(np.stack(found), np.repeat(ends, 2).reshape(2, 2))


def test_a_run_has_diverged_with_a_nan_or_large_last_losses():
    losses = np.full((4, 100), 0.1)
    losses[1, 3], losses[2, -50:], losses[3, 10] = np.nan, 1.1, 1e9
    assert clipping.diverged(losses).tolist() == [False, True, True, False]


def test_gradients_are_clipped_before_the_optimiser():
    norms = []
    for clip in (optax.identity(), sj.training.clip_by_global_norm(1e-6)):
        optimizer = optax.chain(clip, optax.sgd(1.0))
        losses, found, _ = jax.jit(lambda key: clipping.train(optimizer, 3, key))(jax.random.key(0))  # noqa: B023
        norms.append(found)
        assert np.isfinite(losses).all()
    np.testing.assert_allclose(norms[0][0], norms[1][0], rtol=1e-5)  # the same start
    assert abs(np.log(norms[0][2] / norms[1][2])) > 0.1


def test_what_json_cannot_hold_is_written_as_text():
    content = {"a": [1.0, np.inf, (-np.inf, np.nan)], "b": "x", "c": None}
    assert report.plain(content) == {"a": [1.0, "inf", ["-inf", "nan"]], "b": "x", "c": None}


def test_in_small_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(clipping, "LENGTH", 6)
    monkeypatch.setattr(clipping, "RATES", (1e-2,))
    monkeypatch.setattr(clipping, "OPTIMIZERS", {"SGD": optax.sgd})
    monkeypatch.setattr(measure, "CONTEXT", 12)
    monkeypatch.setattr(measure, "POSITIONS", 2)
    size = len(arms.LETTERS)
    two = [
        arms.Arm(cell.__class__.__name__, Network(cell, size, size))
        for cell in (sj.Elman(3), sj.GRU(2))
    ]
    monkeypatch.setattr(arms, "arms", lambda budget: two)
    args = ["--seeds", "1", "--steps", "2", "--length", "12", "--clipping-steps", "3"]
    assert main([*args, "--clipping-seeds", "2", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "results.json").read_text())
    assert set(content["networks"]) == {"Elman", "GRU"} and len(content["clipping"]) == 2
    seed = content["networks"]["GRU"]["trained"][0]
    assert len(seed["log_norms"]) == 13 and len(seed["log_input_norms"]) == 12
    assert len(seed["exponents"]) == 2 and set(seed["saturation"]) == {"r", "z"}
    assert len(seed["influence"]) == 7
    printed = capsys.readouterr().out
    assert "GRU, trained" in printed and "SGD, 0.01, clip: global norm 1" in printed
    for name in ("flow", "exponents", "saturation", "influence", "clipping"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert main(["--seeds", "0"]) == 2
    assert "seeds is 0; expected at least 1" in capsys.readouterr().err
