"""Processors that read a prompt or a source text, beside Python lists."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models
from support.decoding_processors import LOOKING_BACK, by_hand

from seqjax.decoding import AfterPrompt, NoRepeatNGram, OnSource, beam_search


@pytest.mark.parametrize("processor", LOOKING_BACK, ids=repr)
def test_after_prompt_puts_the_prompt_in_front(processor):
    rng, batch, times, vocab = np.random.default_rng(1), 6, 3, 4
    prompt = rng.integers(0, vocab, (batch, 5)).astype(np.int32)
    lengths = np.array([0, 1, 5, 3, 2, 4], np.int32)
    tokens = rng.integers(0, vocab, (batch * times, 4)).astype(np.int32)
    logits = rng.normal(size=(batch * times, vocab)).astype(np.float32)
    padded = np.where(np.arange(5) < lengths[:, None], prompt, -7)

    def whole(prompt, lengths, logits, tokens, length):
        return AfterPrompt(processor, prompt, lengths)((), logits, tokens, length)

    run = jax.jit(whole)
    for drawn in (0, 2, 4):
        got = run(padded, lengths, logits, tokens, drawn)
        for n in range(batch * times):
            b = n // times
            seen = [*prompt[b, : lengths[b]].tolist(), *tokens[n, :drawn].tolist()]
            np.testing.assert_allclose(got[n], by_hand(processor, logits[n], seen), rtol=2e-5)
    full = jax.jit(AfterPrompt(processor, prompt))((), logits[:batch], tokens[:batch], 2)
    same = run(prompt, np.full(batch, 5), logits[:batch], tokens[:batch], 2)
    np.testing.assert_allclose(full, same, rtol=1e-6)


@pytest.mark.parametrize("processor", LOOKING_BACK, ids=repr)
def test_on_a_source_a_processor_sees_nothing_else(processor):
    rng, times = np.random.default_rng(2), 2
    source, lengths = rng.integers(0, 4, (4, 6)), np.array([6, 0, 3, 5])
    logits = jnp.asarray(rng.normal(size=(4 * times, 4)), jnp.float32)
    spec = OnSource(processor, np.where(np.arange(6) < lengths[:, None], source, -5), lengths)
    got = spec((), logits, jnp.zeros((4 * times, 3), jnp.int32), 2)
    for n in range(4 * times):
        seen = source[n // times, : lengths[n // times]].tolist()
        np.testing.assert_allclose(
            got[n], by_hand(processor, np.asarray(logits[n]), seen), rtol=2e-5
        )


def test_a_state_of_a_source_stays():
    source = np.array([[2, 3], [3, 3]])
    ban = OnSource(models.NoRepeat(), source, np.array([1, 2]))  # the last of the source
    step = lambda carry, tokens: (carry, jnp.array([[0.0, -9.0, 2.0, 3.0]] * tokens.size))
    how: dict[str, Any] = dict(bos=jnp.zeros(2, jnp.int32), eos=1, max_len=3, processors=[ban])
    beams = beam_search(step, (), beam_size=2, **how)
    assert beams.tokens[:, 0].tolist() == [[3] * 3, [2] * 3]
    with pytest.raises(ValueError, match="source has 2 rows but the batch size is 3; expected as"):
        beam_search(step, (), beam_size=2, **{**how, "bos": jnp.zeros(3, jnp.int32)})


def test_a_prompt_of_another_batch_is_refused():
    spec = AfterPrompt(NoRepeatNGram(2), jnp.zeros((2, 1), jnp.int32))
    with pytest.raises(ValueError, match="prompt has 2 rows but logits have 3; expected a multipl"):
        spec((), jnp.zeros((3, 4)), jnp.zeros((3, 2), jnp.int32), 1)
    with pytest.raises(ValueError, match="prompt has 2 rows but the batch size is 3; expected as"):
        spec.initial_state(3)


def one_of_two(logits, tokens, length):
    """Written for a scalar length."""
    last = jnp.where(length > 0, tokens[:, jnp.maximum(length - 1, 0)], 0)
    return logits + np.linspace(0, 1, logits.shape[1], dtype=np.float32) * jnp.float32(
        last[:, None]
    )


def one_of_two_by_hand(x, seen):
    return x + np.linspace(0, 1, len(x)) * (seen[-1] if seen else 0)


def test_any_plain_function_may_follow_a_prompt():
    prompt, lengths = np.array([[3, 2], [1, 0], [2, 2]], np.int8), np.array([2, 1, 0], np.uint8)
    tokens, logits = jnp.array([[0, 1], [2, 3], [1, 1]]), jnp.zeros((3, 4))
    for drawn in (0, 1, 2):
        got = AfterPrompt(one_of_two, prompt, lengths)((), logits, tokens, drawn)
        for b, n in enumerate(lengths):
            seen = [*prompt[b, :n].tolist(), *tokens[b, :drawn].tolist()]
            np.testing.assert_allclose(got[b], one_of_two_by_hand(np.zeros(4), seen), rtol=1e-6)
