"""The pieces of experiments.attention: tasks, arms, what is measured, what is reported."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from experiments.attention import __main__ as command
from experiments.attention import figures
from experiments.attention.models import ARMS, Arm
from experiments.attention.sources import END, SYMBOLS, TASKS, draw
from experiments.attention.tasks import GATED, LENGTHS, make_task, measure
from experiments.lab.sweep import sweep

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
    sizes = [sum(a.size for a in jax.tree.leaves(arm.init(jax.random.key(0)))) for arm in ARMS]
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


MASSES = "mass", "mass within 1"


def summary(value):
    return {"mean": value, "min": value, "max": value}


def made_up(task, arm):
    test = {f"exact match at {n}": summary(0.25) for n in LENGTHS}
    if arm.attention is not None:
        test |= {f"{kind} at {n}": summary(0.5) for kind in MASSES for n in LENGTHS}
    failed = [1] if arm.attention is not None else []
    seconds = dict.fromkeys(("compile_seconds", "run_seconds"), 1.0)
    return {"test": test, "failed_seeds": failed, "rate": 0.01} | seconds


def test_report_names_what_falls_short(tmp_path, monkeypatch, capsys):
    looked: dict = dict.fromkeys(("source", "written", "target"), np.zeros(2, int))
    looked |= {"alignment": np.eye(2)}

    def job(given):
        name, number = given[:2]
        arm = ARMS[number]
        return f"{name}, {arm.name}", made_up(name, arm), looked

    class Here:
        def __init__(self, workers, mp_context):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def map(self, function, jobs):
            return map(job, jobs)

    monkeypatch.setattr(command, "ProcessPoolExecutor", Here)
    assert command.main(["--out", str(tmp_path), "--only", "copy"]) == 0
    printed = capsys.readouterr().out
    assert "failed: copy, additive attention, seeds 1" in printed
    assert "not lost: copy, last state, forward source reaches 0.2 at length 30" in printed
    assert {path.name for path in tmp_path.glob("[!.]*")} == {
        "results.json",
        "attention.png",
        "alignments.png",
    }
    kept = json.loads((tmp_path / "results.json").read_text())["tasks"]
    assert len(kept) == len(ARMS) - 1  # general attention only on demand
    assert figures.verdicts(list(ARMS), [], {}) == []


@pytest.mark.parametrize("args", [["--seeds", "0"], ["--only", "sorting"], ["--workers", "0"]])
def test_what_cannot_be_run_is_an_error(args, tmp_path, capsys):
    assert command.main([*args, "--out", str(tmp_path)]) == 2
    assert "expected" in capsys.readouterr().err
