"""The experiment on gradients in its pieces."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.foundations.gradients import experiment
from experiments.foundations.gradients.data import LETTERS, splits, unigram_entropy
from experiments.foundations.gradients.model import Arm, arms, initial, look, units
from experiments.lab.experiment import Results
from experiments.lab.network import Network
from experiments.lab.task import parameters


def test_networks_are_equally_large_and_the_text_is_split_by_topic():
    counts = [parameters(arm.network.init) for arm in arms(30_000)]
    assert max(counts) < 1.02 * min(counts) and abs(np.mean(counts) - 30_000) < 500
    parts = splits()
    assert all(part.min() >= 0 and part.max() < len(LETTERS) for part in parts)
    sizes = np.array([part.size for part in parts])
    assert (sizes > 10_000).all() and sizes[0] > 0.6 * sizes.sum()
    text = lambda part: "".join(LETTERS[i] for i in part)
    train, test = text(parts[0]), text(parts[2])
    pieces = [test[i : i + 100] for i in range(0, len(test) - 100, 100)]
    assert sum(piece in train for piece in pieces) < 0.05 * len(pieces)
    assert 2 < unigram_entropy() < np.log(len(LETTERS))


def test_initial_params_are_those_that_training_begins_with():
    arm = arms(2_000)[2]
    key = jax.random.split(jax.random.key(1))[0]
    expected = jax.tree.leaves(arm.network.init(key))
    for got, leaf in zip(jax.tree.leaves(initial(arm, 2)), expected, strict=True):
        np.testing.assert_array_equal(got[1], leaf)


def test_units_without_gates_are_counted_at_their_ends():
    for name, shift, ends in (
        ("tanh", 9.0, (0, 1)),
        ("tanh", -9.0, (1, 0)),
        ("relu", -9.0, (1, 0)),
    ):
        cell = sj.Elman(2, activation=name)
        params = cell.init(jax.random.key(0), len(LETTERS))
        found = units(cell, params._replace(b=jnp.full(2, shift)), 8)["h"]
        np.testing.assert_array_equal(np.stack(found), np.repeat(ends, 2).reshape(2, 2))


def test_every_diagnostic_of_each_seed():
    size = len(LETTERS)
    arm = Arm("GRU", Network(sj.GRU(2), size, size))
    found = look(arm, initial(arm, 2), 12, 12)
    assert len(found) == 2
    for seed in found:
        assert len(seed["log_norms"]) == 13 and len(seed["log_input_norms"]) == 12
        assert len(seed["exponents"]) == 2 and set(seed["saturation"]) == {"r", "z"}
        assert len(seed["influence"]) == 7


def seen(memory: float) -> list[dict[str, Any]]:
    """What three seeds of a network show."""
    gate = {"left": [0.5, 0.0], "right": [0.0, 0.25]}
    one = {"half_life": 2.0, "exponents": [-1.0, -0.25], "influence_half_life": np.inf}
    one |= {"saturation": {"z": gate}}
    return [one | {"memory": memory + i} for i in range(3)]


def test_the_report_has_medians_new_and_trained():
    networks = {name: {"initial": seen(90.0), "trained": seen(m)} for name, m in
        (("GRU", 5.0), ("LSTM", 20.0))}  # fmt: skip
    found = {name: {"test": {"nats a character": {"mean": 1.5}}} for name in networks}
    results = Results([], found, {}, {"networks": networks})
    said = experiment.report(experiment.Config(), results)
    assert said.headline == "After training the gradient of LSTM reaches furthest."
    assert said.tables[0].rows[:2] == [
        ["GRU, at initialisation", "", "91.0", "2.0", "-0.250", "inf", "38 %"],
        ["GRU, trained", "1.500", "6.0", "2.0", "-0.250", "inf", "38 %"],
    ]
