"""The experiment on tagging: its exact bounds by enumeration, its readings, and a run in small."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.lab.task import parameters
from experiments.language.tagging import data, experiment, model
from experiments.sources.hmm import HiddenMarkovModel, posteriors

SMALL = HiddenMarkovModel(
    ((0.7, 0.2, 0.1), (0.0, 0.5, 0.5), (0.3, 0.3, 0.4)),
    ((0.5, 0.5, 0.0, 0.0), (0.1, 0.2, 0.3, 0.4), (0.0, 0.0, 0.9, 0.1)),
)


def by_enumeration(model, symbols):
    """p(sₜ | x₁..xₜ) and p(sₜ | x₁..x_T) from the joint probability of every path of states."""
    moves, shown = np.array(model.transition), np.array(model.emission)

    def joint(xs):
        table = np.zeros((len(xs), len(moves)))
        for path in itertools.product(range(len(moves)), repeat=len(xs)):
            p = model.stationary[path[0]] * shown[path[0], xs[0]]
            for (a, b), x in zip(itertools.pairwise(path), xs[1:], strict=True):
                p *= moves[a, b] * shown[b, x]
            table[range(len(xs)), path] += p
        return table / table.sum(axis=1, keepdims=True)

    filtered = [joint(symbols[: t + 1])[t] for t in range(len(symbols))]
    return np.array(filtered), joint(symbols)


def test_posteriors_are_those_of_all_paths():
    symbols, _ = SMALL.draw(jax.random.key(0), 6, 5)
    both = jax.jit(lambda xs: posteriors(SMALL, xs))(symbols)
    for row, filtered, smoothed in zip(np.array(symbols), *map(np.array, both), strict=True):
        expected = by_enumeration(SMALL, row)
        np.testing.assert_allclose(np.exp(filtered), expected[0], atol=2e-6)
        np.testing.assert_allclose(np.exp(smoothed), expected[1], atol=2e-6)


def test_draws_follow_the_model():
    symbols, states = map(np.array, SMALL.draw(jax.random.key(1), 500, 40))
    moves, shown = np.zeros((3, 3)), np.zeros((3, 4))
    np.add.at(moves, (states[:, :-1], states[:, 1:]), 1)
    np.add.at(shown, (states, symbols), 1)
    share = lambda counts: counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(share(moves), SMALL.transition, atol=0.02)
    np.testing.assert_allclose(share(shown), SMALL.emission, atol=0.02)
    np.testing.assert_allclose(np.bincount(states[:, 0]) / 500, SMALL.stationary, atol=0.07)


def test_bounds_are_what_the_exact_rules_reach_on_drawn_states():
    facts = data.known(data.MODEL, rows=1024)
    symbols, states = data.MODEL.draw(jax.random.key(2), 1024, data.LENGTH)
    for place, exact in enumerate(posteriors(data.MODEL, symbols)):
        right = np.mean(np.array(exact.argmax(-1) == states), axis=1)
        error = right.std() / np.sqrt(len(right))
        assert abs(right.mean() - facts["accuracy"][place]) < 5 * error
    assert facts["accuracy"][1] > facts["accuracy"][0] + 0.05 > facts["guess"] + 0.05


def test_networks_are_of_one_size():
    sizes = [parameters(model.tagger(both).init) for both in (False, True)]
    assert max(abs(size / model.TAGGER_PARAMETERS - 1) for size in sizes) < 0.02, sizes
    sizes = [parameters(model.classifier(reading).init) for reading in model.READINGS]
    assert max(abs(size / model.CLASSIFIER_PARAMETERS - 1) for size in sizes) < 0.02, sizes


@pytest.mark.parametrize("both", [False, True])
def test_scores_cannot_pass_the_bound_and_the_exact_rule_reaches_it(both, monkeypatch):
    monkeypatch.setattr(experiment, "TEST_ROWS", 32)
    task = experiment.tagging("", both, steps=1, length=6)
    exact = lambda self, params, symbols: posteriors(data.MODEL, symbols)[int(both)]
    key, params = jax.random.key(0), task.init(jax.random.key(1))
    found = task.evaluate(params, key, 0)
    assert found["nats, above the bound"].mean > 0.1
    assert found["accuracy, below the bound"].mean > 0.01
    monkeypatch.setattr(model.Tagger, "log_probs", exact)
    reached = task.evaluate(params, key, 0)
    np.testing.assert_allclose(reached["nats, above the bound"].mean, 0, atol=1e-6)
    np.testing.assert_allclose(reached["accuracy, below the bound"].mean, 0, atol=1e-6)
    assert reached["accuracy"].mean > found["accuracy"].mean


def test_the_cue_stands_at_one_end_and_nowhere_else():
    symbols, classes, at_end = map(np.array, data.draw(jax.random.key(3), 400, 9))
    place = np.where(at_end, 8, 0)
    np.testing.assert_array_equal(symbols[range(400), place], classes)
    assert (np.sum(symbols < data.CLASSES, axis=1) == 1).all() and 0.4 < at_end.mean() < 0.6
    assert set(classes) == set(range(data.CLASSES))


def test_what_each_reading_has_seen():
    """Of a row of 5, by the derivative for every input: all steps, or the last one alone."""
    symbols = jnp.array([[1, 9, 10, 11, 12]])
    other = symbols.at[0, 0].set(2)
    for reading in model.READINGS:
        net = model.Classifier(4, reading)
        params = net.init(jax.random.key(0))
        changed = (net.logits(params, symbols) != net.logits(params, other)).any()
        assert changed == (reading != model.BACKWARD_LAST), reading
    assert (
        experiment.classification(model.BACKWARD_LAST, 1, 5).optimum["accuracy"] == (1 + 1 / 8) / 2
    )
