"""The experiment on state tracking in its pieces."""

import jax
import numpy as np
import pytest

from experiments.foundations.state_tracking import experiment, model
from experiments.foundations.state_tracking.data import COUNTING, PARITY, PERMUTATION, PROBLEMS
from experiments.lab.experiment import Results
from experiments.lab.task import parameters


def test_states_are_those_of_a_loop_over_letters():
    for problem in PROBLEMS:
        words, states = problem.draw(jax.random.key(0), 3, 30)
        assert words.min() == 0 and words.max() == problem.letters - 1
        for word, expected in zip(np.asarray(words), np.asarray(states), strict=True):
            state, found = 0, []
            for letter in word:
                state = problem.moves[letter][state]
                found.append(state)
            np.testing.assert_array_equal(found, expected)
    words, states = PARITY.draw(jax.random.key(1), 2, 30)
    np.testing.assert_array_equal(states, np.cumsum(words, axis=1) % 2)
    words, states = COUNTING.draw(jax.random.key(2), 2, 30)
    np.testing.assert_array_equal(states, np.cumsum(words, axis=1) % 3)


def test_the_groups_are_those_that_theory_speaks_of():
    assert [len(problem.group()) for problem in PROBLEMS] == [2, 3, 120]
    odd = (0, 2, 1, 3, 4)  # a single swap: S5, not only its even half
    assert odd in PERMUTATION.group()


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda one: one.name)
def test_networks_are_of_one_size(problem):
    sizes = [parameters(model.network(arm, problem).init) for arm in model.ARMS]
    assert max(abs(size / model.PARAMETERS - 1) for size in sizes) < 0.06, sizes


def test_only_what_can_be_solved_has_to_be():
    gates = {task.name: task.gate for task in experiment.tasks(experiment.Config())}
    assert len(gates) == 30 and sum(gate > 0 for gate in gates.values()) == 14
    assert gates["sum mod 3, DeltaNet (-1 to 1)"] == 0 == gates["parity, Mamba"]
    assert gates["swaps of five, DeltaNet (-1 to 1)"] == 0.99 == gates["parity, Elman"]


def test_the_last_letters_of_a_word_count(monkeypatch):
    """A network that is right but for its first letters solves the long words."""
    config = experiment.Config(length=3, test_length=experiment.LATE + 2)
    task = experiment.task(model.ARMS[0], PARITY, config)

    def logits(self, params, words):
        late = np.arange(words.shape[1]) >= words.shape[1] - experiment.LATE
        return jax.nn.one_hot(np.where(late, PARITY.run(words), 2), 3)

    monkeypatch.setattr(model.Network, "logits", logits)
    found = task.evaluate(None, jax.random.key(0), 0)
    assert found["long"].mean == 1 and found["trained"].mean == pytest.approx(1 / 3)


def test_solvers_are_those_whose_worst_seed_solves():
    late = lambda *seeds: {"mean": np.mean(seeds), "min": min(seeds), "max": max(seeds)}
    found = {
        "parity, Elman": {"test": {"long": late(1.0, 0.995)}, "parameters": 11_900},
        "parity, LSTM": {"test": {"long": late(1.0, 0.98)}, "parameters": 12_100},
        "sum mod 3, LRU": {"test": {"long": late(0.3, 0.4)}, "parameters": 12_000},
    }
    made = experiment.report(experiment.Config(seeds=2), Results([], found, {}, {}))
    assert made.headline == (
        "Solved by every seed of: parity: Elman; sum mod 3: none; swaps of five: none."
    )
    (table,) = made.tables
    assert table.caption.startswith("Accuracy at letters 193 to 256, trained on 40, with 11,900 ")
    assert [row[0] for row in table.rows] == ["Elman", "LSTM", "LRU"]
    assert table.rows[1][1:] == ["0.990 (0.980 to 1.000)*", "", ""]
    assert table.rows[2][2] == "0.350 (0.300 to 0.400)"
