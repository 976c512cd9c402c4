"""The experiment on professor forcing in its pieces: text, pairs of characters, arms, aims."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lab import sweep as sweeps
from experiments.lab.task import parameters
from experiments.language.professor_forcing import data, experiment, model
from experiments.language.professor_forcing.experiment import ARMS, JUDGED, NATS, PAIRS
from experiments.sources.text import DataError

RNG = np.random.default_rng(0)
PARTS = ["".join(RNG.choice(list("abcd"), n, p=[0.4, 0.3, 0.2, 0.1])) for n in (9000, 2000, 1500)]
TEXT = data.Text.cut(*PARTS, size=4000)
CONFIG = experiment.Config(steps=50, length=5, written=9, judge_steps=3)


def test_streams_are_those_of_the_splits():
    spell = TEXT.vocabulary.decode
    assert spell(TEXT.train) == PARTS[0][:4000] and spell(TEXT.rest) == PARTS[0][4000:]
    assert [spell(row) for row in TEXT.held_out] == [PARTS[1][:1500], PARTS[2]]
    with pytest.raises(DataError, match="the text has 9000 characters; expected more than 9000"):
        data.Text.cut(*PARTS, size=9000)


def test_windows_are_pieces_of_the_stream():
    pieces = data.windows(TEXT.train, jax.random.key(0), 40, 30)
    assert all(TEXT.vocabulary.decode(piece) in PARTS[0] for piece in pieces)
    assert pieces.shape == (40, 31) and len({tuple(p.tolist()) for p in pieces}) == 40


def test_pairs_are_counted_and_compared():
    tokens = np.asarray(TEXT.train[:600].reshape(20, 30))
    counts = data.pair_counts(jnp.asarray(tokens), 5)
    by_hand = Counter(pair for row in tokens.tolist() for pair in itertools.pairwise(row))
    assert all(counts[a, b] == by_hand[a, b] for a in range(5) for b in range(5))
    p = np.asarray(counts) / counts.sum()
    samples = np.asarray(data.pair_counts(jnp.asarray(tokens[:5]), 5))
    q = (samples + 0.5) / (samples + 0.5).sum()
    expected = sum(a * np.log(a / b) for a, b in zip(p.ravel(), q.ravel(), strict=True) if a > 0)
    np.testing.assert_allclose(
        data.pair_divergence(counts, jnp.asarray(samples)), expected, rtol=1e-5
    )
    assert data.pair_divergence(counts, 1e6 * counts) < 1e-5


def test_real_text_is_nearer_to_itself_than_shuffled_text():
    cycle = data.Text.cut("abc" * 4000, "abc" * 500, "abc" * 500, size=3000)
    floor, shuffled = data.floor_and_baseline(cycle, 64, 50)
    assert floor < 0.01 and abs(shuffled - np.log(3)) < 0.1  # three pairs of nine even ones
    assert data.unigram_entropy(cycle.train, 4) == pytest.approx(np.log(3))


@pytest.mark.parametrize("name", ARMS)
def test_arms_train_one_generator(name):
    task = experiment.task(name, TEXT, CONFIG)
    run = lambda key: sweeps.train(task, key, jnp.float32(1e-3))
    _, watched, _, scores, params = jax.eval_shape(run, jax.random.key(0))
    assert set(scores) == {NATS, PAIRS}
    assert (watched is not None) == (name == "professor forcing") == ("judge" in params)
    assert parameters(lambda key: task.init(key)["generator"]) == 29_957


def test_a_fresh_discriminator_judges_each_seed():
    stacked = jax.eval_shape(jax.vmap(model.generator(5)), jax.random.split(jax.random.key(0), 3))
    judged = jax.eval_shape(lambda params: model.fresh_judges(params, TEXT, 5, 3), stacked)
    assert judged.shape == (3,)


def test_a_model_writes_what_it_samples():
    params = model.generator(5)(jax.random.key(0))
    params["b_o"] = 50.0 * jax.nn.one_hot(2, 5)  # nothing but one character
    write = jax.jit(model.written, static_argnums=2)
    written = write(params, jnp.array([1, 3]), 20, jax.random.key(1))
    assert written.shape == (2, 20) and (written == 2).all()
    piece = jnp.array([[1, 2, 2, 2, 3]])
    np.testing.assert_allclose(model.nats(params, piece)[0, :3], 0, atol=1e-3)
    assert model.nats(params, piece)[0, 3] > 40


def test_every_aim_that_is_missed_is_named():
    means = {
        "teacher forcing": {JUDGED: 0.9, NATS: 1.5, PAIRS: 0.06},
        "professor forcing": {JUDGED: 0.75, NATS: 1.545, PAIRS: 0.07},
    }
    line, misses = experiment.verdict(means)
    assert line == f"Better by professor forcing: {JUDGED}. Aims missed: 2 of 3."
    assert misses == [
        "nats a character: +3.0%, more than 2%",
        "KL of pairs rises from 0.060 to 0.070",
    ]
    means["professor forcing"] = {JUDGED: 0.85, NATS: 1.6, PAIRS: 0.05}
    _, misses = experiment.verdict(means)
    assert misses[0] == "a fresh discriminator's accuracy falls by 0.050, not 0.1"
    alone = experiment.verdict({"teacher forcing": means["teacher forcing"]})
    assert alone == ("Nothing to compare: teacher forcing alone.", [])
    assert experiment.spread([1.0, 2.0, 3.0]) == "2.000 ± 1.000"
