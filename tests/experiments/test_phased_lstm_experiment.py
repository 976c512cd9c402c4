"""The experiment on uneven sampling in its pieces: waves, arms, watching, the verdict."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from experiments.lab.task import VALID, parameters
from experiments.signals.phased_lstm import experiment, model
from experiments.signals.phased_lstm.data import BASELINE, MOST, differences, draw

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
    counts = [parameters(arm.init) for arm in model.ARMS]
    assert max(counts) < 1.005 * min(counts)


CELL = sj.cells.PhasedLSTM(4, period_range=(2.0, 9.0), open_ratio=0.3)
SMALL = model.Arm("Phased LSTM", CELL, model.timed, 1)


def test_the_last_real_state_is_read_and_the_leak_is_for_training():
    params = SMALL.init(jax.random.key(1))
    waves = jax.tree.map(lambda a: jnp.asarray(a[:3]), WAVES)
    logits = SMALL.logits(params, waves)
    _, ys = sj.unroll(SMALL.cell, params["cell"], model.timed(waves))
    last = ys[jnp.arange(3), waves.lengths - 1]
    expected = (last @ params["w_o"] + params["b_o"])[:, 0]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)
    flipped = waves._replace(special=logits <= 0)
    assert not SMALL.correct(params, flipped).any()
    leaky = replace(SMALL, cell=replace(SMALL.cell, leak=1.0))
    np.testing.assert_array_equal(leaky.correct(params, waves), SMALL.correct(params, waves))
    assert (leaky.logits(params, waves) != logits).all()


def test_updates_are_counted_row_by_row():
    params = SMALL.init(jax.random.key(1))
    waves = jax.tree.map(lambda a: jnp.asarray(a[:5]), WAVES)
    gates = np.asarray(replace(SMALL.cell, leak=0.0).time_gate(params["cell"], waves.times))
    found = model.updates(SMALL.cell, params, waves)
    for row in range(5):
        share = (gates[row, : int(waves.lengths[row])] > 0).mean()
        np.testing.assert_allclose(found[row], share, atol=0.01)


def test_training_is_watched_on_waves_that_no_test_has(monkeypatch):
    monkeypatch.setattr(experiment, "WATCH_ROWS", 32)
    task = experiment.task(SMALL, experiment.Config(resolution=5.0))
    waves = draw(jax.random.fold_in(jax.random.key(2**31 - 2), VALID), 32, 5.0)
    params = SMALL.init(jax.random.key(1))
    assert task.watch is not None
    np.testing.assert_allclose(task.watch(params), SMALL.correct(params, waves).mean())


def test_a_clock_has_to_be_better_than_every_lstm():
    names = [arm.name for arm in model.ARMS]
    line, misses = experiment.verdict(dict(zip(names, (71.2, 93.1, 90.7, 98.2), strict=True)))
    assert line == (
        "Above the best LSTM (LSTM, time differences): Phased LSTM, ratio 0.05: -2.4 points; "
        "Phased LSTM, ratio 0.2: +5.1 points (aim: +5)."
    )
    assert misses == ["Phased LSTM, ratio 0.05 is -2.4 points above the best LSTM, not +5"]
    alone = experiment.verdict({names[3]: 90.0})
    assert alone == ("Accuracy: Phased LSTM, ratio 0.2: 90.0 %.", [])


@pytest.mark.parametrize("resolution", [9.0, 0.01, -1.0, float("nan")])
def test_a_resolution_has_to_make_rows(resolution):
    with pytest.raises(ValueError, match="resolution is .*; expected 0, or 0.1 to 5"):
        experiment.Config(resolution=resolution).check()
