"""The experiment on state tracking in its pieces, and in small."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.lab.task import parameters
from experiments.state_tracking import arms, report
from experiments.state_tracking.__main__ import main
from experiments.state_tracking.automata import COUNTING, PARITY, PERMUTATION, PROBLEMS


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
    words, states = PARITY.draw(jax.random.key(1), 2, 20)
    np.testing.assert_array_equal(states, np.cumsum(words, axis=1) % 2)
    words, states = COUNTING.draw(jax.random.key(2), 2, 20)
    np.testing.assert_array_equal(states, np.cumsum(words, axis=1) % 3)


def test_the_groups_are_those_that_theory_speaks_of():
    assert [len(problem.group()) for problem in PROBLEMS] == [2, 3, 120]
    odd = (0, 2, 1, 3, 4)  # a single swap: S5, not only its even half
    assert odd in PERMUTATION.group()


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda one: one.name)
def test_networks_are_of_one_size(problem):
    sizes = [parameters(arms.network(arm, problem).init) for arm in arms.ARMS]
    assert max(abs(size / arms.PARAMETERS - 1) for size in sizes) < 0.06, sizes


def test_in_small_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(arms, "TESTED", 24)
    monkeypatch.setattr(arms, "LATE", 8)
    monkeypatch.setattr(arms, "TRAINED", 8)
    monkeypatch.setattr(arms, "TEST_SIZE", 32)
    small = replace(arms.ARMS[0], name="tiny Elman")
    monkeypatch.setattr(arms, "ARMS", (small,))
    monkeypatch.setattr(report, "ARMS", (small,))
    args = ["--only", "parity", "--seeds", "2", "--steps", "60", "--out", str(tmp_path)]
    assert main(args) == 0
    found = json.loads((tmp_path / "results.json").read_text())["tasks"]["parity, tiny Elman"]
    assert len(found["test"]["long"]["seeds"]) == 2 and found["curve"][0][-1] < 0.68
    out = capsys.readouterr().out
    assert "parity, tiny Elman" in out and "sum mod 3" in out
    assert (tmp_path / "state_tracking.png").stat().st_size > 5000
    assert main(["--only", "nothing"]) == 2
    assert "only is 'nothing'; expected part of one of: parity" in capsys.readouterr().err
    assert main(["--steps", "0"]) == 2
    assert "steps is 0; expected at least 1" in capsys.readouterr().err
