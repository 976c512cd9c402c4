"""Draws around a target: exact laws, against enumeration of all strings."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from scipy import stats

import seqjax as sj
from seqjax import objectives

V, L, N = 3, 4, 2000
TARGETS = jnp.array([[0, 0, 1], [2, 1, 0]])
LENGTHS = jnp.array([3, 1])
STRINGS = [s for n in range(L + 1) for s in itertools.product(range(V), repeat=n)]
KEYS = jax.random.split(jax.random.key(0), N)
hamming = jax.jit(objectives.sample_hamming, static_argnames=("vocab_size", "unit"))
edits = jax.jit(objectives.sample_edits, static_argnames=("vocab_size", "max_len", "unit", "pad"))
log_counts = jax.jit(objectives.edit_log_counts, static_argnames=("vocab_size", "max_len"))


def many(rows, number=N):
    return jnp.repeat(rows[None], number, axis=0)


def distances_from(target):
    """Of every string, by the table of Wagner and Fischer."""

    def one(string):
        row = list(range(len(target) + 1))
        for i, token in enumerate(string, 1):
            before, row[0] = row[0], i
            for j, other in enumerate(target, 1):
                changed = before + (token != other)
                before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, changed)
        return row[-1]

    return np.array([one(string) for string in STRINGS])


def tempered(distances, temperature):
    """exp(-d / τ), normalised."""
    if temperature == 0:
        weights = (distances == 0) * 1.0
    else:
        weights = np.exp(-distances / temperature)
    return weights / weights.sum()


def fits(strings, counted, probs):
    """Whether draws are of a law, by chi-square at 0.001, rare strings counted as one."""
    each = [counted.count(string) for string in strings]
    assert sum(each) == len(counted)
    found, expected = np.array(each), probs * len(counted)
    assert not found[probs == 0].any()
    rare = expected < 5
    found = np.append(found[~rare], found[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    found, expected = found[expected > 0], expected[expected > 0]
    statistic = ((found - expected) ** 2 / expected).sum()
    return statistic <= stats.chi2.ppf(0.999, max(len(found) - 1, 1))


def strings_of(sample):
    tokens, lengths = np.asarray(sample.tokens), np.asarray(sample.lengths)
    return [tuple(row[:n].tolist()) for row, n in zip(tokens, lengths, strict=True)]


@pytest.mark.parametrize("temperature", [0.0, 0.4, 1.0, 3.0, np.inf])
def test_hamming_draws_are_of_the_law(temperature):
    sample = hamming(KEYS, many(TARGETS[0]), vocab_size=V, temperature=temperature)
    strings = list(itertools.product(range(V), repeat=3))
    apart = np.sum(np.array(strings) != np.array(TARGETS[0]), axis=1)
    assert fits(strings, strings_of(sample), tempered(apart, temperature))
    np.testing.assert_array_equal(
        sample.distances, sj.metrics.hamming_distance(sample.tokens, many(TARGETS[0]))
    )


def test_hamming_draws_leave_what_lies_beyond_the_length():
    sample = hamming(KEYS, many(TARGETS[1]), many(LENGTHS[1]), vocab_size=V, temperature=np.inf)
    assert (sample.tokens[:, 1:] == TARGETS[1, 1:]).all()
    assert fits([(0,), (1,), (2,)], strings_of(sample), np.ones(3) / 3)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 0.6, 1.0, np.inf])
def test_edit_draws_are_of_the_law(temperature):
    lengths = jnp.full(N, 3)
    sample = edits(
        KEYS, many(TARGETS[0]), lengths, vocab_size=V, temperature=temperature, max_len=L, pad=7
    )
    apart = distances_from((0, 0, 1))
    assert fits(STRINGS, strings_of(sample), tempered(apart, temperature))
    known = dict(zip(STRINGS, apart, strict=True))
    assert sample.distances.tolist() == [known[string] for string in strings_of(sample)]
    beyond = np.arange(L) >= np.asarray(sample.lengths)[:, None]
    assert (np.asarray(sample.tokens)[beyond] == 7).all()


def test_edit_draws_of_ragged_and_empty_targets():
    lengths = jnp.arange(N, dtype=jnp.int32) % 2
    sample = edits(KEYS, many(TARGETS[1]), lengths, vocab_size=V, temperature=0.7, max_len=L, pad=7)
    for length in 0, 1:
        own = [s for s, n in zip(strings_of(sample), lengths.tolist(), strict=True) if n == length]
        assert fits(STRINGS, own, tempered(distances_from((2, 1, 0)[:length]), 0.7))


def test_a_row_is_drawn_by_its_own_key_and_target():
    how = dict(vocab_size=V, max_len=L, pad=7)
    temperatures = jnp.array([0.6, 0.6, 2.0])
    key = jax.random.key(3)
    one = edits(key, TARGETS[jnp.array([0, 1, 0])], temperature=temperatures, **how)
    two = edits(key, TARGETS[jnp.array([1, 1, 1])], temperature=temperatures[::-1], **how)
    assert one.tokens[1].tolist() == two.tokens[1].tolist()
    rows = [jax.random.fold_in(key, b) for b in range(3)]
    three = edits(jnp.stack(rows), TARGETS[jnp.array([0, 1, 0])], temperature=temperatures, **how)
    assert one.tokens.tolist() == three.tokens.tolist()
    others = jnp.stack([KEYS[7], rows[1], KEYS[8]])
    four = edits(others, TARGETS[jnp.array([0, 1, 0])], temperature=temperatures, **how)
    assert one.tokens[1].tolist() == four.tokens[1].tolist()


def test_numbers_of_strings_at_each_edit_distance():
    targets = jnp.array([[0, 0, 1], [2, 1, 0], [1, 1, 1], [2, 2, 2]])
    lengths = jnp.array([3, 3, 2, 0])
    found = jnp.exp(log_counts(targets, lengths, vocab_size=V, max_len=L))
    for row, target, length in zip(found, targets.tolist(), lengths.tolist(), strict=True):
        np.testing.assert_allclose(
            row, np.bincount(distances_from(target[:length]), minlength=L + 1), rtol=1e-5
        )


def test_numbers_of_strings_at_each_hamming_distance():
    found = jnp.exp(objectives.hamming_log_counts(jnp.array([5, 2, 0]), vocab_size=4, width=5))
    for row, n in zip(found, (5, 2, 0), strict=True):
        expected = [math.comb(n, d) * 3**d for d in range(6)]
        np.testing.assert_allclose(row, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "unit, cost", [("edits", 1.0), ("rate", 1 / 3), ("vocabulary", 1 + math.log(V))]
)
def test_probabilities_in_every_unit(unit, cost):
    """Over all strings they sum to 1, and are in proportion to exp(-cost d / τ)."""
    counts = log_counts(TARGETS, LENGTHS, vocab_size=V, max_len=L)
    apart = jnp.array([distances_from((0, 0, 1)), distances_from((2,))])
    how: dict[str, Any] = dict(vocab_size=V, temperature=0.5, unit=unit)
    found = objectives.payoff_log_probs(apart, counts, LENGTHS, **how)
    np.testing.assert_allclose(
        np.exp(found[0]), tempered(np.asarray(apart[0]), 0.5 / cost), rtol=2e-5
    )
    np.testing.assert_allclose(jnp.sum(jnp.exp(found), axis=1), 1, rtol=1e-5)
    if unit == "rate":  # the others reach the sampler through the same cost
        drawn = edits(KEYS, many(TARGETS[0]), max_len=L, pad=7, **how).distances.astype(float)
        expected = np.exp(found[0]) @ np.asarray(apart[0])
        assert abs(drawn.mean() - expected) < 4 * drawn.std() / math.sqrt(N)


def test_a_temperature_is_not_portable_between_papers():
    """V = 20, T = 10: shares of tokens kept, and edits, of three samplers of the literature."""
    counts = objectives.hamming_log_counts(jnp.array([10]), vocab_size=20, width=10)

    def kept(temperature, unit):
        how: dict[str, Any] = dict(vocab_size=20, temperature=temperature, unit=unit)
        each = objectives.payoff_log_probs(jnp.arange(11)[None], counts, jnp.array([10]), **how)
        return 1 - float(jnp.exp(each + counts)[0] @ jnp.arange(11.0)) / 10

    assert round(kept(0.5, "edits"), 2) == 0.28
    assert round(kept(0.85, "edits"), 3) == 0.146
    assert round(kept(0.85, "vocabulary"), 3) == 0.853
    # The published sampler takes V for V - 1: a replacement may be the token itself.
    assert round(1 / (1 + 20 * math.exp(-(1 + math.log(20)) / 0.85)), 3) == 0.846
    assert kept(0.085, "rate") == pytest.approx(kept(0.85, "edits"), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 1e-30])
def test_a_cold_draw_is_the_target_and_its_loss_maximum_likelihood(temperature):
    logits = jax.random.normal(jax.random.key(1), (2, 3, V))
    real = jnp.arange(3) < LENGTHS[:, None]
    key = jax.random.key(0)
    one = hamming(key, TARGETS, LENGTHS, vocab_size=V, temperature=temperature)
    two = edits(key, TARGETS, LENGTHS, vocab_size=V, temperature=temperature, max_len=L)
    for sample in one, two:
        assert sample.lengths.tolist() == LENGTHS.tolist()
        assert sample.distances.tolist() == [0, 0]
        loss = lambda x, tokens: sj.cross_entropy(x, tokens, mask=real)
        got = jax.value_and_grad(loss)(logits, sample.tokens[:, :3])
        jax.tree.map(np.testing.assert_array_equal, got, jax.value_and_grad(loss)(logits, TARGETS))


def test_one_token_is_all_there_is():
    key, target = jax.random.key(0), jnp.zeros((1, 3), int)
    hot = objectives.sample_hamming(key, target, vocab_size=1, temperature=1.0)
    assert hot.tokens.tolist() == [[0, 0, 0]]
    sample = edits(KEYS, many(target[0]), vocab_size=1, temperature=1.0, max_len=L, pad=7)
    law = tempered(np.abs(np.arange(L + 1) - 3), 1.0)
    assert fits([(0,) * n for n in range(L + 1)], strings_of(sample), law)


def test_in_float64_and_of_targets_without_room(x64):
    target = jnp.zeros((N, 0), jnp.int64)
    sample = edits(KEYS, target, vocab_size=V, temperature=0.8, max_len=2, pad=7)
    assert (sample.tokens.dtype, sample.distances.dtype) == (jnp.int32, jnp.int32)
    assert sample.distances.tolist() == sample.lengths.tolist()
    short = [string for string in STRINGS if len(string) <= 2]
    law = tempered(np.array([len(string) for string in short]), 0.8)
    assert fits(short, strings_of(sample), law)
    counts = log_counts(TARGETS[:1], vocab_size=V, max_len=L)
    exact = np.bincount(distances_from((0, 0, 1)))
    np.testing.assert_allclose(jnp.exp(counts[0]), exact, rtol=1e-12)


def test_a_traced_temperature_that_is_none():
    how = dict(vocab_size=V, temperature=jnp.array([jnp.nan, -1.0]))
    for sample in (
        hamming(jax.random.key(0), TARGETS, LENGTHS, **how),
        edits(jax.random.key(0), TARGETS, LENGTHS, max_len=L, **how),
    ):
        assert (sample.tokens == -1).all()
    draw = lambda t: objectives.sample_hamming(
        jax.random.key(0), TARGETS, LENGTHS, vocab_size=V, temperature=t
    )
    error, _ = checkify.checkify(jax.jit(draw), errors=checkify.user_checks)(-1.0)
    assert "temperature is negative or NaN" in str(error.get())


def draw(
    sampler: Any = objectives.sample_hamming,
    targets=TARGETS,
    lengths: Any = LENGTHS,
    key: Any = KEYS[0],
    **how,
):
    return sampler(key, targets, lengths, **({"vocab_size": V, "temperature": 1.0} | how))


longer = objectives.sample_edits
BAD = {
    "negative": (lambda: draw(temperature=-0.1), "temperature is -0.1; expected numbers of at"),
    "nan": (lambda: draw(longer, temperature=np.nan, max_len=4), "temperature is nan; expected"),
    "rows": (lambda: draw(temperature=jnp.ones(3)), "temperature has shape (3,); expected a nu"),
    "unit": (lambda: draw(unit="bleu"), "unit is 'bleu'; expected one of 'edits', 'rate', 'voc"),
    "id": (lambda: draw(targets=TARGETS + 2), "targets holds [3]; expected ids in 0..2 within"),
    "below": (lambda: draw(targets=TARGETS - 1), "targets holds [-1]; expected ids in 0..2 wit"),
    "axes": (lambda: draw(targets=TARGETS[0], lengths=None), "targets has shape (3,); expected"),
    "lengths": (
        lambda: draw(lengths=LENGTHS + 1),
        "expected 0 <= lengths <= T = 3, the size of axis 1 of t",
    ),
    "vocabulary": (lambda: draw(vocab_size=0), "vocab_size is 0; expected an integer of at lea"),
    "key": (lambda: draw(key=7), "key is 7; expected a typed key."),
    "narrow": (lambda: draw(longer, max_len=2), "max_len is 2; expected at least 3, the width"),
    "profiles": (
        lambda: objectives.edit_log_counts(jnp.zeros((1, 11), int), vocab_size=3, max_len=12),
        "targets has shape (1, 11); expected [B, T] with T of at most 10",
    ),
    "width": (
        lambda: objectives.hamming_log_counts(jnp.array([5]), vocab_size=3, width=4),
        "lengths has values from 5 to 5; expected 0 <= lengths <= T = 4",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_says_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)
