"""The experiment on attention in its pieces: data, arms, what is measured, what is reported."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("matplotlib")

import matplotlib.pyplot as plt

import seqjax as sj
from experiments.lab.experiment import Results
from experiments.lab.sweep import sweep
from experiments.lab.task import parameters
from experiments.language.attention.data import END, SYMBOLS, TASKS, draw
from experiments.language.attention.experiment import (
    GATED,
    LENGTHS,
    MASSES,
    Config,
    alignments,
    curves,
    make_task,
    measure,
    report,
    tasks,
)
from experiments.language.attention.model import ARMS, Arm

ROWS, SIZE = 40, 12


def written(task, source):
    """The target of a source and the place of each symbol, in plain Python."""
    numbers = [int(a) for a in source]
    places = range(len(numbers))
    if task == "copy":
        return numbers, list(places)
    if task == "reverse":
        return numbers[::-1], list(places)[::-1]
    digits = [(d, j) for j in places for d in ([1] if numbers[j] >= 6 else []) + [numbers[j] % 6]]
    return [d for d, _ in digits], [j for _, j in digits]


@pytest.mark.parametrize("task", TASKS)
def test_targets_are_what_the_task_says_from_where_it_says(task):
    pairs = draw(task, jax.random.key(0), ROWS, 5, 10, SIZE)
    pairs = jax.tree.map(np.asarray, pairs)
    assert set(pairs.lengths) == set(range(5, 11))
    seen = set()
    for n in range(ROWS):
        length, number = pairs.lengths[n], pairs.source_mask[n].sum()
        assert pairs.source_mask[n, :number].all() and not pairs.source[n, number:].any()
        target, places = written(task, pairs.source[n, :number])
        assert len(target) == length
        np.testing.assert_array_equal(pairs.target[n], target + [END] * (SIZE + 1 - length))
        np.testing.assert_array_equal(pairs.position[n, :length], places)
        np.testing.assert_array_equal(pairs.target_mask[n], np.arange(SIZE + 1) <= length)
        seen |= set(pairs.source[n, :number])
    assert seen == set(range(SYMBOLS))


def test_arms_have_equal_numbers_of_params():
    sizes = [parameters(arm.init) for arm in ARMS]
    assert max(sizes) < 1.01 * min(sizes)


SMALL = Arm("small", sj.attention.AdditiveAttention(3), hidden_size=4)
SMALL_ARMS = {"with": SMALL, "without": Arm("blind", hidden_size=4)}


@pytest.mark.parametrize("name", SMALL_ARMS)
def test_what_is_written_is_the_most_probable_given_what_was_written(name):
    arm = SMALL_ARMS[name]
    params = jax.tree.map(lambda a: 3 * a + 0.1, arm.init(jax.random.key(1)))
    pairs = draw("copy", jax.random.key(2), 3, 2, 5, 5)
    tokens, alignments = jax.jit(arm.write)(params, pairs)
    assert tokens.shape == (3, 6) and alignments.shape == (3, 6, 5)
    # Feeding the written tokens gives back their own argmax, up to each row's end.
    inputs = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=END + 1)
    bound, carry = arm.encode(params, pairs)
    _, ys = sj.unroll(arm.decoder, bound, jax.nn.one_hot(inputs, END + 2), carry=carry)
    best = np.asarray(arm.logits(params, ys).argmax(axis=-1))
    for n in range(3):
        ends = np.flatnonzero(np.asarray(tokens[n]) == END)
        length = 1 + (ends[0] if len(ends) else 5)
        np.testing.assert_array_equal(tokens[n, :length], best[n, :length])
        if arm.attention is not None:
            read = ys.alignment[n, :length]
            np.testing.assert_allclose(alignments[n, :length], read, rtol=1e-5, atol=1e-7)


class Fake:
    """Writes what it is told to, and looks where it is told to."""

    def __init__(self, tokens, alignments):
        self.found = tokens, alignments

    def write(self, params, pairs):
        return self.found


def test_measures_count_each_rows_symbols_end_and_places():
    pairs = draw("reverse", jax.random.key(0), 3, 4, 4, 5)
    tokens = pairs.target.at[1, 4].set(0).at[2, 0].set((pairs.target[2, 0] + 1) % SYMBOLS)
    looks = jnp.zeros((3, 6, 5)).at[0, jnp.arange(4), pairs.position[0, :4]].set(1.0)
    looks = looks.at[1, :, 0].set(0.5)
    right, exact, mass, near = measure(Fake(tokens, looks), None, pairs)  # type: ignore[arg-type]
    np.testing.assert_allclose(right, [1, 0.8, 0.8])
    np.testing.assert_allclose(exact, [1, 0, 0])
    np.testing.assert_allclose(mass, [1, 0.125, 0])
    np.testing.assert_allclose(near, [1, 0.25, 0])


def test_a_few_steps_of_a_task_give_every_number():
    task = make_task(SMALL, "expansion", steps=2, lengths=(5, GATED), rows=2)
    result, _ = sweep(task, [0])
    assert {"symbols right", "exact match at 5", f"mass at {GATED}"} <= set(result["test"])
    assert result["failed_seeds"] == [0]
    assert 0 < result["test"][f"mass at {GATED}"]["mean"] < 0.5
    assert np.isfinite(result["curve"]).all()


def test_a_task_passes_by_exact_match_and_mass():
    task = make_task(SMALL, "copy", steps=1)
    found = lambda exact, mass: {f"exact match at {GATED}": exact, f"mass at {GATED}": mass}
    assert task.passes(found(0.96, 0.81))
    assert not task.passes(found(0.94, 0.99)) and not task.passes(found(1.0, 0.79))
    blind = make_task(SMALL_ARMS["without"], "copy", steps=1)
    assert blind.passes({f"exact match at {GATED}": 0.0})


def test_general_attention_is_trained_where_it_is_asked_for():
    plain, more = tasks(Config()), tasks(Config(general=True))
    assert len(plain) == 12 and len({task.name for task in more}) == 15
    assert {task.name for task in more} - {task.name for task in plain} == {
        f"{name}, general attention" for name in TASKS
    }


def made_up(arm: Arm, exact: float) -> dict[str, Any]:
    one = lambda value: {"mean": value, "min": value, "max": value}
    test = {f"exact match at {n}": one(exact) for n in LENGTHS}
    test |= {} if arm.attention is None else dict.fromkeys(MASSES, one(0.5))
    failed = [1] if arm.attention is not None and exact < 0.9 else []
    return {"test": test, "failed_seeds": failed, "rate": 0.01, "parameters": 44_000}


def test_the_report_names_what_passes_and_what_falls_short():
    blind, additive, location = ARMS[0], ARMS[2], ARMS[3]
    found = {
        f"copy, {blind.name}": made_up(blind, 0.25),
        f"copy, {additive.name}": made_up(additive, 0.75),
        f"copy, {location.name}": made_up(location, 1.0),
    }
    results = Results([], found, {}, {})
    said = report(Config(), results)
    assert said.headline == (
        "Every seed reaches the gates of: copy, location attention. Without attention at most "
        "0.250 of rows of 30 are right."
    )
    assert said.misses == ["not lost: copy, last state, forward source reaches 0.250 at length 30"]
    first, second, _ = said.tables[0].rows
    assert first[2:8] == ["0.250"] * 6 and first[8:10] == ["", ""]
    assert second[:2] == ["copy, additive attention", "44,000"]
    assert second[8:10] == ["0.500", "0.500"]
    figure = curves(results)
    (axis,) = figure.axes
    plt.close(figure)
    assert axis.get_title() == "copy" and len(axis.lines) == 3


def test_mistakes_are_red_where_an_alignment_is_drawn():
    looked: dict[str, Any] = dict.fromkeys(("source", "written"), np.array([3, 4]))
    looked |= {"target": np.array([3, 5]), "alignment": np.eye(2)}
    figure = alignments({"copy, additive attention": looked})
    (axis,) = figure.axes
    plt.close(figure)
    assert [label.get_color() == "C3" for label in axis.get_yticklabels()] == [False, True]
