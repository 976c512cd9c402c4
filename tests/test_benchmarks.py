"""The benchmarks' own pieces, on shapes too small to time anything."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import harness, peers, unroll

SMALL = (2, 3, 2, 4)


def settings(tmp_path, **changes: Any):
    quick: dict[str, Any] = {"peers": ("scan",), "rounds": 2, "json": tmp_path / "out.json"}
    return unroll.Settings(**(quick | changes))


def test_a_run_writes_numbers_and_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(unroll, "SHAPES", {name: [SMALL] for name in unroll.SHAPES})
    unroll.main(settings(tmp_path, kinds=("gru",)))
    result = json.loads((tmp_path / "out.json").read_text())
    assert [row["table"] for row in result["rows"]] == list(unroll.SHAPES)
    train = result["rows"][0]["seconds"]
    assert set(train) == {"seqjax", "scan", "floor"} and min(train.values()) > 0
    assert result["environment"]["versions"]["jax"] == jax.__version__
    assert (tmp_path / "out.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "| gru | 2 3 2 4 |" in printed and str(tmp_path / "out.json") in printed


def test_peers_that_are_not_installed_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(unroll, "SHAPES", {"forward": [SMALL]})
    monkeypatch.setattr(peers, "installed", lambda name: name in ("seqjax", "scan"))
    unroll.main(settings(tmp_path, tables=("forward",), peers=("scan", "haiku", "keras")))
    assert "not installed, left out: haiku, keras" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"peers": ("tensorflow",)}, "peers has 'tensorflow'; expected some of seqjax, scan, flax"),
        ({"device": "tpu:7"}, "device is 'tpu:7', which this machine does not have; it has cpu:0."),
        ({"device": "cpu:x"}, "device is 'cpu:x', which this machine does not have; it has cpu:0."),
        ({"rounds": 0}, "rounds is 0; expected an integer of at least 1."),
    ],
)
def test_errors(changes, message, tmp_path):
    with pytest.raises(ValueError) as caught:
        unroll.main(settings(tmp_path, **changes))
    assert str(caught.value).startswith(message)


def test_unequal_contenders_are_not_timed():
    layers = peers.Layers("lstm", 2, 4)
    contender = peers.build_seqjax(layers)
    wrong = contender._replace(
        run=lambda params, xs, lengths: 1.1 * contender.run(params, xs, None)
    )
    arguments = unroll.inputs("train", SMALL)
    unroll.check_equal("right", contender, arguments)
    with pytest.raises(AssertionError, match="wrong"):
        unroll.check_equal("wrong", wrong, arguments)


def test_rounds_are_interleaved_and_turned():
    calls = []
    runs = {name: lambda name=name: calls.append(name) or jnp.zeros(()) for name in "abc"}
    seconds = harness.interleave(runs, rounds=3)
    assert "".join(calls[6:]) == "abc" + "bca" + "cab"
    assert all(len(values) == 3 for values in seconds.values())
    np.testing.assert_allclose(harness.geometric_mean([0.5, 2.0]), 1.0)
