"""The experiment on professor forcing in its pieces: text, pairs of characters, arms, report."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.lab import sweep as sweeps
from experiments.professor_forcing import arms, pictures, text
from experiments.professor_forcing.__main__ import ARMS, main, summary
from experiments.sources.text import DataError

RNG = np.random.default_rng(0)
PARTS = ["".join(RNG.choice(list("abcd"), n, p=[0.4, 0.3, 0.2, 0.1])) for n in (9000, 2000, 1500)]
TEXT = text.Text.cut(*PARTS, size=4000)
TASKS = {name: arms.task(name, TEXT, 50, 0.1, 2.0) for name in ARMS}


def test_streams_are_those_of_the_splits():
    spell = TEXT.vocabulary.decode
    assert spell(TEXT.train) == PARTS[0][:4000] and spell(TEXT.rest) == PARTS[0][4000:]
    assert [spell(row) for row in TEXT.held_out] == [PARTS[1][:1500], PARTS[2]]
    with pytest.raises(DataError, match="the text has 9000 characters; expected more than 9000"):
        text.Text.cut(*PARTS, size=9000)


def test_windows_are_pieces_of_the_stream():
    pieces = text.windows(TEXT.train, jax.random.key(0), 40, 30)
    assert all(TEXT.vocabulary.decode(piece) in PARTS[0] for piece in pieces)
    assert pieces.shape == (40, 31) and len({tuple(p.tolist()) for p in pieces}) == 40


def test_pairs_are_counted_and_compared():
    tokens = np.asarray(TEXT.train[:600].reshape(20, 30))
    counts = text.pair_counts(jnp.asarray(tokens), 5)
    by_hand = Counter(pair for row in tokens.tolist() for pair in itertools.pairwise(row))
    assert all(counts[a, b] == by_hand[a, b] for a in range(5) for b in range(5))
    p = np.asarray(counts) / counts.sum()
    samples = np.asarray(text.pair_counts(jnp.asarray(tokens[:5]), 5))
    q = (samples + 0.5) / (samples + 0.5).sum()
    expected = sum(a * np.log(a / b) for a, b in zip(p.ravel(), q.ravel(), strict=True) if a > 0)
    np.testing.assert_allclose(
        text.pair_divergence(counts, jnp.asarray(samples)), expected, rtol=1e-5
    )
    assert text.pair_divergence(counts, 1e6 * counts) < 1e-5


def test_real_text_is_nearer_to_itself_than_shuffled_text():
    cycle = text.Text.cut("abc" * 4000, "abc" * 500, "abc" * 500, size=3000)
    floor, shuffled = text.floor_and_baseline(cycle, 64, 50)
    assert floor < 0.01 and abs(shuffled - np.log(3)) < 0.1  # three pairs of nine even ones
    assert text.unigram_entropy(cycle.train, 4) == pytest.approx(np.log(3))


@pytest.mark.parametrize("name", ARMS)
def test_arms_train_one_generator(name):
    run = lambda key: sweeps.train(TASKS[name], key, jnp.float32(1e-3))
    _, watched, _, scores, params = jax.eval_shape(run, jax.random.key(0))
    assert set(scores) == {"nats/character", "KL of pairs, beyond 50"}
    assert (watched is not None) == (name == "professor forcing") == ("judge" in params)
    assert sum(leaf.size for leaf in jax.tree.leaves(params["generator"])) == 29_957
    stacked = jax.tree.map(lambda a: jax.ShapeDtypeStruct((3, *a.shape), a.dtype), params)
    judged = jax.eval_shape(lambda p: arms.fresh_judges(p, TEXT), stacked["generator"])
    assert judged.shape == (3,)


def test_a_model_writes_what_it_samples():
    params = arms.generator(5)(jax.random.key(0))
    params["b_o"] = 50.0 * jax.nn.one_hot(2, 5)  # nothing but one character
    written = jax.jit(arms.written)(params, jnp.array([1, 3]), jax.random.key(1))
    assert written.shape == (2, arms.FREE) and (written == 2).all()
    piece = jnp.array([[1, 2, 2, 2, 3]])
    np.testing.assert_allclose(arms.nats(params, piece)[0, :3], 0, atol=1e-3)
    assert arms.nats(params, piece)[0, 3] > 40


def test_summary_and_picture(tmp_path):
    results = {}
    for name, nats, judge in zip(ARMS, (1.50, 1.51), (0.9, 0.75), strict=True):
        found = sweeps.Estimate(np.array([nats, nats + 0.02]), np.zeros(2))
        test = {
            key: sweeps.summary(TASKS[name], key, found)
            for key in ("nats/character", "KL of pairs, beyond 50")
        }
        watched = [[0.5, 0.8]] * 2 if name == "professor forcing" else None
        judged = {"seeds": [judge, judge], "mean": judge}
        results[name] = {"test": test, "fresh_judge": judged, "watched": watched}
    lines = summary(results, 0.01, 1.0).splitlines()
    assert "0.9000 ± 0.0000 to 0.7500 ± 0.0000; falls by 0.150, aim 0.1: met" in lines[1]
    assert "1.5100 ± 0.0141 to 1.5200 ± 0.0141; +0.7%, aim at most 2%: met" in lines[2]
    assert "aim not worse: missed" in lines[3]
    pictures.draw(tmp_path / "picture.png", results, 50, 0.01, 1.0)
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_wrong_arguments_are_refused(capsys, tmp_path):
    assert main(["--steps", "0", "--out", str(tmp_path)]) == 2
    assert "steps is 0; expected at least 1" in capsys.readouterr().err
