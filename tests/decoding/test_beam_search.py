"""beam_search against enumeration, against a beam in Python lists, and against its own contract."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models

from seqjax.decoding import GNMTLengthPenalty, PowerLengthPenalty, beam_search, sample

EOS = 1
ALPHAS_AND_BONUSES = [(0.0, 0.0), (0.6, 0.0), (2.0, 0.0), (-1.5, 0.0), (0.0, 0.7), (-0.5, 0.3)]


@functools.partial(jax.jit, static_argnames=("eos", "beam_size", "max_len", "length_penalty"))
def search(carry, bos, prompt=None, prompt_lengths=None, **settings):
    more: dict[str, Any] = dict(prompt=prompt, prompt_lengths=prompt_lengths)
    return beam_search(models.step, carry, bos=bos, **more, **settings)


def penalty_of(alpha, bonus):
    """Every shape of penalty: none, one that favours long, one that favours short, a bonus."""
    gnmt = GNMTLengthPenalty(alpha)
    return lambda p, n: gnmt(p, n) + bonus * n.astype(p.dtype)


@functools.partial(jax.jit, static_argnames=("beam_size", "max_len"))
def penalised(carry, bos, alpha, bonus, **settings):
    return beam_search(
        models.step, carry, bos=bos, eos=EOS, length_penalty=penalty_of(alpha, bonus), **settings
    )


def assert_best(beams, tokens, lengths, log_probs, penalty=None):
    """The beams are the best of all hypotheses: tokens [M, L], lengths [M], log_probs [B, M]."""
    beams = jax.tree.map(np.asarray, beams)
    scores = log_probs
    if penalty is not None:
        every = jnp.broadcast_to(jnp.asarray(lengths, jnp.int32), log_probs.shape)
        scores = np.asarray(penalty(jnp.asarray(log_probs, jnp.float32), every))
    count = min(beams.scores.shape[1], scores.shape[1])
    for b, row in enumerate(scores):
        order = np.argsort(-row, kind="stable")[:count]
        np.testing.assert_allclose(beams.scores[b, :count], row[order], atol=5e-5)
        np.testing.assert_array_equal(beams.tokens[b, :count], tokens[order])
        np.testing.assert_array_equal(beams.lengths[b, :count], lengths[order])
        np.testing.assert_allclose(beams.log_probs[b, :count], log_probs[b, order], atol=5e-5)


def test_beam_as_wide_as_the_tree_returns_the_true_best():
    vocab, length, bos = 3, 4, np.array([0, 1, 2, 0, 1, 2], np.int32)
    carry = models.random_rows(0, 6, vocab)
    every = models.hypotheses(models.step, carry, bos, vocab, length, EOS)
    for alpha, bonus in ALPHAS_AND_BONUSES:
        width = vocab ** (length - 1)
        beams = penalised(carry, bos, alpha, bonus, beam_size=width, max_len=length)
        assert_best(beams, *every, penalty_of(alpha, bonus))


@pytest.mark.parametrize(("vocab", "length"), [(2, 6), (5, 3)])
def test_true_best_after_prompts_of_unequal_length(vocab, length):
    penalty = PowerLengthPenalty(1.0)
    prompts = [[], [0], [EOS, 0, 1], [1, 1]]  # eos and token 0 are ordinary in a prompt
    padded = np.full((4, 5), 99, np.int32)  # wider than any prompt, filled with a token of no model
    for b, prompt in enumerate(prompts):
        padded[b, : len(prompt)] = prompt
    carry, bos = models.random_rows(1, 4, vocab), np.zeros(4, np.int32)
    lengths = np.array([len(p) for p in prompts], np.int32)
    how: dict[str, Any] = dict(
        eos=EOS, beam_size=vocab ** (length - 1), max_len=length, length_penalty=penalty
    )
    beams = search(carry, bos, padded, lengths, **how)
    primed, first = models.prime(models.step, carry, bos, prompts)
    assert_best(beams, *models.hypotheses(models.step, primed, first, vocab, length, EOS), penalty)
    padded[np.arange(5) >= lengths[:, None]] = -7
    chex.assert_trees_all_equal(beams, search(carry, bos, padded, lengths, **how))
    narrower = search(carry, bos, padded[:, :3], lengths, **how)
    chex.assert_trees_all_close(beams, narrower, rtol=1e-6)


def test_narrow_beam_equals_lists_without_early_exit():
    vocab, length, size, rows = 4, 5, 2, 64
    carry, bos = models.random_rows(2, rows, vocab), np.zeros(rows, np.int32)
    tokens = models.every_sequence(vocab, length)
    every = np.broadcast_to(tokens, (rows, *tokens.shape))
    each = models.token_log_probs(models.step, carry, bos, every)
    each = each.reshape(rows, *[vocab] * length, length)
    for alpha, bonus in [*ALPHAS_AND_BONUSES, (-3.0, 0.0)]:
        beams = penalised(carry, bos, alpha, bonus, beam_size=size, max_len=length)
        score = lambda p, n, a=alpha, b=bonus: p / ((5 + n) / 6) ** a + b * n
        expected = []
        for b in range(rows):

            def next_log_probs(prefix, b=b):
                rest = (0,) * (length - len(prefix) - 1)
                return [each[(b, *prefix, v, *rest, len(prefix))] for v in range(vocab)]

            expected += models.python_beam(next_log_probs, score, vocab, length, EOS, size)
        scores, prefixes, log_probs = zip(*expected, strict=True)
        filled = [(*prefix, *[EOS] * (length - len(prefix))) for prefix in prefixes]
        np.testing.assert_array_equal(beams.tokens.reshape(-1, length), filled)
        np.testing.assert_array_equal(beams.lengths.reshape(-1), [len(p) for p in prefixes])
        np.testing.assert_allclose(beams.scores.reshape(-1), scores, atol=1e-4)
        np.testing.assert_allclose(beams.log_probs.reshape(-1), log_probs, atol=1e-4)


def test_beam_of_one_is_greedy():
    carry, bos = models.random_rows(3, 16, 7), jnp.zeros(16, jnp.int32)
    beams = search(carry, bos, eos=EOS, beam_size=1, max_len=12)
    how: dict[str, Any] = dict(bos=bos, eos=EOS, max_len=12, key=jax.random.key(0))
    samples = jax.jit(lambda c: sample(models.step, c, temperature=0.0, **how))(carry)
    np.testing.assert_array_equal(beams.tokens[:, 0], samples.tokens)
    np.testing.assert_array_equal(beams.lengths[:, 0], samples.lengths)
    np.testing.assert_allclose(beams.log_probs[:, 0], samples.log_probs, rtol=1e-5)
    assert 1 < np.unique(samples.lengths).size  # some end early, some do not


PLAIN: dict[str, Any] = dict(eos=EOS, beam_size=3, max_len=8, length_penalty=GNMTLengthPenalty(0.8))


def test_rows_do_not_depend_on_batch_mates_and_scores_are_real():
    carry, bos = models.random_rows(4, 8, 6), jnp.arange(8, dtype=jnp.int32) % 6
    how = PLAIN
    beams = search(carry, bos, **how)
    order = np.array([3, 0, 7, 6, 1, 2, 5, 4])
    permuted = search(jax.tree.map(lambda x: x[order], carry), bos[order], **how)
    chex.assert_trees_all_close(permuted, jax.tree.map(lambda x: x[order], beams), rtol=1e-6)
    for b in range(3):
        alone = search(jax.tree.map(lambda x, b=b: x[b : b + 1], carry), bos[b : b + 1], **how)
        chex.assert_trees_all_close(alone, jax.tree.map(lambda x, b=b: x[b : b + 1], beams))

    tokens, lengths = models.end_at(np.asarray(beams.tokens), EOS)
    np.testing.assert_array_equal(tokens, beams.tokens)  # eos after eos
    np.testing.assert_array_equal(lengths, beams.lengths)
    each = models.token_log_probs(models.step, carry, np.asarray(bos), tokens)
    np.testing.assert_allclose(beams.log_probs, models.sum_to(each, lengths), atol=2e-5)
    np.testing.assert_allclose(
        beams.scores, how["length_penalty"](beams.log_probs, beams.lengths), rtol=1e-6
    )
    assert np.all(np.diff(beams.scores, axis=1) <= 0)
    for row in tokens:
        assert len({tuple(t) for t in row}) == 3  # no hypothesis twice


def test_more_beams_than_sequences():
    table = jnp.log(jnp.array([[0.7, 0.3], [0.5, 0.5]]))
    step = lambda carry, tokens: (carry, table[tokens])
    beams = beam_search(step, (), bos=jnp.array([0]), eos=EOS, beam_size=5, max_len=2)
    assert beams.tokens[0].tolist() == [[0, 0], [1, 1], [0, 1], [1, 1], [1, 1]]
    assert beams.lengths[0].tolist() == [2, 1, 2, 0, 0]
    np.testing.assert_allclose(jnp.exp(beams.log_probs[0]), [0.49, 0.3, 0.21, 0, 0], rtol=1e-6)
    once = beam_search(step, (), bos=jnp.array([0]), eos=EOS, beam_size=3, max_len=1)
    assert once.tokens[0].tolist() == [[0], [1], [1]] and once.lengths[0].tolist() == [1, 1, 0]
    only = beam_search(lambda c, t: (c, c), jnp.zeros((2, 1)), bos=0, eos=0, beam_size=3, max_len=2)
    assert only.lengths.tolist() == [[1, 0, 0]] * 2  # a vocabulary of eos alone


def test_ties_go_to_the_lowest_id():
    logits = jnp.array([-0.0, 0.0, -0.0, 0.0], jnp.bfloat16)
    step = lambda carry, tokens: (carry, jnp.broadcast_to(logits, (tokens.shape[0], 4)))
    beams = beam_search(step, (), bos=jnp.array([0]), eos=3, beam_size=3, max_len=2)
    assert beams.tokens[0].tolist() == [[0, 0], [0, 1], [0, 2]]
    assert beams.log_probs.dtype == jnp.float32  # of bfloat16 logits, too
    np.testing.assert_allclose(beams.log_probs, 2 * np.log(1 / 4), rtol=1e-6)


def test_processors_are_scored_as_processed():
    def no_repeats(logits, tokens, length):
        real = jnp.arange(tokens.shape[1]) < length
        ids = jnp.arange(logits.shape[1])
        seen = jnp.any((tokens[:, :, None] == ids) & real[:, None], axis=1)  # [N, V]
        return jnp.where(seen, -jnp.inf, logits)

    def ban_two(logits, tokens, length):
        return logits.at[:, 2].set(-jnp.inf)

    carry, bos = models.random_rows(6, 5, 5), np.zeros(5, np.int32)
    how: dict[str, Any] = dict(eos=EOS, beam_size=16, max_len=5, processors=(no_repeats, ban_two))
    beams = beam_search(models.step, carry, bos=bos, **how)
    tokens, lengths = np.asarray(beams.tokens), np.asarray(beams.lengths)
    for row, ends in zip(tokens.reshape(-1, 5), lengths.reshape(-1), strict=True):
        assert len(set(row[:ends])) == ends and 2 not in row[:ends]
    # Besides eos 0, 3 and 4 are left: 16 sequences of distinct ones, then eos, and no others.
    assert all(len({tuple(t) for t in row}) == 16 for row in tokens)
    np.testing.assert_allclose(np.exp(beams.log_probs).sum(1), 1, rtol=1e-5)
    first = models.step(carry, jnp.asarray(bos))[1].at[:, 2].set(-jnp.inf)
    first = jax.nn.log_softmax(first)[:, EOS]
    only_eos = np.sum(np.where(lengths == 1, beams.log_probs, 0), axis=1)
    np.testing.assert_allclose(only_eos, first, rtol=1e-5)


def test_eager_jit_and_vmap_agree():
    tables = jax.random.normal(jax.random.key(1), (3, 4, 4))
    bos = jnp.array([0, 3])
    how: dict[str, Any] = dict(
        bos=bos, eos=EOS, beam_size=2, max_len=4, length_penalty=GNMTLengthPenalty(0.6)
    )
    run = lambda table: beam_search(lambda carry, tokens: (carry, table[tokens]), (), **how)
    mapped, one = jax.jit(jax.vmap(run))(tables), jax.jit(run)(tables[1])
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], mapped), one, rtol=1e-6)
    chex.assert_trees_all_close(one, run(tables[1]), rtol=1e-6)


def test_traced_alpha_is_compiled_once():
    carry = models.random_rows(7, 2, 3)
    how: dict[str, Any] = dict(bos=0, eos=EOS, beam_size=2, max_len=3)

    @jax.jit
    @chex.assert_max_traces(1)
    def run(alpha):
        penalty = GNMTLengthPenalty(alpha)
        return beam_search(models.step, carry, length_penalty=penalty, **how).scores

    assert not np.array_equal(run(0.5), run(-0.5))


def test_float64(x64):
    def step(h, tokens):
        h = h * 0.5 + tokens[:, None].astype(h.dtype)
        return h, h * jnp.array([1.0, -1.0, 2.0])

    how: dict[str, Any] = dict(
        bos=0, eos=EOS, beam_size=2, max_len=4, length_penalty=GNMTLengthPenalty(0.6)
    )
    beams = beam_search(step, jnp.ones((2, 3)), **how)
    assert beams.scores.dtype == beams.log_probs.dtype == jnp.float64
    assert beams.tokens.dtype == beams.lengths.dtype == jnp.int32


def test_all_beams_of_all_rows_take_one_step_together():
    """One batched call a step however many beams there are, not "B forward passes"."""
    widths = []

    def step(carry, tokens):
        widths.append(tokens.shape)
        return carry, jnp.zeros((tokens.shape[0], 4))

    for beam_size in (1, 3, 8):
        widths.clear()
        beam_search(step, jnp.zeros((2, 1)), bos=0, eos=1, beam_size=beam_size, max_len=5)
        assert set(widths) <= {(2,), (2 * beam_size,)} and (2 * beam_size,) in widths
        assert len(widths) <= 2  # traced for shapes, and once for the loop
