"""The experiment on the adding problem in its pieces, and in small."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments import sweeps
from experiments.adding import arms
from experiments.adding.__main__ import main


def test_numbers_to_add_are_marked_one_in_each_half():
    xs, sums = map(np.array, jax.jit(arms.draw, static_argnums=(1, 2))(jax.random.key(9), 4000, 10))
    numbers, marks = xs[..., 0], xs[..., 1]
    assert (marks[:, :5].sum(axis=1) == 1).all() and (marks[:, 5:].sum(axis=1) == 1).all()
    np.testing.assert_allclose((numbers * marks).sum(axis=1), sums, rtol=1e-6)
    np.testing.assert_allclose(((sums - 1) ** 2).mean(), arms.BASELINE, rtol=0.1)
    assert (marks.mean(axis=0) > 0.15).all()  # every place is drawn


def test_networks_are_of_one_size_and_begin_as_they_say():
    nets = {arm.name: arms.network(arm) for arm in arms.ARMS}
    sizes = [sweeps.parameters(net.init) for net in nets.values()]
    assert max(abs(size / arms.PARAMETERS - 1) for size in sizes) < 0.03, sizes
    params = {name: net.init(jax.random.key(0))["cell"] for name, net in nets.items()}
    np.testing.assert_array_equal(
        params["ReLU, identity (IRNN)"].w_h, np.eye(len(params["ReLU, identity (IRNN)"].w_h))
    )
    w_h = np.array(params["tanh, orthogonal"].w_h)
    np.testing.assert_allclose(w_h @ w_h.T, np.eye(len(w_h)), atol=1e-5)
    size = nets["LSTM"].cell.hidden_size
    plain, chrono = (params[name].b[size : 2 * size] for name in ("LSTM", "LSTM, chrono"))
    assert (plain == 1).all() and 1 + np.exp(chrono).max() <= arms.LENGTH and chrono.max() > 3


def test_in_small_from_the_command_line(tmp_path, capsys, monkeypatch):
    tiny = replace(arms.ARMS[3], name="tiny GRU", rates=(1e-2,))
    monkeypatch.setattr(arms, "ARMS", (tiny,))
    monkeypatch.setattr(arms, "network", lambda arm: arms.Network(arm.cell(4)))
    task = arms.task
    monkeypatch.setattr(arms, "task", lambda arm, steps: task(arm, steps, length=6))
    monkeypatch.setattr(arms, "TEST_ROWS", 64)
    assert main(["--seeds", "2", "--steps", "60", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "results.json").read_text())["tasks"]["adding, tiny GRU"]
    assert found["baseline"] == 1 / 6 and len(found["test"]["squared error"]["seeds"]) == 2
    assert found["curve"][0][-1] < found["curve"][0][0] and found["parameters"] > 0
    assert "failed: adding, tiny GRU" in capsys.readouterr().out
    assert (tmp_path / "adding.png").stat().st_size > 5000
    assert main(["--only", "nothing"]) == 2
    assert "only is 'nothing'; expected part of one of: adding, tiny GRU" in capsys.readouterr().err
    assert main(["--seeds", "0"]) == 2
    assert "seeds is 0; expected at least 1" in capsys.readouterr().err
