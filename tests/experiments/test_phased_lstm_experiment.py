"""The experiment on uneven sampling in its pieces: waves, arms, watching, command line."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.lab import sweep as sweeps
from experiments.phased_lstm import arms
from experiments.phased_lstm.__main__ import main
from experiments.phased_lstm.sines import BASELINE, MOST, differences, draw

WAVES = jax.tree.map(np.asarray, jax.jit(draw, static_argnums=1)(jax.random.key(0), 3000))


def real_samples(waves, row):
    count = int(waves.lengths[row])
    return tuple(np.asarray(a[row, :count], np.float64) for a in (waves.times, waves.values))


def best_period(times, values):
    """The period whose sine of any phase and size fits best, by least squares over a fine grid."""
    rates = np.arange(0.01, 1.0, 2e-4)
    angle = 2 * np.pi * rates[:, None] * times
    basis = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    gram = basis.mT @ basis + 1e-9 * np.eye(2)
    fit = (basis @ np.linalg.solve(gram, basis.mT @ values[:, None]))[..., 0]
    return 1 / rates[np.argmin(((fit - values) ** 2).sum(axis=1))]


def test_samples_determine_the_class():
    """Least squares finds it, so that accuracy 1 is possible, but for periods at the edges."""
    for row in [*range(25), *range(2970, 3000)]:
        period = best_period(*real_samples(WAVES, row))
        if min(abs(period - 5), abs(period - 6)) > 0.05:
            assert (5 < period < 6) == WAVES.special[row], period


@pytest.mark.parametrize("resolution", [None, 2.5])
def test_times_increase_within_the_duration(resolution):
    waves = WAVES
    if resolution is not None:
        drawing = jax.jit(draw, static_argnums=(1, 2))
        waves = jax.tree.map(np.asarray, drawing(jax.random.key(0), 200, resolution))
    for row in range(200):
        times, values = real_samples(waves, row)
        steps = np.diff(times)
        assert times[0] >= 0 and times[-1] <= MOST + 1e-3 and np.abs(values).max() <= 1
        if resolution is None:
            assert (steps >= 0).all() and np.ptp(steps) > 0.01
        else:
            np.testing.assert_allclose(steps, resolution, rtol=1e-4)
    padding = np.arange(waves.times.shape[1]) >= waves.lengths[:, None]
    assert not waves.times[padding].any() and not waves.values[padding].any()
    longest = 124 if resolution is None else 50
    assert waves.times.shape[1] == longest and waves.lengths.max() >= longest - 3


def test_half_are_special_and_lengths_are_uniform():
    np.testing.assert_allclose(WAVES.special.mean(), BASELINE, atol=0.03)
    assert WAVES.special[:1500].all() and WAVES.special[1500:].mean() < 0.1
    assert WAVES.lengths.min() == 15 and WAVES.lengths.max() == 124
    np.testing.assert_allclose(WAVES.lengths.mean(), 69.5, atol=2)


def test_differences_are_the_gaps_between_samples():
    gaps = np.asarray(differences(jax.tree.map(jnp.asarray, WAVES)))
    for row in range(50):
        times, _ = real_samples(WAVES, row)
        np.testing.assert_allclose(gaps[row, : len(times)], np.diff(times, prepend=times[0]))
        assert not gaps[row, len(times) :].any()


def test_arms_have_equally_many_parameters():
    counts = [
        sum(a.size for a in jax.tree.leaves(jax.eval_shape(arm.init, jax.random.key(0))))
        for arm in arms.ARMS
    ]
    assert max(counts) < 1.005 * min(counts)


SMALL = arms.Arm(
    "Phased LSTM", sj.cells.PhasedLSTM(4, period_range=(2.0, 9.0), open_ratio=0.3), arms.timed, 1
)


def test_the_last_real_state_is_read_and_the_leak_is_for_training():
    params = SMALL.init(jax.random.key(1))
    waves = jax.tree.map(lambda a: jnp.asarray(a[:3]), WAVES)
    logits = SMALL.logits(params, waves)
    for row in range(3):
        count = int(waves.lengths[row])
        alone = sj.cells.Timed(
            waves.values[row : row + 1, :count, None], waves.times[row : row + 1, :count]
        )
        _, ys = sj.unroll(SMALL.cell, params["cell"], alone)
        expected = ys[0, -1] @ params["w_o"] + params["b_o"]
        np.testing.assert_allclose(logits[row], expected[0], rtol=1e-4, atol=1e-6)
    flipped = waves._replace(special=logits <= 0)
    assert not SMALL.correct(params, flipped).any()
    leaky = replace(SMALL, cell=replace(SMALL.cell, leak=1.0))
    np.testing.assert_array_equal(leaky.correct(params, waves), SMALL.correct(params, waves))
    assert (leaky.logits(params, waves) != logits).all()


def test_updates_are_counted_row_by_row():
    params = SMALL.init(jax.random.key(1))
    waves = jax.tree.map(lambda a: jnp.asarray(a[:5]), WAVES)
    gates = np.asarray(replace(SMALL.cell, leak=0.0).time_gate(params["cell"], waves.times))
    found = arms.updates(SMALL.cell, params, waves)
    for row in range(5):
        share = (gates[row, : int(waves.lengths[row])] > 0).mean()
        np.testing.assert_allclose(found[row], share, atol=0.01)


def test_a_task_is_watched_and_the_command_reports_the_margin(tmp_path, monkeypatch, capsys):
    """A short training of one small arm; the others are given its result."""
    for name, size in {"ROWS": 4, "TEST_ROWS": 64, "WATCH_ROWS": 32}.items():
        monkeypatch.setattr(arms, name, size)
    small = replace(SMALL, rates=(1e-3, 1e-2))
    task = arms.task(small, "every 5", 5.0, 110)
    assert task.steps == 100
    result, params = sweeps.sweep(task, range(2))
    watched = np.array(result["watched"])
    assert watched.shape == (2, 50) and (watched >= 0).all() and (watched <= 1).all()
    last = jax.tree.map(lambda a: jnp.asarray(a[1]), params)
    assert task.watch is not None
    np.testing.assert_allclose(watched[1, -1], task.watch(last), atol=1e-6)
    assert "share of updates" in result["test"]

    def sweep(task, seeds):
        mean = 0.9 if "Phased" in task.name else 0.8
        accuracy = result["test"]["accuracy"] | {"mean": mean}
        return result | {"test": {"accuracy": accuracy}}, params

    monkeypatch.setattr(sweeps, "sweep", sweep)
    monkeypatch.setattr(arms, "ARMS", (*arms.ARMS[:2], small))
    args = ["--seeds", "2", "--resolution", "5", "--steps", "100", "--out", str(tmp_path)]
    assert main(args) == 0
    content = json.loads((tmp_path / "results.json").read_text())
    margins = content["margins_in_points"]
    assert list(margins) == [f"Phased LSTM less {arm.name}" for arm in arms.ARMS[:2]]
    np.testing.assert_allclose(list(margins.values()), 10)
    assert (
        len(content["tasks"]) == 3 and len(content["tasks"]["every 5, Phased LSTM"]["watched"]) == 2
    )
    assert (tmp_path / "phased_lstm.png").stat().st_size > 5000
    assert "Phased LSTM less LSTM, time as input: +10.0 points (aim: +5)" in capsys.readouterr().out
    assert main(["--steps", "10"]) == 2 and main(["--resolution", "9"]) == 2
