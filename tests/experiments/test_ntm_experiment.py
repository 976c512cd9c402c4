"""The memory experiment in its pieces: what is drawn, what is optimal, a few steps, pictures."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.foundations.ntm import experiment
from experiments.foundations.ntm.data import (
    PROBLEMS,
    Rows,
    bayes_bits,
    copy,
    ngrams,
    recall,
    repeat_copy,
    sort,
)
from experiments.foundations.ntm.model import PLANS, Plan, one_span
from experiments.lab import command, record


def drawn(draw, *span, rows=40, seed=0):
    return jax.tree.map(np.asarray, draw(jax.random.key(seed), rows, *span))


def test_copies_are_what_was_shown():
    rows = drawn(copy, 2, 6)
    lengths = rows.xs[..., 8].argmax(axis=1)
    assert set(lengths) == set(range(2, 7))
    for xs, targets, mask, n in zip(*rows, lengths, strict=True):
        assert xs.shape == (13, 9) and xs[:, 8].sum() == 1
        np.testing.assert_array_equal(targets[mask], xs[:n, :8])
        np.testing.assert_array_equal(np.flatnonzero(mask), np.arange(n + 1, 2 * n + 1))
        assert not xs[n + 1 :].any() and not targets[~mask].any()
    assert 0.4 < rows.targets[rows.mask].mean() < 0.6


def test_repeats_are_counted_and_end_with_a_mark():
    rows = drawn(repeat_copy, 1, 4, 1, 10)
    for xs, targets, mask in zip(*rows, strict=True):
        n = int(xs[:, 6].argmax())
        times = round(float(xs[n, 7]) * 2.87 + 5.5)
        assert 1 <= n <= 4 and 1 <= times <= 10 and mask.sum() == n * times + 1
        expected = np.concatenate([np.tile(xs[:n, :6], (times, 1)), np.zeros((1, 6))])
        np.testing.assert_array_equal(targets[mask][:, :6], expected)
        np.testing.assert_array_equal(np.flatnonzero(targets[:, 6]), [n + n * times + 1])
        assert not xs[n + 1 :].any()


def test_the_item_after_the_query_is_asked_for():
    for xs, targets, mask in zip(*drawn(recall, 2, 4), strict=True):
        starts, queries = np.flatnonzero(xs[:, 6]), np.flatnonzero(xs[:, 7])
        items = [xs[s + 1 : s + 4, :6] for s in starts]
        assert 2 <= len(items) <= 4 and queries[1] - queries[0] == 4
        query = xs[queries[0] + 1 : queries[1], :6]
        answers = [
            after for item, after in itertools.pairwise(items) if np.array_equal(item, query)
        ]
        assert any(np.array_equal(targets[mask], answer) for answer in answers)
        np.testing.assert_array_equal(np.flatnonzero(mask), queries[1] + np.arange(1, 4))


def test_vectors_are_sorted_by_priority():
    for xs, targets, mask in zip(*drawn(sort, 7, 4), strict=True):
        order = np.argsort(-xs[:7, 8])
        np.testing.assert_array_equal(targets[mask], xs[order[:4], :8])
        assert xs[7, 9] == 1 and mask.sum() == 4 and (np.abs(xs[:7, 8]) <= 1).all()


def test_bayes_estimator_by_counting():
    rows = drawn(ngrams, 60, 2, rows=5)
    got = bayes_bits(jax.tree.map(jnp.asarray, rows), 2)
    for xs, targets, bits in zip(rows.xs[..., 0], rows.targets[..., 0], got, strict=True):
        stream, seen, total = [*xs[:1], *targets], {}, 0.0
        for i in range(2, 60):
            counts = seen.setdefault(tuple(stream[i - 2 : i]), [0, 0])
            bit = int(stream[i])
            total -= math.log2((counts[bit] + 0.5) / (sum(counts) + 1))
            counts[bit] += 1
        np.testing.assert_allclose(bits, total, rtol=1e-5)
        np.testing.assert_array_equal(xs[1:], targets[:-1])


def test_no_table_can_be_predicted_better_than_by_bayes_on_average():
    """The rule (N₁ + 1/2) / (N + 1) has the exact mixture's cost: summed over all strings, 1."""
    total = 0.0
    for bits in itertools.product((0, 1), repeat=6):
        xs = jnp.asarray(bits, jnp.float32)[None, :, None]
        rows = Rows(xs[:, :-1], xs[:, 1:], jnp.ones((1, 5), bool))
        total += 0.5 * 2.0 ** -float(bayes_bits(rows, 1)[0])
    np.testing.assert_allclose(total, 1, rtol=1e-5)


