"""stream on the host against sample on the device; a decode that is exported and loaded."""

import inspect
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models

from seqjax.decoding import (
    GNMTLengthPenalty,
    Sampling,
    beam_search,
    sample,
    stream,
)

EOS, VOCAB, ROWS, LENGTH = 1, 5, 6, 8
KEY = jax.random.key(21)
CARRY = models.random_rows(0, ROWS, VOCAB)
PROMPT = np.array([[2, 0, 3]] * ROWS, np.int32)
BASE: dict[str, Any] = dict(bos=0, eos=EOS, max_len=LENGTH, key=KEY)


def double(logits, tokens, length):
    return 2 * logits


SETTINGS: list[dict[str, Any]] = [
    {},
    dict(temperature=0.0),
    dict(temperature=jnp.linspace(0.0, 2.0, ROWS), top_k=3, top_p=0.9),
    dict(prompt=PROMPT, prompt_lengths=np.arange(ROWS) % 4, stop=((0, 0), (3,)), eos=(EOS, 4)),
    dict(temperature=jnp.linspace(0.5, 2.0, ROWS), prompt=PROMPT, num_samples=3),
    dict(how=Sampling(jnp.float32(1.5), typical_p=0.8, eta_cutoff=jnp.full(ROWS, 0.02))),
    dict(processors=[double, Sampling(min_p=0.1)], key=jax.random.split(KEY, ROWS)),
]


def drain(generator):
    """Everything that a generator yields, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(generator))
        except StopIteration as end:
            return np.stack(seen, axis=-1), end.value


def test_stream_takes_what_sample_takes():
    mine, theirs = (inspect.signature(decoder).parameters for decoder in (stream, sample))
    assert list(mine.values()) == list(theirs.values())


@pytest.mark.parametrize("settings", SETTINGS)
def test_stream_is_sample_draw_for_draw(settings):
    how = BASE | settings
    tokens, samples = drain(stream(models.step, CARRY, **how))
    expected = jax.jit(lambda: sample(models.step, CARRY, **how))()
    chex.assert_trees_all_close(samples, expected, rtol=1e-5)
    assert tokens.shape[-1] == np.max(samples.lengths) and tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens, expected.tokens[..., : tokens.shape[-1]])


def test_one_compilation_for_equal_calls_and_the_carry_survives():
    traces = []

    def counted(carry, tokens):
        traces.append(tokens.shape)
        return models.step(carry, tokens)

    how: dict[str, Any] = BASE | dict(prompt=PROMPT, top_p=jnp.full(ROWS, 0.9))
    first, _ = drain(stream(counted, CARRY, **how))
    before = len(traces)
    second, _ = drain(stream(counted, CARRY, **how))
    assert len(traces) <= before + 1  # the check of shapes alone; neither prompt nor step again
    np.testing.assert_array_equal(first, second)
    how["key"] = jax.random.key(22)
    other, _ = drain(stream(counted, CARRY, **how))
    assert not np.array_equal(first, other) and len(traces) <= before + 2
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(CARRY))


def test_the_carry_is_overwritten_in_place():
    generator: Any = stream(models.step, CARRY, **BASE)
    next(generator)
    before = jax.tree.leaves(generator.gi_frame.f_locals["rows"].carry)
    next(generator)
    assert before and all(leaf.is_deleted() for leaf in before)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(CARRY))


def test_typed_keys_and_shared_leaves_ride_along():
    shared = jnp.ones(3)
    carry = (jax.random.split(KEY, 3), shared, shared)

    def step(carry, tokens):
        keys, a, b = carry
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys)
        noise = jax.vmap(lambda key: jax.random.normal(key, (VOCAB,)))(keys)
        return (keys, a, b), noise * a[:, None]

    tokens, _ = drain(stream(step, carry, **BASE))
    expected = sample(step, carry, **BASE).tokens[:, : tokens.shape[1]]
    np.testing.assert_array_equal(tokens, expected)


def test_stream_refuses_at_the_call():
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, carry, tokens):
            return models.step(carry, tokens)

    with pytest.raises(ValueError, match="step and processors must be hashable .* Pass a plain fu"):
        stream(Unhashable(), CARRY, **BASE)
    with pytest.raises(ValueError, match="top_p is 0.0; expected top_p in"):
        stream(models.step, CARRY, top_p=0.0, **BASE)
    with pytest.raises(ValueError, match="max_len is 0; expected"):
        stream(models.step, CARRY, bos=0, eos=EOS, max_len=0, key=KEY)


def test_an_exported_decode_gives_what_the_live_one_gives():
    """Keys cross the border as their data."""

    def drawn(carry, key_data, temperature):
        how = BASE | dict(key=jax.random.wrap_key_data(key_data), temperature=temperature)
        return sample(models.step, carry, top_k=3, prompt=PROMPT, **how)

    def searched(carry):
        how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=LENGTH, beam_size=3, prompt=PROMPT)
        return beam_search(models.step, carry, length_penalty=GNMTLengthPenalty(), **how)

    heat = jnp.float32(0.8)
    for decode, args in ((drawn, (CARRY, jax.random.key_data(KEY), heat)), (searched, (CARRY,))):
        live = jax.jit(decode)
        saved = jax.export.export(live)(*args).serialize()
        loaded = jax.export.deserialize(saved)
        chex.assert_trees_all_equal(loaded.call(*args), live(*args))
        assert type(loaded.call(*args)) is type(live(*args))
        other = (models.random_rows(9, ROWS, VOCAB), *args[1:])
        chex.assert_trees_all_equal(loaded.call(*other), live(*other))
