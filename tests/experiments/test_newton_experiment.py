"""The experiment on Newton's method in its pieces, and in small."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.newton import measure, report
from experiments.newton.__main__ import main


def test_one_network_is_measured_at_its_gain(x64):
    still = measure.one(sj.Elman(3), "newton", 30, jax.random.key(0), jnp.array(0.0))
    np.testing.assert_array_equal(still[0], -np.inf)  # nothing is handed on
    assert still[1].tolist() == [2] * 4 and still[2].all()  # right at once, and seen to be
    wild = measure.one(sj.Elman(3), "newton", 30, jax.random.key(0), jnp.array(4.0))
    calm = measure.one(sj.Elman(3), "newton", 30, jax.random.key(0), jnp.array(0.5))
    assert (wild[0] > calm[0]).all() and (wild[1] > calm[1]).all()


def test_in_small_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "times", lambda: [])
    monkeypatch.setattr(measure, "CASES", measure.CASES[:2])
    args = ["--length", "24", "--hidden-size", "2", "--seeds", "1", "--gains", "2"]
    assert main([*args, "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "results.json").read_text())
    assert [len(each["iterations"]) for each in content["points"]] == [8, 8]
    assert "Elman, quasi-newton" in capsys.readouterr().out
    assert (tmp_path / "newton.png").stat().st_size > 5000
    assert main(["--length", "0"]) == 2
    assert "length is 0; expected at least 1" in capsys.readouterr().err


def test_the_table_of_times_names_every_cell():
    row = {"cell": "GRU(hidden_size=8, reset='after')", "method": "newton", "iterations": 5}
    text = report.times_table([row | {"newton_ms": 2.5, "unroll_ms": 1.25}])
    assert "GRU(hidden_size=8)" in text and "2.5 ms, unroll    1.2 ms" in text
