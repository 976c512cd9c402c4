"""What beam_search may be told besides: ends, lengths, prefixes, coverage, exits, groups."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models
from support.decoding_searches import (
    GNMT,
    assert_same,
    attending,
    attending_anew,
    coverage_of,
    model,
    narrow,
    ruled,
    search,
)

from seqjax.decoding import (
    BeamRules,
    GNMTLengthPenalty,
    PowerLengthPenalty,
    SockeyeLengthPenalty,
    beam_search,
)

VOCAB, LENGTH, ROWS = 3, 4, 6
PREFIX = np.array([[0, 2], [2, 7], [7, 7], [0, 1], [1, 0], [2, 2]], np.int32)  # 1 is eos
PREFIX_LENGTHS = np.array([2, 1, 0, 2, 1, 2], np.int32)
MASK = np.array([[True, True, False], [True] * 3] * 3)
CASES = {
    "min_len": dict(min_len=3, length_penalty=GNMTLengthPenalty(-1.0)),
    "ends": dict(eos=(2, 0), length_penalty=SockeyeLengthPenalty(0.9, beta=2.0)),
    "prefix": dict(prefix=PREFIX, prefix_lengths=PREFIX_LENGTHS, min_len=2),
    "coverage": dict(covered=True, mask=MASK, length_penalty=GNMTLengthPenalty(0.6)),
    "all": dict(covered=True, prefix=PREFIX, prefix_lengths=PREFIX_LENGTHS, eos=(1, 2), min_len=4),
    "constraint": dict(  # which the last row's prefix breaks
        processors=(models.NoRepeat(),),
        prefix=PREFIX,
        prefix_lengths=PREFIX_LENGTHS,
        min_len=2,
        length_penalty=PowerLengthPenalty(1.0),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wide_beam_returns_the_true_best(case):
    how: dict[str, Any] = dict(eos=1) | CASES[case]
    carry, bos = model(ROWS, VOCAB)
    beams = search(carry, bos, beam_size=VOCAB ** (LENGTH - 1), max_len=LENGTH, **how)
    ends = np.atleast_1d(how["eos"])
    tokens, lengths = models.end_at(models.every_sequence(VOCAB, LENGTH), ends)
    tokens, index = np.unique(tokens, axis=0, return_index=True)
    lengths = lengths[index]
    every = np.broadcast_to(tokens, (ROWS, *tokens.shape))
    law = attending_anew if "processors" in how else attending
    each, outputs = models.along(law, carry, bos, every)
    log_probs = models.sum_to(each, np.broadcast_to(lengths, every.shape[:2]))
    penalty = how.get("length_penalty") or (lambda log_probs, lengths: log_probs)
    scores = np.asarray(penalty(jnp.float32(log_probs), jnp.asarray(lengths, jnp.int32)))
    if "covered" in how:
        mask = how.get("mask", np.ones((ROWS, 3), bool))
        scores = scores + 0.5 * coverage_of(outputs["weights"], lengths[None], mask)
    allowed = (lengths >= how.get("min_len", 1)) & (log_probs > -np.inf)
    for b in np.flatnonzero(PREFIX_LENGTHS) if "prefix" in how else ():
        given = models.end_at(PREFIX[b, : PREFIX_LENGTHS[b]], ends)[0]
        allowed[b] &= np.all(tokens[:, : len(given)] == given, axis=1)
    scores = np.where(allowed, scores, -np.inf)
    for b in range(ROWS):
        order = np.argsort(-scores[b], kind="stable")[: min(27, allowed[b].sum())]
        np.testing.assert_allclose(beams.scores[b, : len(order)], scores[b, order], atol=5e-5)
        np.testing.assert_array_equal(beams.tokens[b, : len(order)], tokens[order])
        np.testing.assert_array_equal(beams.lengths[b, : len(order)], lengths[order])
        np.testing.assert_allclose(beams.log_probs[b, : len(order)], log_probs[b, order], atol=5e-5)
        assert np.isneginf(beams.scores[b, len(order) :]).all()
        assert np.all(beams.tokens[b, len(order) :] == ends[0])


def test_a_forced_prefix_that_cannot_be_leaves_nothing():
    never = lambda carry, tokens: (carry, jnp.array([[0.0, 0.0, -jnp.inf]] * tokens.shape[0]))
    how: dict[str, Any] = dict(bos=jnp.array([0, 0]), eos=1, beam_size=2, max_len=3)
    found = lambda step, prefix, **more: beam_search(
        step, (), **ruled(how | more | dict(prefix=prefix))
    )
    beams = found(never, [[2, 0], [0, 2]], prefix_lengths=[1, 1])
    assert beams.lengths.tolist() == [[0, 0], [2, 3]] and np.isneginf(beams.scores[0]).all()
    beams = found(never, [[1], [0]], min_len=2)  # eos, but too early
    assert beams.lengths.tolist() == [[0, 0], [2, 3]]
    dead = lambda carry, tokens: (carry, jnp.full((tokens.shape[0], 3), -jnp.inf))
    beams = found(dead, [[1], [0]])  # where eos alone is left
    assert beams.lengths.tolist() == [[1, 0], [0, 0]] and beams.log_probs[0, 0] == 0
    unknown = jax.jit(lambda prefix: found(never, prefix))
    for token in (-1, 3):  # of no vocabulary, which the device alone knows
        assert unknown(jnp.array([[token], [0]])).lengths.tolist() == [[0, 0], [2, 3]]


def test_min_len_where_eos_alone_is_left():
    stuck = lambda carry, tokens: (carry, jnp.where(tokens[:, None] == 0, -jnp.inf, jnp.zeros(3)))
    how: dict[str, Any] = dict(bos=jnp.array([0, 2]), eos=1, beam_size=2, max_len=3)
    beams = beam_search(stuck, (), rules=BeamRules(min_len=2), **how)
    assert beams.lengths[0].tolist() == [0, 0] and np.isneginf(beams.log_probs[0]).all()
    assert beams.lengths[1, 0] >= 2


def test_an_end_that_nothing_else_is_left_to_costs_what_the_step_says():
    """Scores that are added up: sequences by the sum of the step's log-probabilities."""
    carry, bos = model(ROWS, VOCAB)
    rules = BeamRules(normalise=False)

    def own(carry, tokens):
        carry, logits = models.step(carry, tokens)
        return carry, jax.nn.log_softmax(logits)

    def masked(logits, tokens, length):
        last = jnp.where(length > 0, tokens[:, jnp.maximum(length - 1, 0)], -1)[:, None]
        no_end = (last == 0) & (jnp.arange(VOCAB) == 1)
        return jnp.where((last == 2) | no_end, -jnp.inf, logits)  # nothing may follow 2

    how: dict[str, Any] = dict(bos=bos, eos=1, beam_size=27, max_len=LENGTH, rules=rules)
    beams = jax.jit(lambda c: beam_search(own, c, processors=[masked], **how))(carry)
    tokens, lengths, log_probs = models.hypotheses(models.step, carry, bos, VOCAB, LENGTH, 1)
    fits = lambda a, b: b == 1 if a == 2 else (a, b) != (0, 1)
    allowed = [
        all(map(fits, row[: n - 1], row[1:n]))
        for row, n in zip(tokens.tolist(), lengths.tolist(), strict=True)
    ]
    for b in range(ROWS):
        scores = np.where(allowed, log_probs[b], -np.inf)
        order = np.argsort(-scores, kind="stable")[: sum(allowed)]
        np.testing.assert_allclose(beams.log_probs[b, : len(order)], scores[order], atol=5e-5)
        np.testing.assert_array_equal(beams.tokens[b, : len(order)], tokens[order])
        assert np.isneginf(beams.scores[b, len(order) :]).all()


