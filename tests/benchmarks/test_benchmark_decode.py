"""The benchmark of decoders, on shapes too small to time anything."""

import json
from typing import Any

import pytest

from benchmarks import decode, decoders
from experiments.lab.folder import RunFolder


def settings(tmp_path, **changes: Any):
    quick: dict[str, Any] = dict(
        batch_sizes=(3,), beam_sizes=(2,), vocab_sizes=(7,), hidden_size=4, max_len=3, rounds=2
    )
    quick |= dict(peers=("python", "numpy"), out=tmp_path)
    return decode.Settings(**(quick | changes))


def test_a_run_writes_numbers_and_a_picture(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(decode, "ALPHAS", (0.0,))
    decode.main(settings(tmp_path), RunFolder(tmp_path, "decode"))
    result = json.loads((tmp_path / "decode.json").read_text())
    assert [row["shape"] for row in result["rows"]] == [[3, 2, 7]]
    seconds = result["rows"][0]["seconds"]
    assert set(seconds) == {"seqjax", "floor", "python", "numpy"} and min(seconds.values()) > 0
    assert result["exits"][0]["steps"]["never"] == 3
    assert (tmp_path / "decode.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "| 3 | 2 |" in printed and "to floor: geometric mean" in printed


def test_peers_that_are_not_installed_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decoders, "installed", lambda name: False)
    chosen = settings(tmp_path, tables=(), peers=("numpy", "keras_hub"))
    decode.main(chosen, RunFolder(tmp_path, "decode"))
    assert "not installed, left out: numpy, keras_hub" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peers": ("t5x",)}, "peers has 't5x'; expected some of python, numpy, keras_hub."),
        ({"device": "tpu:7"}, "device is 'tpu:7', which this machine does not have; it has"),
        ({"rounds": 0}, "rounds is 0; expected an integer of at least 1."),
        ({"batch_sizes": (0,)}, "batch_sizes is (0,); expected integers of at least 1."),
    ],
)
def test_errors(changes, message, tmp_path):
    with pytest.raises(ValueError) as caught:
        decode.main(settings(tmp_path, **changes), RunFolder(tmp_path, "decode"))
    assert str(caught.value).startswith(message)


def test_unequal_contenders_are_not_timed():
    job = decoders.Job(decoders.language_model(7, 4, -1e4), 2, 2, 3)
    tokens, log_probs = decoders.build_numpy(job)()
    decoders.check_equal("right", (tokens, log_probs), (tokens, log_probs))
    with pytest.raises(AssertionError, match="wrong"):
        decoders.check_equal("wrong", (tokens, log_probs + 1), (tokens, log_probs))
    with pytest.raises(AssertionError, match="wrong: its best hypotheses differ"):
        decoders.check_equal("wrong", ((tokens + 1) % 7, log_probs), (tokens, log_probs))
