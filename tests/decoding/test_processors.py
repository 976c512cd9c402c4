"""Processors against Python lists, and what decoders make of them, by enumeration."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support import decoding_models as models
from support.decoding_processors import BY_PLACE, LOOKING_BACK, by_hand, log_softmax

from seqjax.decoding import (
    AfterPrompt,
    ExponentialLengthDecay,
    ForcedEnd,
    ForcedTokens,
    FrequencyPenalty,
    MinLength,
    NoRepeatNGram,
    PresencePenalty,
    RepetitionPenalty,
    SequenceBias,
    SuppressTokens,
    beam_search,
    sample,
)

EOS = 1
KEY = jax.random.key(17)


@pytest.mark.parametrize("processor", LOOKING_BACK + BY_PLACE, ids=repr)
def test_a_processor_equals_lists(processor):
    rng, rows, vocab, width = np.random.default_rng(0), 40, 4, 7
    logits = rng.normal(size=(rows, vocab)).astype(np.float32)
    logits[0, 2], logits[1] = -np.inf, 0.0
    tokens = rng.integers(0, vocab, (rows, width)).astype(np.int32)
    apply = jax.jit(processor)
    each = rng.integers(0, width + 1, rows).astype(np.int32)
    tokens[6], each[6] = 3, width  # an n-gram as long as all that is seen
    for lengths in (each, *range(0, width + 1, 3)):
        got = apply(logits, tokens, lengths)
        assert got.dtype == jnp.float32
        for b, n in enumerate(np.broadcast_to(lengths, rows)):
            want = by_hand(processor, logits[b], tokens[b, :n].tolist())
            np.testing.assert_allclose(got[b], want, rtol=2e-5, atol=1e-6)
    spoiled = logits.copy()
    spoiled[3], spoiled[4, 0], spoiled[5, 1] = np.nan, -np.inf, np.inf
    got, clean = (np.delete(apply(x, tokens, each), [3, 4, 5], axis=0) for x in (spoiled, logits))
    np.testing.assert_array_equal(got, clean)
    assert hash(processor) == hash(eval(repr(processor)))
    assert processor == eval(repr(processor))


def test_a_constant_on_all_logits_matters_to_the_raw_repetition_penalty_alone():
    logits, tokens = jnp.array([[3.0, 1.0, -1.0]]), jnp.array([[0, 2]], jnp.int32)
    law = lambda processor, shift: jax.nn.softmax(processor(logits + shift, tokens, 2))
    raw, normal = RepetitionPenalty(1.5), RepetitionPenalty(1.5, normalise=True)
    assert np.max(np.abs(law(raw, 0.0) - law(raw, 5.0))) > 0.1
    np.testing.assert_allclose(law(normal, 0.0), law(normal, 5.0), rtol=1e-5)
    # Divided whatever the sign, as in the paper, token 2 would have gained from its repetition.
    assert raw(logits, tokens[:, 1:], 1).tolist() == [[3.0, 1.0, -1.5]]


VOCAB, LENGTH = 3, 5
CHAIN = (
    RepetitionPenalty(1.4, normalise=True),
    FrequencyPenalty(0.2),
    NoRepeatNGram(2),
    MinLength(3, EOS),
)


@functools.cache
def enumerated():
    """Every hypothesis of a model and its log-probability under the processed law."""
    carry, bos = models.random_rows(2, 3, VOCAB, scale=1.0), np.zeros(3, np.int32)
    tokens = models.every_sequence(VOCAB, LENGTH)
    each = models.token_log_probs(
        models.step, carry, bos, np.broadcast_to(tokens, (3, *tokens.shape))
    ).reshape(3, *[VOCAB] * LENGTH, LENGTH)
    filled, lengths = models.end_at(tokens, EOS)
    filled, index = np.unique(filled, axis=0, return_index=True)
    lengths = lengths[index]
    law = np.zeros((3, len(filled)))
    for b in range(3):
        for i, (row, length) in enumerate(zip(filled.tolist(), lengths, strict=True)):
            for n in range(length):
                rest = (0,) * (LENGTH - n - 1)
                x = np.array([each[(b, *row[:n], v, *rest, n)] for v in range(VOCAB)])
                for processor in CHAIN:
                    x = by_hand(processor, x, row[:n])
                    if np.all(x == -np.inf):  # eos alone
                        x = np.where(np.arange(VOCAB) == EOS, 0.0, -np.inf)
                law[b, i] += log_softmax(x)[row[n]]
    return carry, filled, lengths, law


def test_beams_are_the_best_under_the_processed_law():
    carry, tokens, lengths, law = enumerated()
    np.testing.assert_allclose(np.exp(law).sum(axis=1), 1, rtol=1e-5)
    size = VOCAB ** (LENGTH - 1)
    how: dict[str, Any] = dict(bos=0, eos=EOS, beam_size=size, max_len=LENGTH, processors=CHAIN)
    beams = jax.jit(lambda c: beam_search(models.step, c, **how))(carry)
    for b in range(3):
        possible = np.flatnonzero(law[b] > -np.inf)
        order = possible[np.argsort(-law[b, possible], kind="stable")]
        np.testing.assert_allclose(beams.log_probs[b, : len(order)], law[b, order], atol=1e-4)
        np.testing.assert_array_equal(beams.tokens[b, : len(order)], tokens[order])
        np.testing.assert_array_equal(beams.lengths[b, : len(order)], lengths[order])
        assert np.all(np.asarray(beams.log_probs)[b, len(order) :] == -np.inf)


def test_samples_follow_the_processed_law():
    carry, tokens, _, law = enumerated()
    draws = 20_000
    rows = jax.tree.map(lambda x: jnp.repeat(x, draws, axis=0), carry)
    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=LENGTH, key=KEY, processors=CHAIN)
    samples = jax.jit(lambda c: sample(models.step, c, **how))(rows)
    place = VOCAB ** np.arange(LENGTH)[::-1]
    index = {number: i for i, number in enumerate((tokens @ place).tolist())}
    drawn = np.array([index[number] for number in (np.asarray(samples.tokens) @ place).tolist()])
    np.testing.assert_allclose(
        samples.law_log_probs, law[np.arange(3).repeat(draws), drawn], atol=1e-4
    )
    for b in range(3):
        counts = np.bincount(drawn[b * draws : (b + 1) * draws], minlength=len(tokens))
        expected = draws * np.exp(law[b])
        rare = expected < 5
        assert counts[expected == 0].sum() == 0
        observed = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
        keep = expected > 0
        assert stats.chisquare(observed[keep], expected[keep]).pvalue > 1e-4


def test_forced_tokens_are_drawn_and_counted():
    carry = models.random_rows(3, 8, 4)
    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=5, processors=[ForcedTokens((2, None, 3))])
    samples = jax.jit(lambda c: sample(models.step, c, key=KEY, temperature=0.0, **how))(carry)
    tokens = np.asarray(samples.tokens)
    assert np.all(tokens[:, 0] == 2)
    going = tokens[:, 1] != EOS
    assert going.any() and np.all(tokens[going, 2] == 3)
    each = models.token_log_probs(models.step, carry, np.zeros(8, np.int32), tokens[:, None])[:, 0]
    lengths = np.asarray(samples.lengths)
    np.testing.assert_allclose(samples.log_probs, models.sum_to(each, lengths), atol=1e-5)
    refused = jnp.array([0.0, 0.0, -jnp.inf, 0.0])
    step = lambda carry, tokens: (carry, jnp.broadcast_to(refused, (*tokens.shape, 4)))
    beams = jax.jit(lambda c: beam_search(step, c, beam_size=2, **how))(carry)
    assert np.all(np.asarray(beams.tokens)[:, 0, 0] == 2)
    np.testing.assert_allclose(beams.log_probs[:, 0], np.log(1 / 3), rtol=1e-5)


def test_several_eos_wait_for_the_minimum_and_one_is_left_where_nothing_else_is():
    step = lambda carry, tokens: (carry, jnp.array([[0.0, 9.0, 9.0]]))
    bos = jnp.array([0])
    how: dict[str, Any] = dict(bos=bos, eos=(1, 2), max_len=6, key=KEY)
    run = jax.jit(lambda p: sample(step, (), processors=p, **how), static_argnums=0)
    wait = MinLength(4, (1, 2))
    assert run((wait,)).lengths.tolist() == [4]
    stuck = run((SuppressTokens((0,)), wait))
    assert stuck.lengths.tolist() == [1] and stuck.tokens.tolist() == [[1] * 6]


STRANGE: Any = "1", (1.0,), np.int64(2), (4, 2)
ERRORS = [
    (
        lambda: SequenceBias(STRANGE[3], 1.0),
        r"sequences is \(4, 2\); expected a list of non-",
    ),
    (
        lambda: SequenceBias(((4,), ()), 1.0),
        r"sequences is .*, \(\)\); expected a list of non-",
    ),
    (
        lambda: SequenceBias(((4,),), np.inf),
        "bias is inf; expected a finite number or None, or 1 ",
    ),
    (
        lambda: SequenceBias(((4,),), (1.0, 2.0)),
        r"bias is \(1.0, 2.0\); expected a finite",
    ),
    (lambda: ForcedEnd(0, 1), "max_len is 0; expected an integer of at least 1."),
    (lambda: ForcedEnd(2, -1), r"eos is \(-1,\); expected integers of at least 0."),
    (lambda: ExponentialLengthDecay(-1, 2.0, 1), "start is -1; expected an integer of at least 0."),
    (lambda: ExponentialLengthDecay(1, 0.5, 1), "factor is 0.5; expected a number of at least 1."),
    (lambda: SuppressTokens(STRANGE[2]), "tokens is .*2.*; expected integers of at least 0."),
    (lambda: RepetitionPenalty(0.0), "penalty is 0.0; expected a number above 0."),
    (lambda: RepetitionPenalty(np.inf), "penalty is inf; expected a finite number."),
    (lambda: PresencePenalty(STRANGE[0]), "penalty is '1'; expected a finite number."),
    (lambda: FrequencyPenalty(np.nan), "penalty is nan; expected a finite number."),
    (lambda: NoRepeatNGram(0), "size is 0; expected an integer of at least 1."),
    (lambda: SuppressTokens((1, -2)), r"tokens is \(1, -2\); expected integers of at least 0."),
    (lambda: SuppressTokens(STRANGE[1]), r"tokens is \(1.0,\); expected integers of at least 0."),
    (lambda: SuppressTokens((1,), until=0), "until is 0; expected an integer of at least 1."),
    (lambda: MinLength(0, 1), "min_len is 0; expected an integer of at least 1."),
    (lambda: MinLength(2, True), r"eos is \(True,\); expected integers of at least 0."),
    (lambda: ForcedTokens((None, -1)), r"tokens is \[-1\]; expected integers of at least 0."),
    (
        lambda: AfterPrompt(NoRepeatNGram(2), jnp.zeros(3, jnp.int32)),
        r"prompt has shape \(3,\); expected \[B, P\], padded on the right.",
    ),
    (
        lambda: AfterPrompt(
            NoRepeatNGram(2), jnp.zeros((3, 2), jnp.int32), jnp.zeros(2, jnp.int32)
        ),
        r"prompt_lengths has shape \(2,\) but prompt has batch size 3 ",
    ),
]
CALL_ERRORS = [
    (SequenceBias(((1, 4),), 1.0), r"sequences is \(\(1, 4\),\); expected .* integers in 0..3."),
    (ForcedEnd(2, 9), r"eos is \(9,\); expected token ids below 4, the vocabulary size."),
    (ExponentialLengthDecay(2, 2.0, 9), r"eos is \(9,\); expected token ids below 4"),
    (SuppressTokens((4,)), r"tokens is \(4,\); expected token ids below 4, the vocabulary size."),
    (MinLength(2, 9), r"eos is \(9,\); expected token ids below 4, the vocabulary size."),
    (ForcedTokens((None, 5)), r"tokens is \[5\]; expected token ids below 4, the vocabulary size."),
]


@pytest.mark.parametrize(("make", "message"), ERRORS)
def test_a_bad_setting_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("processor", "message"), CALL_ERRORS)
def test_a_setting_that_does_not_fit_the_logits_is_refused(processor, message):
    with pytest.raises(ValueError, match=message):
        processor(jnp.zeros((3, 4)), jnp.zeros((3, 2), jnp.int32), 1)


def test_forced_ends_leave_no_sequence_open():
    carry = models.random_rows(3, 8, 4)
    how: dict[str, Any] = dict(bos=0, eos=(EOS, 2), max_len=3)
    how |= dict(processors=[ForcedEnd(3, (EOS, 2))])
    samples = jax.jit(lambda c: sample(models.step, c, key=KEY, **how))(carry)
    beams = jax.jit(lambda c: beam_search(models.step, c, beam_size=3, **how))(carry)
    assert np.isin(samples.tokens[:, -1], (EOS, 2)).all()
    assert np.isin(beams.tokens[..., -1], (EOS, 2)).all()


def test_results_may_be_arrays_of_numpy():
    """In any precision; decoders go on in that of the step."""
    ban = lambda logits, tokens, length: np.array([[0.0, -np.inf, -1.0]] * 2)
    step = lambda carry, tokens: (carry, jnp.zeros((tokens.size, 3)))
    how: dict[str, Any] = dict(bos=jnp.zeros(2, jnp.int32), eos=1, max_len=3)
    samples = sample(step, (), key=KEY, processors=[ban], temperature=0.0, **how)
    assert samples.tokens.tolist() == [[0] * 3] * 2 and samples.log_probs.dtype == jnp.float32
    beams = beam_search(step, (), beam_size=1, processors=[ban], **how)
    np.testing.assert_array_equal(beams.tokens[:, 0], samples.tokens)


def test_specs_are_static_arguments_and_the_step_compiles_once():
    carry = models.random_rows(4, 4, 4)

    def run(processors, carry):
        how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=4, key=KEY)
        return sample(models.step, carry, processors=processors, **how)

    compiled = jax.jit(chex.assert_max_traces(run, n=1), static_argnums=0)
    first = compiled((RepetitionPenalty(1.2), NoRepeatNGram(STRANGE[2])), carry)
    second = compiled((RepetitionPenalty(1.2), NoRepeatNGram(2)), carry)
    chex.assert_trees_all_equal(first, second)
