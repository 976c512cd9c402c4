"""Ids in any integer dtype, where the vocabulary's size is one that the dtype cannot hold."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding import (
    AfterPrompt,
    Automaton,
    BeamRules,
    Beams,
    CacheInput,
    FrequencyPenalty,
    Infill,
    NeuralCache,
    NoRepeatNGram,
    PresencePenalty,
    RepetitionPenalty,
    beam_search,
    ctc_collapse,
    keep_accepted,
    sample,
    sequential_monte_carlo,
    speculative_sample,
    stochastic_beam_search,
)

DTYPES = [np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32]
KEY = jax.random.key(0)


def vocabulary(dtype):
    """One id more than the dtype can hold, or a few where it can hold many."""
    return int(min(np.iinfo(dtype).max, 2**16)) + 1


def ids(dtype, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, min(vocabulary(dtype), 300), shape).astype(dtype)


def model(vocab):
    def step(carry, tokens):
        """A few likely tokens that depend on the one read and on those before."""
        carry = (carry * 7 + tokens + 1) % vocab
        near = (carry[:, None] * jnp.arange(1, 4)) % vocab
        return carry, jnp.zeros((tokens.size, vocab)).at[
            jnp.arange(tokens.size)[:, None], near
        ].set(9)

    return step, jnp.zeros(3, jnp.int32)


def decoders(step, carry, dtype, prompt, template):
    last = ids(dtype, 3, 2, seed=1)
    chain = (AfterPrompt(NoRepeatNGram(2), prompt), AfterPrompt(RepetitionPenalty(1.5), prompt))
    how: dict[str, Any] = dict(bos=prompt[:, 0], eos=dtype(1), max_len=4, prompt=prompt)
    drawn: dict[str, Any] = how | dict(key=KEY, processors=chain)
    return {
        "beam": beam_search(
            step, carry, beam_size=2, rules=BeamRules(prefix=last), processors=chain, **how
        ),
        "sample": sample(step, carry, stop=[list(last[0])], **drawn),
        "stochastic": stochastic_beam_search(step, carry, beam_size=2, **drawn),
        "speculative": speculative_sample(step, carry, step, carry, num_draft=2, **drawn),
        "particles": sequential_monte_carlo(
            step, carry, num_particles=2, potentials=[Infill(template, dtype(1))], **drawn
        ),
    }


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16])
def test_decoders_read_them_alike(dtype):
    step, carry = model(vocabulary(dtype))
    prompt, template = ids(dtype, 3, 5), ids(dtype, 4, seed=2)
    run = jax.jit(decoders, static_argnums=(0, 2))
    narrow = run(step, carry, dtype, prompt, template)
    wide = run(step, carry, dtype, prompt.astype(np.int32), template.astype(np.int32))
    chex.assert_trees_all_equal(narrow, wide)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_looks_ids_up_reads_them_alike(dtype):
    vocab = vocabulary(dtype)
    tokens, logits = ids(dtype, 2, 6), np.random.default_rng(3).normal(size=(2, vocab))
    logits = logits.astype(np.float32)
    tokens[:, -1] = min(vocab - 1, np.iinfo(dtype).max)
    looks = [RepetitionPenalty(2.0), PresencePenalty(1.0), FrequencyPenalty(0.5), NoRepeatNGram(1)]
    for processor in looks:
        got = processor(logits, jnp.asarray(tokens), 3)
        np.testing.assert_array_equal(got, processor(logits, tokens.astype(np.int32), 3))
    table = np.zeros((1, vocab), np.int32)
    automaton = Automaton(np.where(np.arange(vocab) == 1, -1, table), [True])
    lengths = jnp.array([6, 2])
    states = automaton.read(jnp.asarray(tokens), lengths)
    assert states.tolist() == [
        -1 if 1 in row[:n] else 0 for row, n in zip(tokens, (6, 2), strict=True)
    ]
    scores = jnp.zeros((1, 2))
    beams = Beams(jnp.asarray(tokens)[None], scores, scores, jnp.asarray(lengths)[None])
    wide = beams._replace(tokens=beams.tokens.astype(jnp.int32))
    chex.assert_trees_all_equal(*(keep_accepted(x, automaton, eos=1) for x in (beams, wide)))
    chex.assert_trees_all_equal(
        ctc_collapse(tokens, blank=vocab - 1),
        ctc_collapse(tokens.astype(np.int32), blank=vocab - 1),
    )
    cache = NeuralCache(3, 0.5, 1.0)
    read = lambda tokens: cache.step(
        cache.step(
            cache.initial_carry(2, 4),
            CacheInput(tokens[:, 0], jnp.ones((2, 4)), jnp.asarray(logits)),
        )[0],
        CacheInput(tokens[:, 5], jnp.ones((2, 4)), jnp.asarray(logits)),
    )
    chex.assert_trees_all_equal(
        read(jnp.asarray(tokens)), read(jnp.asarray(tokens.astype(np.int32)))
    )
