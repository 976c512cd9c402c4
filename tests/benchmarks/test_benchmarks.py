"""The benchmarks' own pieces, on shapes too small to time anything."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import __main__ as listing
from benchmarks import compile as compiling
from benchmarks import harness, memory, peers, profile, report, unroll
from experiments.lab.folder import RunFolder

SMALL = (2, 3, 2, 4)


def settings(tmp_path, **changes: Any):
    quick: dict[str, Any] = {"peers": ("scan",), "rounds": 2, "out": tmp_path}
    return unroll.Settings(**(quick | changes))


def test_a_run_writes_numbers_and_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(unroll, "SHAPES", {name: [SMALL] for name in unroll.SHAPES})
    unroll.main(settings(tmp_path, kinds=("gru",)), RunFolder(tmp_path, "unroll"))
    result = json.loads((tmp_path / "unroll.json").read_text())
    assert [row["table"] for row in result["rows"]] == list(unroll.SHAPES)
    train = result["rows"][0]["seconds"]
    assert set(train) == {"seqjax", "scan", "floor"} and min(train.values()) > 0
    assert result["environment"]["versions"]["jax"] == jax.__version__
    assert (tmp_path / "unroll.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "| gru | 2 3 2 4 |" in printed and f"unroll.png are in {tmp_path}" in printed


def test_peers_that_are_not_installed_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(unroll, "SHAPES", {"forward": [SMALL]})
    monkeypatch.setattr(peers, "installed", lambda name: name in ("seqjax", "scan"))
    chosen = settings(tmp_path, tables=("forward",), peers=("scan", "haiku", "keras"))
    unroll.main(chosen, RunFolder(tmp_path, "unroll"))
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
        unroll.main(settings(tmp_path, **changes), RunFolder(tmp_path, "unroll"))
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


def test_memory_of_policies(tmp_path, monkeypatch, capsys):
    """Each policy's gradient is compared with a stepped scan's before it counts."""
    monkeypatch.setattr(memory, "measure_remat", partial(memory.measure_remat, shape=(2, 40, 8)))
    small = partial(memory.measure_truncate, lengths=(40, 400), window=10, size=8)
    monkeypatch.setattr(memory, "measure_truncate", small)
    out = tmp_path / "memory.json"
    chosen = memory.Settings(tables=("remat", "truncate"), rounds=1)
    memory.main(chosen, RunFolder(tmp_path, "memory"))
    rows = json.loads(out.read_text())["rows"]
    used = {row["policy"]: row["bytes"] for row in rows if row.get("loss") == "carry"}
    assert used["scan"] > 2 * used['"sqrt"'] > used["binomial_schedule(T, 10)"] > 0
    growth = {}
    for row in rows:
        if row["table"] == "truncate":
            growth.setdefault(row["policy"], []).append(row["bytes"])
    flat, grown = growth["truncated_value_and_grad"], growth["unroll(truncate=K)"]
    assert flat[1] / flat[0] < 1.05 and grown[1] / grown[0] > 5
    assert "| `binomial_schedule(T, 10)` |" in capsys.readouterr().out
    assert out.with_suffix(".png").stat().st_size > 1000


def test_a_long_sequence_is_trained_on():
    row = memory.train_long("ys", length=300, batch_size=2, size=4)
    assert row["losses"][0] > row["losses"][1] > row["losses"][2]
    assert row["peak"] > row["bytes"] > 0


def test_compile_times(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "SHAPES", [SMALL])
    out = tmp_path / "compile.json"
    folder = RunFolder(tmp_path, "compile")
    compiling.main(compiling.Settings(kinds=("gru",), peers=("scan",), rounds=1), folder)
    (row,) = json.loads(out.read_text())["rows"]
    assert set(row["seconds"]) == {"seqjax", "scan"} and min(row["seconds"].values()) > 0
    with pytest.raises(ValueError, match="peers has 'torch', which compiles nothing"):
        compiling.main(compiling.Settings(peers=("torch",)), folder)


def test_a_profile_finds_the_loop(capsys):
    profile.main(profile.Settings(shape=(2, 7, 3, 4), steps=2, rows=40))
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert {"7", "1"} <= {row[1].strip() for row in rows[2:]}
    assert not any("while" in row[0] or "::" in row[0] for row in rows)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"contender": "torch"}, "contender is 'torch'; expected a JAX library that is here."),
        ({"contender": "jaxer"}, "peers has 'jaxer'; expected some of seqjax, scan, flax"),
        ({"steps": 0}, "steps is 0; expected at least 1."),
        ({"device": "tpu"}, "device is 'tpu', which this machine does not have"),
    ],
)
def test_profile_errors(changes, message):
    with pytest.raises(ValueError) as caught:
        profile.main(profile.Settings(**changes))
    assert str(caught.value).startswith(message)


def test_every_benchmark_is_listed_with_its_purpose(capsys):
    assert listing.main([]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(listing.NAMES)
    assert all(len(line.split()) > 5 for line in lines)
    sources = Path(listing.__file__).parent.glob("*.py")
    runnable = {path.stem for path in sources if "harness.command(" in path.read_text()}
    assert runnable - {"harness", "__main__"} == set(listing.NAMES) - {"report"}
    assert listing.main(["speed"]) == 2
    assert "there is no benchmark 'speed'; expected one of unroll" in capsys.readouterr().err


@pytest.mark.parametrize("name", listing.NAMES)
def test_help_says_what_is_measured_and_changes_nothing(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    written = [page.stat().st_mtime_ns for page in report.PAGES]
    with pytest.raises(SystemExit) as ended:
        listing.main([name, "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and f"usage: python -m benchmarks.{name}" in printed
    assert " ".join(listing.purpose(name).split()[:4]) in printed
    assert not list(tmp_path.iterdir())
    assert [page.stat().st_mtime_ns for page in report.PAGES] == written


def test_a_folder_with_files_of_the_users_is_refused(tmp_path):
    (tmp_path / "unroll.json").write_text("mine")
    assert listing.main(["unroll", "--out", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["unroll.json"]
    assert (tmp_path / "unroll.json").read_text() == "mine"
