"""The experiment on Newton's method in its pieces, and in small."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.foundations.newton import experiment
from experiments.foundations.newton.experiment import Config
from experiments.lab.experiment import Results


def test_one_network_is_measured_at_its_gain(x64):
    still = experiment.one(sj.Elman(3), "newton", 30, jax.random.key(0), jnp.array(0.0))
    np.testing.assert_array_equal(still[0], -np.inf)  # nothing is handed on
    assert still[1].tolist() == [2] * 4 and still[2].all()  # right at once, and seen to be
    wild = experiment.one(sj.Elman(3), "newton", 30, jax.random.key(0), jnp.array(4.0))
    calm = experiment.one(sj.Elman(3), "newton", 30, jax.random.key(0), jnp.array(0.5))
    assert (wild[0] > calm[0]).all() and (wild[1] > calm[1]).all()


def test_every_gain_seed_and_row_is_an_entry(monkeypatch):
    monkeypatch.setattr(experiment, "CASES", experiment.CASES[:2])
    found = experiment.iterations(length=24, hidden_size=2, seeds=1, gains=2)
    assert list(found) == ["Elman, newton", "Elman, quasi-newton"]
    for each in found.values():
        assert each["gain"] == [0.2] * 4 + [4.0] * 4
        assert {len(column) for column in each.values()} == {8}


def test_the_report_has_medians_by_exponent_and_ratios_of_times():
    points = {"Elman, newton": {
        "exponent": [-2.0, -1.5, -0.1, 0.5], "iterations": [4, 6, 20, 256],
        "converged": [True, True, True, False],
    }}  # fmt: skip
    times = [{"name": "GRU(8), newton", "iterations": 5, "newton_ms": 2.5, "unroll_ms": 1.25}]
    said = experiment.report(Config(), Results([], {}, {}, {"points": points, "times": times}))
    assert said.headline.startswith("Newton's method takes 2.0 to 2.0 times as long as `unroll`")
    counts, took = said.tables
    assert counts.header[1] == "below -1" and counts.header[-1] == "above 0"
    assert counts.rows == [
        ["Elman, newton", "5 (1.00)", "", "", "20 (1.00)", "256 (0.00)"],
    ]
    assert took.rows == [["GRU(8), newton", "5", "2.5", "1.2", "2.0"]]
