"""The loop that all experiments share: training, scores, gates, leaks."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from experiments.lab import run, tables
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.record import Report, read
from experiments.lab.sweep import sweep
from experiments.lab.task import Estimate, Task, chosen, estimate


def square(name: str = "square", gate: float = 0.1, optimum: float = 0.0) -> Task:
    """w is to become 3; the noise of a batch has mean 0."""

    def evaluate(params, key, split):
        del split
        noise = 1e-3 * jax.random.normal(key, (8,))
        return {"squared error": estimate((params["w"] - 3) ** 2 + noise**2)}

    return Task(
        name=name,
        init=lambda key: {"w": jax.random.normal(key)},
        loss=lambda params, key: (params["w"] - 3 + 1e-2 * jax.random.normal(key)) ** 2,
        evaluate=evaluate,
        metric="squared error",
        optimum={"squared error": optimum},
        baseline=9.0,
        gate=gate,
        steps=60,
        rates=(1e-3, 1.0),
        rises=False,
    )


def test_the_rate_best_on_validation_is_chosen_and_its_seeds_reported():
    result, params = sweep(square(), [3, 4], threads=2)
    assert result["rate"] == 1.0 and result["parameters"] == 1 and result["failed_seeds"] == []
    assert result["validation"]["1.0"] < result["validation"]["0.001"]
    curve = np.array(result["curve"])
    assert curve.shape == (2, 50) and (curve[:, -1] < curve[:, 0]).all()
    np.testing.assert_allclose(params["w"], 3, atol=0.3)
    assert not math.isclose(*params["w"], abs_tol=1e-9)
    again, _ = sweep(square(), [4], threads=1)
    assert again["test"]["squared error"]["seeds"] == result["test"]["squared error"]["seeds"][1:]


def test_what_is_watched_changes_nothing():
    watched, params = sweep(replace(square(), watch=lambda params: params["w"]), [4])
    plain, expected = sweep(square(), [4])
    assert params == expected and watched["curve"] == plain["curve"] and plain["watched"] is None
    curve = watched["watched"][0]
    assert len(curve) == 50 and abs(curve[0] - 3) > abs(curve[-1] - 3)


def test_what_one_batch_hands_on_to_the_next():
    """A carry that counts: the loss of step n is n, whatever the params."""
    counting = Task(
        name="count",
        init=lambda key: jnp.zeros(()),
        loss=lambda params, carry, key: (carry + 0 * params, carry + 1),
        evaluate=lambda params, key, split: {"x": Estimate(params, params)},
        metric="x",
        optimum={},
        baseline=0.0,
        gate=0.0,
        steps=5,
        rates=(1.0,),
        carry=lambda params: jnp.zeros(()),
    )
    result, _ = sweep(counting, [0])
    assert result["curve"] == [[0.0, 1.0, 2.0, 3.0, 4.0]]


def settings(tmp_path, **changes):
    return SweepSettings(out=tmp_path / "run", seeds=1, **changes)


def experiment(*tasks, **more) -> Experiment:
    report = lambda config, results: Report("a line", [tables.of_tasks(tasks, results.found)])
    return Experiment(
        "adding", "", "", 1, SweepSettings, report, tasks=lambda config: list(tasks), **more
    )


def test_a_missed_gate_is_a_result_and_a_leak_an_error(tmp_path, capsys):
    assert run.run(experiment(square(gate=-1.0), square("good")), settings(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "failed: square, seeds 0" in printed and "failed: good" not in printed
    content = read(tmp_path / "run" / "results.json")
    assert content["report"]["misses"] == ["failed: square, seeds 0"]
    assert set(content["tasks"]) == {"square", "good"}
    assert (tmp_path / "run" / "adding.png").stat().st_size > 5000
    assert run.run(experiment(square(optimum=1.0)), settings(tmp_path)) == 1
    printed = capsys.readouterr().out
    assert "square, squared error LEAK" in printed and "the target leaks into the input" in printed


def test_an_edited_result_is_the_users(tmp_path, capsys):
    folder = tmp_path / "run"
    assert run.run(experiment(square()), settings(tmp_path)) == 0
    for name in ("results.json", "adding.png", "diary.txt"):
        (folder / name).write_text("mine")
    assert run.run(experiment(square()), settings(tmp_path)) == 0
    assert "adding.png is not this run's to replace; wrote" in capsys.readouterr().out
    for name in ("results.json", "adding.png", "diary.txt"):
        assert (folder / name).read_text() == "mine"
    assert read(folder / "results-2.json")["tasks"]
    assert (folder / "adding-2.png").stat().st_size > 5000


def test_what_is_measured_is_recorded_unless_there_is_nothing(tmp_path):
    def measure(config, results: Results, folder):
        assert folder.path == tmp_path / "run" and results.params["square"]["w"].shape == (1,)
        return {"w": float(results.params["square"]["w"][0])}

    assert run.run(experiment(square(), measure=measure), settings(tmp_path)) == 0
    found = read(tmp_path / "run" / "results.json")["measured"]["w"]
    assert found == pytest.approx(3, abs=0.3)
    other = SweepSettings(out=tmp_path / "other", seeds=1)
    assert run.run(experiment(measure=lambda *_: None), other) == 0
    assert not (tmp_path / "other").exists()


def test_tasks_are_chosen_by_part_of_a_name():
    tasks = [square("GRU, one"), square("LSTM, one")]
    assert chosen(tasks, "LSTM") == tasks[1:] and chosen(tasks, "") == tasks
    with pytest.raises(ValueError, match="only is 'x'; expected part of one of: GRU, one; LSTM"):
        chosen(tasks, "x")


def test_quick_gives_way_to_what_was_asked_for():
    quick = experiment(quick={"seeds": 1, "threads": 1})
    assert quick.resolved(SweepSettings(quick=True, threads=4)) == SweepSettings(
        quick=True, threads=4, seeds=1
    )
    assert quick.resolved(SweepSettings()) == SweepSettings()
