"""The benchmark of linear recurrences, on shapes too small to time anything."""

import json

import pytest

import seqjax as sj
import seqjax.linear as linear_package
from benchmarks import linear
from experiments.lab.folder import RunFolder


def test_a_run_writes_every_method_and_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(linear, "SHAPES", [(2, 5, 3)])
    monkeypatch.setattr(linear, "CELLS", {"SRU": (sj.linear.SRU, (2, 5, 3))})
    linear.main(linear.Settings(rounds=1), RunFolder(tmp_path, "linear"))
    rows = json.loads((tmp_path / "linear.json").read_text())["rows"]
    assert [(row["kind"], row["pass"]) for row in rows] == [
        *(("linear_scan", "forward"), ("linear_scan", "gradient")),
        *(("SRU", "forward"), ("SRU", "gradient")),
    ]
    assert set(rows[0]["seconds"]) == set(linear.METHODS)
    assert set(rows[2]["seconds"]) == {"seqjax", "step"}
    assert "| linear_scan | forward | 2 5 3 |" in capsys.readouterr().out


def test_every_cell_has_its_line():
    linear_cells = {
        name
        for name, value in vars(linear_package).items()
        if isinstance(value, type) and hasattr(value, "initial_carry") and name != "LinearCell"
    }
    assert linear_cells == set(linear.CELLS)


def test_a_wrong_method_is_not_timed(monkeypatch):
    wrong = lambda a, b, h0: 1.01 * linear.plain_scan(a, b, h0)
    monkeypatch.setattr(linear, "METHODS", {"seqjax": linear.linear("auto"), "wrong": wrong})
    with pytest.raises(AssertionError, match="wrong"):
        linear.measure_methods((2, 5, 3), False, 1)


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="rounds is 0; expected an integer of at least 1."):
        linear.main(linear.Settings(rounds=0), RunFolder(tmp_path, "linear"))
