"""The experiment on scheduled sampling in its pieces: the source, its bounds, arms, the verdict."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lab import sweep as sweeps
from experiments.language.scheduled_sampling import data, experiment, model
from experiments.sources.hmm import HiddenMarkovModel, posteriors, told_error

SMALL = HiddenMarkovModel.sticky(3, stay=0.8, shown=0.6)
ARMS = model.arms(600)


def test_sticky_states_are_all_alike():
    moves, shown = np.array(SMALL.transition), np.array(SMALL.emission)
    np.testing.assert_allclose(moves, 0.1 + 0.7 * np.eye(3))
    np.testing.assert_allclose(shown, 0.2 + 0.4 * np.eye(3))
    np.testing.assert_allclose(SMALL.stationary, 1 / 3)


def test_the_told_error_is_that_of_the_best_rule():
    """By enumeration of what can be seen, for a model whose states differ."""
    uneven = HiddenMarkovModel.random(3, 4, stay=0.3, shown=0.8, seed=1)
    moves, shown = np.array(uneven.transition), np.array(uneven.emission)
    right = 0.0
    for before, seen in itertools.product(range(3), range(4)):
        right += max(
            uneven.stationary[before] * moves[before, s] * shown[s, seen] for s in range(3)
        )
    first = sum(max(uneven.stationary[s] * shown[s, x] for s in range(3)) for x in range(4))
    assert told_error(uneven, 5) == pytest.approx(1 - (first + 4 * right) / 5)
    assert told_error(SMALL, 1) == pytest.approx(0.4)


def test_the_filter_error_is_what_the_filter_reaches():
    seen, labels = data.MODEL.draw(jax.random.key(0), 1000, data.LENGTH)
    wrong = np.asarray(posteriors(data.MODEL, seen)[0].argmax(axis=-1) != labels).mean(axis=1)
    bound = data.filter_error(rows=2000)
    assert abs(wrong.mean() - bound) < 5 * wrong.std() / np.sqrt(1000)
    assert bound == pytest.approx(0.326, abs=0.01)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_trains_the_same_network(arm):
    task = experiment.task(arm, 0.3, experiment.Config(length=6))
    run = lambda key: sweeps.train(task, key, jnp.float32(1e-3))
    _, _, _, scores, params = jax.eval_shape(run, jax.random.key(0))
    assert {experiment.FREE, experiment.TOLD, "exact filter's error"} == set(scores)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 17_226


def test_what_is_wrong_on_its_own_and_told():
    """A tagger that says the label before, or 0 first: told it errs where labels change."""

    def copying(params):
        return lambda carry, before, seen: (carry, jax.nn.one_hot(before % 10, data.LABELS))

    labels = jnp.array([[3, 3, 5, 5], [0, 0, 0, 1]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "tagger", copying)
        found = model.wrong(model.init(jax.random.key(1)), labels, jnp.zeros_like(labels))
    np.testing.assert_array_equal(found[experiment.FREE], labels != 0)
    changed = [[True, False, True, False], [False, False, False, True]]
    np.testing.assert_array_equal(found[experiment.TOLD], changed)


def test_schedules_of_the_arms_fall_where_they_should():
    told, falling, twice, never = ARMS
    assert told.epsilon(jnp.int32(599)) == 1 and never.epsilon(jnp.int32(0)) == 0
    assert falling.epsilon(0) > 0.97 and falling.epsilon(599) < 0.01
    assert twice.parallel and twice.epsilon == falling.epsilon


def test_errors_are_shares_of_teacher_forcings():
    errors = {"teacher forcing": 0.8, "scheduled sampling": 0.4, "two passes": 0.72}
    line, misses = experiment.verdict(errors)
    assert line.endswith(": scheduled sampling 0.50, two passes 0.90 (aim: 0.8).")
    assert misses == ["two passes: 0.90 of teacher forcing's error, not 0.8"]
    alone = experiment.verdict({"two passes": 0.72})
    assert alone == ("Error on its own: two passes 0.720.", [])


def test_huszars_source_repeats_itself():
    pairs = data.draw_pairs(jax.random.key(0), 20_000)
    assert abs(float((pairs[:, 0] == pairs[:, 1]).mean()) - data.STAY) < 0.008
    assert abs(float(pairs[:, 0].mean()) - 0.5) < 0.017


def test_huszars_source_is_learned_wrong_as_the_critique_says():
    epsilons = jnp.array([1.0, 0.75, 0.5, 0.25, 0.0])
    learn = jax.jit(lambda all: jax.vmap(lambda e: model.learned_pairs(e, jax.random.key(0)))(all))
    table = learn(epsilons)  # [ε, token read, token predicted]
    expected = np.array([0.95, 0.8375, 0.725, 0.6125, 0.5])  # 0.95 ε + 0.5 (1 - ε)
    np.testing.assert_allclose(table[:, 0, 0], expected, atol=0.01)
    np.testing.assert_allclose(table[:, 1, 1], expected, atol=0.01)
    np.testing.assert_allclose(table[:, 2], 0.5, atol=0.01)
    np.testing.assert_allclose(data.pairs_optimum(epsilons), expected, rtol=1e-6)
