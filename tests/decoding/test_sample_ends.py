"""How samples end (several eos, stop sequences), and several samples of one prompt."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models

from seqjax.core.noise import fold_in_rows
from seqjax.decoding import Samples, best_of, majority, sample

VOCAB, LENGTH, ROWS = 4, 9, 48
NEVER = VOCAB  # a token that no model gives
KEY = jax.random.key(13)
CARRY = models.random_rows(0, ROWS, VOCAB, scale=1.0)
STOP = ((2, 2), (3,), (0, 2, 0), (0, 0, 0, 0, 2))
PROMPTS = np.tile([[0, 2], [2, 3]], (ROWS // 2, 1)).astype(np.int32)
PROMPT_LENGTHS = np.tile([2, 1], ROWS // 2).astype(np.int32)


def step(carry, tokens):
    carry, logits = models.step(carry, tokens)
    return carry, jnp.pad(logits, ((0, 0), (0, 1)), constant_values=-jnp.inf)


@functools.partial(jax.jit, static_argnames=("eos", "stop", "num_samples"))
def run(carry, eos, stop=(), key=KEY, temperature=1.0, num_samples=None):
    more: dict[str, Any] = dict(prompt=PROMPTS, prompt_lengths=PROMPT_LENGTHS, key=key)
    more |= dict(max_len=LENGTH, temperature=temperature, stop=stop, num_samples=num_samples)
    return sample(step, carry, bos=0, eos=eos, processors=[no_more_than_two], **more)


def no_more_than_two(logits, tokens, length):
    """Refuses what was drawn three times: a law of the row's own past."""
    drawn = (jnp.arange(tokens.shape[1]) < length)[:, None] & (tokens[..., None] == jnp.arange(5))
    return jnp.where(jnp.sum(drawn, axis=1) > 3, -jnp.inf, logits)


def cut(tokens, ends, stop):
    """The length of a row that goes on until an end token or a whole stop sequence."""
    for n in range(1, len(tokens) + 1):
        drawn = tuple(tokens[:n])
        if drawn[-1] in ends or any(drawn[-len(s) :] == s for s in stop if len(s) <= n):
            return n
    return len(tokens)


@pytest.mark.parametrize(("eos", "stop"), [((1, 3), ()), (1, STOP), ((3, 0), STOP[:1])])
def test_a_sample_ends_with_its_first_end_token_or_stop_sequence(eos, stop):
    """The prompts end in what may begin a stop sequence, and it does not count."""
    free = run(CARRY, NEVER)
    assert np.all(free.lengths == LENGTH)
    tokens = np.asarray(free.tokens)
    ends = (eos,) if isinstance(eos, int) else eos
    lengths = np.array([cut(row.tolist(), ends, stop) for row in tokens])
    samples = run(CARRY, eos, stop)
    np.testing.assert_array_equal(samples.lengths, lengths)
    last = tokens[np.arange(ROWS), lengths - 1]
    rest = np.where(np.isin(last, ends), last, ends[0])
    filled = np.where(np.arange(LENGTH) < lengths[:, None], tokens, rest[:, None])
    np.testing.assert_array_equal(samples.tokens, filled)
    assert len(set(lengths)) > 3
    prompts = [p[:n].tolist() for p, n in zip(PROMPTS, PROMPT_LENGTHS, strict=True)]
    primed, first = models.prime(models.step, CARRY, np.zeros(ROWS), prompts)
    each = models.token_log_probs(models.step, primed, first, tokens[:, None])[:, 0]
    np.testing.assert_allclose(samples.log_probs, models.sum_to(each, lengths), atol=1e-4)


def test_several_samples_are_those_of_their_own_keys_and_settings():
    temperature = jnp.linspace(0.0, 2.0, ROWS)
    three = run(CARRY, (1, 3), STOP, temperature=temperature, num_samples=3)
    assert three.tokens.shape == (ROWS, 3, LENGTH) and three.lengths.shape == (ROWS, 3)
    rows = fold_in_rows(KEY, jnp.arange(ROWS))
    for i in range(3):
        keys = fold_in_rows(rows, jnp.full(ROWS, i))
        alone = run(CARRY, (1, 3), STOP, key=keys, temperature=temperature)
        mine = jax.tree.map(lambda x, i=i: x[:, i], three)
        chex.assert_trees_all_close(mine, alone, rtol=1e-5)
    one = run(CARRY, (1, 3), STOP, temperature=temperature, num_samples=1)
    chex.assert_trees_all_close(one, jax.tree.map(lambda x: x[:, :1], three), rtol=1e-5)
    assert not np.array_equal(three.tokens[:, 0], three.tokens[:, 1])
    np.testing.assert_array_equal(three.tokens[0, 0], three.tokens[0, 2])  # temperature 0


