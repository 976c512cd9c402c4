"""A run of the music experiment: plan, budget, best parameters, Ctrl-C, resuming, progress."""

import itertools
import json
import math
import os
import re
import signal
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from experiments.lab import command
from experiments.lab.folder import RunFolder
from experiments.music import data as music_data
from experiments.music import experiment, progress, training
from experiments.music.config import Config
from experiments.music.training import History, Run

TEXT = "the cat sat on the mat.\nthe dog lay on the log.\n" * 60
SIZES = {"hidden_size": 8, "batch_size": 4, "window": 8, "samples": 3}
STEPS = 20


@pytest.fixture(scope="module", autouse=True)
def few_validations():
    """After every fourth step: each writes a checkpoint, which takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "VALIDATIONS", 5)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    folder = tmp_path_factory.mktemp("music")
    (folder / "text.txt").write_text(TEXT)
    return replace(Config(), text=folder / "text.txt", out=folder / "run", **SIZES)


@pytest.fixture(scope="module")
def data(config):
    return music_data.load(config)


def planned(config, data, **changes) -> Run:
    """A run that was planned without a clock."""
    config = replace(config, **changes)
    run = Run(config, data.model, data.windows, data.identity, RunFolder(config.out, "music"))
    run.history.total_steps = STEPS
    return run


@pytest.fixture(scope="module")
def recorded(config, data, few_validations):
    """A run whose validation gets worse after step 8, and its parameters after every step."""
    run = planned(config, data, out=config.out / "recorded")
    measured = iter([2.0, 1.0, math.nan, 1.0, 3.0])
    run.bits = lambda params, corpus: next(measured)
    params = {0: jax.tree.map(np.array, run.state.params)}
    for step, _ in run.steps():
        params[step] = jax.tree.map(np.array, run.state.params)
    return run, params


def moved(before, after):
    """The greatest change of a parameter."""
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def test_the_best_parameters_are_kept_when_validation_worsens(recorded):
    run, params = recorded
    assert moved(run.best_params(), params[8]) == 0 < moved(params[8], params[STEPS])
    assert run.history.best() == 1.0
    steps = [step for step, _ in run.history.valid]
    assert steps == [4, 8, 16, 20]  # the one that was not finite is left out


def test_the_schedule_warms_up_and_ends_near_its_floor(recorded):
    """Adam's steps are as long as the learning rate at most, but for some per cent."""
    run, params = recorded
    steps = [moved(params[k], params[k + 1]) for k in range(STEPS)]
    peak = run.config.learning_rate
    assert steps[0] == 0
    assert 0.5 * peak < max(steps) < 1.2 * peak
    assert 0 < steps[-1] < 0.02 * peak  # the floor is a hundredth


def tick(monkeypatch, seconds):
    """A clock that moves by so much whenever it is read."""
    clock = itertools.count(0, seconds)
    fake = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr(training, "time", fake)


def test_training_stops_when_the_minutes_are_over_and_goes_on_with_more(config, data, monkeypatch):
    tick(monkeypatch, 7)
    out = config.out / "over"
    run = planned(config, data, minutes=0.5, out=out)
    assert [step for step, _ in run.steps()] == [1, 2, 3, 4, 5]  # 35 s
    assert [step for step, _ in run.history.valid] == [4, 5]
    run.folder.close()
    longer = planned(config, data, minutes=0.8, out=out)
    longer.resume()
    assert int(longer.state.step) == 5 and longer.history.seconds == 35
    assert [step for step, _ in longer.steps()] == [6, 7]  # 49 s


def test_the_plan_fits_the_minutes_and_clears_an_older_run(config, data, monkeypatch):
    tick(monkeypatch, 1)  # 60 steps in a second, and a second for each of five validations
    run = planned(config, data, minutes=0.5, out=config.out / "plan")
    old = run.folder.write_text("best/old", "")
    run.start()
    assert run.history.total_steps == round(0.8 * (30 - 5) * 60)
    assert int(run.state.step) == 0 and not old.exists()


def test_an_interrupted_run_goes_on_to_the_same_end(config, data):
    whole, first = (planned(config, data, out=config.out / name) for name in ("whole", "parts"))
    list(whole.steps())
    with pytest.raises(KeyboardInterrupt):
        for step, _ in first.steps():
            if step == 3:
                os.kill(os.getpid(), signal.SIGINT)
    first.folder.close()
    second = planned(config, data, out=config.out / "parts")
    second.resume()
    assert int(second.state.step) == 3
    assert [step for step, _ in second.steps()] == list(range(4, STEPS + 1))
    for a, b in zip(
        jax.tree.leaves((whole.state.params, whole.state.opt_state)),
        jax.tree.leaves((second.state.params, second.state.opt_state)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert second.history.valid == whole.history.valid


def test_ctrl_c_and_resume_at_the_command_line(config, capsys, monkeypatch):
    """Stopped in step 3 with the way on; refused for another run; finished with its progress."""
    folder = config.out.parent / "command"
    other = config.out.parent / "other.txt"
    other.write_text(TEXT + TEXT)
    args = ["music", "--text", str(config.text), "--out", str(folder), "--prompt", "the "]
    args += [word for name, n in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(n))]
    described, seen = progress._describe, []

    def describe(run, step, loss, norm):
        seen.append(step)
        if seen == [1, 2, 3]:
            os.kill(os.getpid(), signal.SIGINT)
        return described(run, step, loss, norm)

    monkeypatch.setattr(Run, "start", lambda run: setattr(run.history, "total_steps", STEPS))
    monkeypatch.setattr(progress, "EVERY", 1)
    monkeypatch.setattr(progress, "_describe", describe)
    monkeypatch.setenv("COLUMNS", "200")
    assert command.main(args) == 130
    assert f"\nstopped; go on with: --resume --out {folder}\n" in capsys.readouterr().err
    for name, value in {"seed": "1", "window": "4", "text": str(other)}.items():
        assert command.main([*args, "--resume", f"--{name}", value]) == 2
        assert f"is of another {name}; resume it with the same text" in capsys.readouterr().err
    assert command.main([*args, "--resume"]) == 0
    assert seen == list(range(1, STEPS + 1))
    results = json.loads((folder / "results.json").read_text())["measured"]
    assert results["model"]["steps"] == STEPS
    assert [step for step, _ in results["history"]["train"]] == seen
    loss = r"loss \d\.\d{3} bpc \d\.\d{3} valid \d\.\d{3} \|g\| \d\.\d\d [\d,]+ chars/s"
    assert re.search(rf"20/20 .* {loss} \d:\d\d:\d\d", capsys.readouterr().out)


def test_ctrl_c_before_anything_was_saved(config, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "train", interrupted)
    out = config.out.parent / "nothing"
    assert command.main(["music", "--text", str(config.text), "--out", str(out)]) == 130
    assert capsys.readouterr().err == "\nstopped; nothing was saved yet\n" and not out.exists()


def test_the_progress_in_numbers():
    """1.5 bits, 100 windows of 4 x 8 characters in 2 s."""
    config = SimpleNamespace(batch_size=4, window=8)
    history = History(total_steps=9, valid=[[1, 9.0], [2, 1.25]], seconds=2.0)
    run: Any = SimpleNamespace(config=config, history=history)
    said = progress._describe(run, 100, 1.5 * math.log(2), 0.456)
    assert said == "loss 1.040 bpc 1.500 valid 1.250 |g| 0.46 1,600 chars/s"
    history.valid.clear()
    assert "valid" not in progress._describe(run, 100, 1.0, 1.0)