@pytest.mark.parametrize("name", PROBLEMS)
def test_coins_are_the_baseline(name):
    problem = PROBLEMS[name]
    span = next(iter(problem.tests.values()))
    exact = {"copy": 160, "repeat": 600, "recall": 18, "sort": 128}
    got = experiment.coin_bits(problem, span)
    if name == "ngrams":
        assert 50 < got < 75  # of 195 predictions less the cost of the Bayes estimator
    else:
        assert got == exact[name]


def test_a_span_drawn_costs_and_pulls_as_it_does_alone():
    loss = lambda params, key, span: span[0] * jnp.sum(params**2) + jax.random.normal(key)
    sampled, params = one_span(loss, ((1.0,), (2.0,), (4.0,))), jnp.array([1.0, 2.0])
    both = jax.jit(jax.value_and_grad(lambda params, key: 3 * sampled(params, key)))
    seen = set()
    for seed in range(12):
        value, grads = both(params, jax.random.key(seed))
        scale = float(grads[0]) / 6
        noise = jax.random.normal(jax.random.split(jax.random.key(seed))[1])
        np.testing.assert_allclose(value, 3 * (5 * scale + noise), rtol=1e-5)
        np.testing.assert_allclose(grads, 6 * scale * params, rtol=1e-6)
        seen.add(round(scale))
    assert seen == {1, 2, 4}


def test_pictures_are_cut_where_nothing_is_used():
    weights = np.zeros((3, 16))
    weights[[0, 1, 2], [15, 0, 1]] = 1
    cut, first = experiment.used(weights)
    assert first == -3 and cut.shape == (3, 7)
    np.testing.assert_array_equal(cut.argmax(axis=1) + first, [-1, 0, 1])


def test_the_command_trains_both_networks_and_reports_each_seed(tmp_path, monkeypatch, capsys):
    small = sj.cells.NTM(sj.cells.Feedforward(8), slots=12, width=4)
    plans = Plan(small, 2, (1e-3, 1e-2)), Plan(sj.LSTM(4), 2, (1e-3,))
    monkeypatch.setitem(PLANS, "recall", plans)
    monkeypatch.setattr(experiment, "TEST_ROWS", 4)
    monkeypatch.setattr(experiment, "ROWS", 2)
    assert command.main(["ntm", "--problem", "recall", "--seeds", "2", "--out", str(tmp_path)]) == 0
    content = record.read(tmp_path / "results.json")
    assert set(content["tasks"]) == {"recall, NTM", "recall, LSTM"}
    for result in content["tasks"].values():
        assert 10 < result["test"]["bits at 6 items"]["mean"] < 40
    assert content["report"]["headline"] == "Every seed reaches the gates of: none."
    assert content["report"]["misses"][0] == "failed: recall, NTM, seeds 0, 1"
    (table,) = content["report"]["tables"]
    assert table["header"] == ["", "parameters", "bits at 6 items", "at 12", "at 20", "rate"]
    assert [cell.count(",") for cell in table["rows"][0][2:5]] == [1, 1, 1]  # of two seeds
    assert "guessing needs 18 of the first" in capsys.readouterr().out
    assert (tmp_path / "memory.png").stat().st_size > 10_000


def test_steps_are_those_that_the_problem_needs_unless_they_are_given():
    steps = lambda **how: [task.steps for task in experiment.tasks(experiment.Config(**how))]
    assert steps() == [5000, 4000] and steps(steps=7, problem="sort") == [7, 7]
