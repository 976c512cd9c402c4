"""The experiment on scheduled sampling in its pieces: the source, its bounds, arms, report."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments import report
from experiments.lab import sweep as sweeps
from experiments.lab.folder import RunFolder
from experiments.scheduled_sampling import arms, huszar, pictures
from experiments.scheduled_sampling.__main__ import huszar_lines, main, shares
from experiments.scheduled_sampling.hmm import StickyHMM

SMALL = StickyHMM(labels=3, stay=0.8, hit=0.6)
LABELS, SEEN = jax.tree.map(np.asarray, SMALL.draw(jax.random.key(0), 4000, 12))


def posterior(seen):
    """P(last label | observations), by the sum over all sequences of labels."""
    mass = np.zeros(3)
    for labels in itertools.product(range(3), repeat=len(seen)):
        moves = [SMALL.transition[a, b] for a, b in itertools.pairwise(labels)]
        hits = [SMALL.emission[a, b] for a, b in zip(labels, seen, strict=True)]
        mass[labels[-1]] += np.prod(moves) * np.prod(hits) / 3
    return mass / mass.sum()


def test_the_filter_is_the_sum_over_all_labels():
    found = SMALL.filter(jnp.asarray(SEEN[:5, :6]))
    for b in range(5):
        for t in range(6):
            np.testing.assert_allclose(found[b, t], posterior(SEEN[b, : t + 1]), atol=1e-6)


def test_labels_stay_and_observations_hit_as_often_as_they_should():
    near = lambda share, p, n: abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / n)
    assert near((LABELS[:, 1:] == LABELS[:, :-1]).mean(), 0.8, 4000 * 11)
    assert near((LABELS == SEEN).mean(), 0.6, LABELS.size)
    assert all(near((LABELS[:, 0] == k).mean(), 1 / 3, 4000) for k in range(3))
    assert all(near((SEEN == (LABELS + k) % 3).mean(), 0.2, LABELS.size) for k in (1, 2))
    np.testing.assert_allclose(SMALL.transition.sum(axis=1), 1)


def test_bounds_are_the_errors_of_the_best_taggers():
    wrong = np.argmax(SMALL.filter(jnp.asarray(SEEN)), axis=-1) != LABELS
    expected = np.mean(1 - np.max(SMALL.filter(jnp.asarray(SEEN)), axis=-1))
    assert abs(wrong.mean() - expected) < 5 * wrong.mean(axis=1).std() / np.sqrt(4000)
    before = SMALL.transition[LABELS[:, :-1]] * SMALL.emission[:, SEEN[:, 1:]].transpose(1, 2, 0)
    told = np.argmax(before, axis=-1) != LABELS[:, 1:]
    first = np.argmax(SMALL.emission[:, SEEN[:, 0]], axis=0) != LABELS[:, 0]
    found = (told.sum() + first.sum()) / LABELS.size
    assert abs(found - SMALL.next_error(12)) < 0.01
    assert arms.filter_error(2000) == pytest.approx(0.326, abs=0.01)


@pytest.mark.parametrize("arm", arms.arms(100), ids=lambda arm: arm.name)
def test_every_arm_trains_the_same_network(arm):
    task = arms.task(arm, 100, bound=0.3, gate=0.5)
    run = lambda key: sweeps.train(task, key, jnp.float32(1e-3))
    _, _, _, scores, params = jax.eval_shape(run, jax.random.key(0))
    assert {"free-running error", "next-label error", "exact filter's error"} == set(scores)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 17_226


def test_gap_and_errors_are_of_the_same_runs():
    params = jax.tree.map(lambda a: 2.0 * a, arms.init(jax.random.key(1)))
    labels, seen = arms.SOURCE.draw(jax.random.key(2), 30, 12)
    gap, wrong = arms.gap(params, labels, seen), arms.errors(params, labels, seen)
    np.testing.assert_allclose(gap.free_error, wrong["free-running error"].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(gap.forced_error, wrong["next-label error"].mean(axis=0), rtol=1e-6)
    assert np.any(gap.error)


def test_schedules_of_the_arms_fall_where_they_should():
    told, falling, twice, never = arms.arms(600)
    assert told.epsilon(jnp.int32(599)) == 1 and never.epsilon(jnp.int32(0)) == 0
    assert falling.epsilon(0) > 0.97 and falling.epsilon(599) < 0.01
    assert twice.parallel and twice.epsilon == falling.epsilon


def fake(task, error):
    """Results of a sweep, made up."""
    found = sweeps.Estimate(np.array([error, error, error]), np.full(3, 1e-3))
    names = ("free-running error", "next-label error", "exact filter's error")
    test = {name: sweeps.summary(task, name, found) for name in names}
    seconds = {"compile_seconds": 0.0, "run_seconds": 0.0}
    return {"rate": 1e-3, "test": test, "failed_seeds": [], "curve": [[1.0]] * 3, **seconds}


def test_report_and_picture(tmp_path):
    tasks = [arms.task(arm, 10, bound=0.3, gate=0.5) for arm in arms.arms(10)]
    errors = (0.8, 0.4, 0.5, 0.36)
    results = {task.name: fake(task, e) for task, e in zip(tasks, errors, strict=True)}
    assert "scheduled sampling 0.50, two passes 0.62, always sampling 0.45" in shares(results)
    table = [[0.0, 0.51], [1.0, 0.94]]
    assert "1.00  0.9400  0.9500" in huszar_lines(table)
    assert report.table(tasks, results).count("free-running error") == 4
    path = report.write_results(
        RunFolder(tmp_path, "scheduled_sampling"), tasks, results, 1.0, {"huszar": table}
    )
    assert json.loads(path.read_text())["huszar"] == table
    places = {"always sampling": [0.3, 0.2], "exact filter": [0.2, 0.1]}
    pictures.draw(tmp_path / "picture.png", results, places, table)
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_huszars_source_repeats_itself():
    pairs = huszar.draw(jax.random.key(0), 20_000)
    assert abs(float((pairs[:, 0] == pairs[:, 1]).mean()) - huszar.STAY) < 0.008
    assert abs(float(pairs[:, 0].mean()) - 0.5) < 0.017


@pytest.mark.parametrize("args", [["--steps", "0"], ["--seeds", "0"], ["--threads", "-1"]])
def test_wrong_arguments_are_refused(args, capsys, tmp_path):
    assert main([*args, "--out", str(tmp_path)]) == 2
    assert "expected at least 1" in capsys.readouterr().err