@pytest.mark.parametrize("chain", [(), (lambda logits, *_: jax.nn.log_softmax(logits),)])
def test_what_the_step_gives_nothing_falls_out_of_added_scores(chain):
    dead = lambda carry, tokens: (carry, jnp.where(tokens[:, None] == 0, -jnp.inf, jnp.zeros(3)))
    how: dict[str, Any] = dict(bos=jnp.array([2, 0]), eos=1, beam_size=9, max_len=2)
    beams = beam_search(dead, (), processors=chain, rules=BeamRules(normalise=False), **how)
    assert np.isneginf(beams.log_probs[1]).all() and beams.lengths[1].tolist() == [0] * 9
    there = beams.tokens[0][np.isfinite(beams.log_probs[0])].tolist()
    assert sorted(there) == [[1, 1], [2, 0], [2, 1], [2, 2]]  # nothing goes on from 0


@pytest.mark.parametrize("eos", [1, (1, 2)])
def test_outputs_follow_the_winning_paths(eos):
    """A narrow beam with prompts of unequal length, whose parents change places all the time."""
    carry, bos = model(8, 5)
    prompts: list[list[int]] = [[], [0], [3, 1], [2], [], [4, 4], [1], [0, 3]]
    prompt = np.array([(p + [0, 0])[:2] for p in prompts], np.int32)
    given: dict[str, Any] = dict(
        prompt=prompt, prompt_lengths=np.array([len(p) for p in prompts], np.int32)
    )
    beams = search(carry, bos, eos=eos, beam_size=3, max_len=6, **given)
    primed, first = models.prime(lambda c, t: attending(c, t)[:2], carry, bos, prompts)
    tokens = np.asarray(beams.tokens)
    each, outputs = models.along(attending, primed, first, tokens)
    real = np.arange(6) < np.asarray(beams.lengths)[..., None]
    np.testing.assert_allclose(beams.log_probs, np.sum(np.where(real, each, 0), -1), atol=2e-5)
    for got, want in zip(jax.tree.leaves(beams.outputs), jax.tree.leaves(outputs), strict=True):
        mask = real.reshape(*real.shape, *[1] * (want.ndim - 3))
        np.testing.assert_allclose(got, np.where(mask, want, 0), atol=1e-5)
    filled, lengths = models.end_at(tokens, np.atleast_1d(eos))
    np.testing.assert_array_equal(filled, tokens)
    np.testing.assert_array_equal(lengths, beams.lengths)