def test_the_prompt_of_several_samples_is_read_once():
    reads = []

    def watched(carry, tokens):
        jax.debug.callback(lambda tokens: reads.append(tokens.shape[0]), tokens)
        return step(carry, tokens)

    how: dict[str, Any] = dict(bos=0, eos=NEVER, max_len=2, key=KEY, num_samples=5)
    prompt = np.zeros((ROWS, 4), np.int32)
    jax.block_until_ready(sample(watched, CARRY, prompt=prompt, **how))
    jax.effects_barrier()
    assert sorted(reads) == [ROWS] * 4 + [5 * ROWS] * 2


def test_an_empty_row_allows_the_first_eos():
    nothing = lambda carry, tokens: (carry, jnp.full((2, 4), -jnp.inf))
    how: dict[str, Any] = dict(bos=jnp.zeros(2, jnp.int32), eos=(3, 0), max_len=2)
    samples = sample(nothing, (), key=KEY, **how)
    assert samples.tokens.tolist() == [[3, 3]] * 2 and samples.lengths.tolist() == [1, 1]


def test_best_of_takes_the_highest_score_and_nan_never_wins():
    samples = run(CARRY, 1, num_samples=3)
    best = best_of(samples)
    index = np.argmax(np.asarray(samples.log_probs), axis=1)
    assert len(set(index)) == 3
    np.testing.assert_array_equal(best.log_probs, np.max(samples.log_probs, axis=1))
    np.testing.assert_array_equal(best.tokens, np.asarray(samples.tokens)[np.arange(ROWS), index])
    scores = jnp.tile(jnp.array([jnp.nan, -jnp.inf, -jnp.inf]), (ROWS, 1)).at[0, 2].set(-5.0)
    chosen = best_of(samples, scores)
    np.testing.assert_array_equal(chosen.tokens[0], samples.tokens[0, 2])


def test_majority_counts_equal_answers():
    answers = np.random.default_rng(0).integers(0, 3, (ROWS, 7, 2)).astype(np.int32)
    number = jnp.broadcast_to(jnp.arange(7, dtype=jnp.int32), (ROWS, 7))
    zeros = jnp.zeros((ROWS, 7))
    samples = Samples(jnp.asarray(answers), zeros, number, zeros)
    for given, rows in ((None, answers), (answers[..., 0], answers[..., :1])):
        chosen = majority(samples, given)
        for b in range(ROWS):
            each = [tuple(answer) for answer in rows[b].tolist()]
            assert chosen.lengths[b] == max(range(7), key=lambda i, e=each: e.count(e[i]))


ERRORS: list[tuple[dict[str, Any], str]] = [
    (dict(stop=[[0], []]), r"stop is \[\[0\], \[\]\]; expected a list of non-empty lists of inte"),
    (
        dict(stop=[4, 2]),
        r"stop is \[4, 2\]; .* A single sequence is a list of one: stop=\[\[4, 2\]",
    ),
    (dict(stop=[[5]]), r"expected a list of non-empty lists of integers in 0..4"),
    (dict(stop=7), "stop is 7; expected a list"),
    (dict(eos=()), r"eos is \(\); expected an integer with 0 <= eos < 5, .* or a tuple of diff"),
    (dict(eos=(1, 5)), r"eos is \(1, 5\); expected an integer with 0 <= eos < 5"),
    (dict(num_samples=0), "num_samples is 0; expected an integer of at least 1."),
]


@pytest.mark.parametrize(("change", "message"), ERRORS)
def test_sample_says_what_is_wrong(change, message):
    how: dict[str, Any] = dict(bos=0, eos=1, max_len=2, key=KEY) | change
    with pytest.raises(ValueError, match=message):
        sample(step, CARRY, **how)


def test_selection_says_what_is_wrong():
    one = run(CARRY, 1)
    with pytest.raises(ValueError, match=r"log_probs of shape \(48,\); expected \[B, n\]. Draw wi"):
        best_of(one)
    with pytest.raises(ValueError, match=r"log_probs of shape \(48,\); expected \[B, n\]. Draw wi"):
        majority(one, jnp.zeros(48))
    three = run(CARRY, 1, num_samples=3)
    with pytest.raises(
        ValueError, match=r"scores has shape \(3,\) but samples has \[B, n\] = \(48"
    ):
        best_of(three, np.zeros(3))
    with pytest.raises(ValueError, match=r"answers has shape \(48, 2\) but samples has \[B, n\]"):
        majority(three, np.zeros((48, 2)))
