"""The memory experiment in its pieces: what is drawn, what is optimal, a few steps, pictures."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.ntm import arms, pictures
from experiments.ntm.__main__ import main
from experiments.ntm.problems import PROBLEMS, bayes_bits, copy, ngrams, recall, repeat_copy, sort


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
        rows = arms.Rows(xs[:, :-1], xs[:, 1:], jnp.ones((1, 5), bool))
        total += 0.5 * 2.0 ** -float(bayes_bits(rows, 1)[0])
    np.testing.assert_allclose(total, 1, rtol=1e-5)


@pytest.mark.parametrize("name", PROBLEMS)
def test_coins_are_the_baseline(name):
    problem = PROBLEMS[name]
    span = next(iter(problem.tests.values()))
    exact = {"copy": 160, "repeat": 600, "recall": 18, "sort": 128}
    got = arms.coin_bits(problem, span)
    if name == "ngrams":
        assert 50 < got < 75  # of 195 predictions less the cost of the Bayes estimator
    else:
        assert got == exact[name]


def test_a_span_drawn_costs_and_pulls_as_it_does_alone():
    loss = lambda params, key, span: span[0] * jnp.sum(params**2) + jax.random.normal(key)
    sampled, params = arms.one_span(loss, ((1.0,), (2.0,), (4.0,))), jnp.array([1.0, 2.0])
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
    cut, first = pictures.used(weights)
    assert first == -3 and cut.shape == (3, 7)
    np.testing.assert_array_equal(cut.argmax(axis=1) + first, [-1, 0, 1])


def test_the_command_trains_reports_and_draws(tmp_path, monkeypatch, capsys):
    small = sj.cells.NTM(sj.cells.Feedforward(8), slots=12, width=4)
    plans = arms.Plan(small, 2, (1e-3, 1e-2)), arms.Plan(sj.LSTM(4), 2, (1e-3,))
    monkeypatch.setitem(arms.PLANS, "recall", plans)
    monkeypatch.setattr(arms, "TEST_ROWS", 4)
    monkeypatch.setattr(arms, "ROWS", 2)
    assert main(["--task", "recall", "--seeds", "2", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "recall" / "results.json").read_text())["tasks"]
    assert set(results) == {"recall, NTM", "recall, LSTM"}
    for result in results.values():
        assert 10 < result["test"]["bits at 6 items"]["mean"] < 40 and result["failed_seeds"]
    assert (tmp_path / "recall" / "memory.png").stat().st_size > 10_000
    assert "failed: recall, NTM, seeds 0, 1" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--seeds", "0"], ["--steps", "-1"]])
def test_wrong_arguments_are_refused(wrong, tmp_path, capsys):
    assert main([*wrong, "--out", str(tmp_path)]) == 2
    assert "expected at least" in capsys.readouterr().err