@pytest.mark.parametrize(
    "settings",
    [
        dict(eos=(1, 3), min_len=3),
        dict(eos=1, groups=2, diversity=0.7),
        dict(eos=(1, 2, 3), groups=2, diversity=0.7),  # one lives on, and counts once
        dict(eos=(1, 3), groups=4, diversity=5.0, early_exit="first"),
        dict(
            eos=(1, 3),
            groups=2,
            diversity=1.5,
            prefix=np.arange(64, dtype=np.int32).reshape(32, 2) // 3 % 4,
            prefix_lengths=np.arange(32, dtype=np.int32) % 3,
        ),
    ],
)
def test_narrow_beam_equals_lists(settings):
    penalty, score = GNMT
    how = dict(settings)
    beams = search(*model(32, 4), beam_size=4, max_len=5, length_penalty=penalty, **settings)
    ends = tuple(np.atleast_1d(how.pop("eos")).tolist())
    if how.pop("early_exit", None):
        how["wanted"] = 4 // how["groups"]
    assert_same(beams, narrow(ends, 4, score, **how))


def test_groups_are_diverse():
    carry, bos = model(32, 4)
    how: dict[str, Any] = dict(eos=1, beam_size=4, max_len=5, groups=4)
    different = lambda beams: np.mean(
        [len({tuple(t) for t in row}) for row in beams.tokens.tolist()]
    )
    alike, apart = (search(carry, bos, diversity=d, **how) for d in (0.0, 3.0))
    assert different(alike) == 1 and different(apart) > 2
    assert np.all(np.diff(apart.scores, axis=1) <= 0)
    greedy = search(carry, bos, eos=1, beam_size=1, max_len=5)
    first = np.any(np.all(apart.tokens == greedy.tokens, axis=-1), axis=1)
    assert first.all()  # the first group searches as if it were alone


EVERYTHING: dict[str, Any] = dict(
    eos=(1, 3),
    beam_size=4,
    max_len=6,
    min_len=2,
    covered=True,
    length_penalty=GNMTLengthPenalty(0.8),
    groups=2,
    diversity=0.6,
    processors=(models.NoRepeat(),),
)
GIVEN: dict[str, Any] = dict(
    prefix=np.array([[0, 2], [2, 0]] * 4, np.int32),
    prefix_lengths=np.array([0, 1, 2, 0, 1, 2, 0, 1], np.int32),
    mask=np.arange(3) < np.array([3, 2, 3, 1, 2, 3, 3, 2])[:, None],
)


def test_everything_at_once_re_scores():
    (carry, bos), penalty = model(8, 5), EVERYTHING["length_penalty"]
    beams = jax.tree.map(np.asarray, search(carry, bos, **GIVEN, **EVERYTHING))
    each, outputs = models.along(attending_anew, carry, bos, beams.tokens)
    real = np.arange(6) < beams.lengths[..., None]
    log_probs = models.sum_to(each, beams.lengths)
    np.testing.assert_allclose(beams.log_probs, log_probs, atol=5e-5)
    covered = 0.5 * coverage_of(outputs["weights"], beams.lengths, GIVEN["mask"])
    scores = penalty(beams.log_probs, beams.lengths) + covered
    np.testing.assert_allclose(beams.scores, scores, atol=5e-5)
    for got, want in zip(jax.tree.leaves(beams.outputs), jax.tree.leaves(outputs), strict=True):
        mask = real.reshape(*real.shape, *[1] * (want.ndim - 3))
        np.testing.assert_allclose(got, np.where(mask, want, 0), atol=1e-5)
    forced = np.arange(2) < GIVEN["prefix_lengths"][:, None, None]  # [B, 1, P]
    assert np.all(~forced | (beams.tokens[..., :2] == GIVEN["prefix"][:, None]))
    assert np.all(beams.lengths >= 2) and np.all(np.diff(beams.scores, axis=1) <= 0)


def test_rows_do_not_depend_on_batch_mates():
    carry, bos = model(8, 5)
    clean = search(carry, bos, **GIVEN, **EVERYTHING)
    out = carry["params"][2].at[1].set(jnp.nan).at[2].set(jnp.inf).at[3].set(-jnp.inf)
    spoiled = {**carry, "params": (*carry["params"][:2], out)}
    spoiled = search(spoiled, bos, **GIVEN, **EVERYTHING)
    others = np.array([0, 4, 5, 6, 7])
    chex.assert_trees_all_equal(*jax.tree.map(lambda x: x[others], (clean, spoiled)))
    order = np.array([3, 0, 7, 6, 1, 2, 5, 4])
    (carry, bos), given = jax.tree.map(lambda x: x[order], ((carry, bos), GIVEN))
    mixed = search(carry, bos, **given, **EVERYTHING)
    chex.assert_trees_all_close(mixed, jax.tree.map(lambda x: x[order], clean), rtol=1e-5)
