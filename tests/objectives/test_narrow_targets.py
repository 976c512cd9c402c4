"""Targets of any integer dtype, where draws and inputs are made of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import objectives

TEXT = np.frombuffer(b"hello.", np.uint8).reshape(2, 3)
KEY = jax.random.key(0)


def same(narrow, wide):
    jax.tree.map(np.testing.assert_array_equal, narrow, wide)


def test_draws_of_bytes_are_those_of_int32():
    """In uint8 draws of 300 classes would wrap around, and the mark of a bad row, -1, be 255."""
    wide = TEXT.astype(np.int32)
    for size in 256, 300:
        how: Any = dict(vocab_size=size, temperature=jnp.array([1.0, jnp.inf]))
        same(*(objectives.sample_hamming(KEY, y, **how) for y in (TEXT, wide)))
    sample = jax.jit(lambda t: objectives.sample_hamming(KEY, TEXT, vocab_size=256, temperature=t))
    assert (sample(-1.0).tokens == -1).all()
    how = dict(vocab_size=300, temperature=0.3, max_len=4, pad=300)
    edited = [objectives.sample_edits(KEY, y, **how) for y in (TEXT, wide)]
    same(*edited)
    assert edited[0].tokens.dtype == jnp.int32 and (edited[0].tokens == 300).any()


def test_inputs_of_bytes_are_those_of_int32():
    step = lambda carry, tokens: (carry, jnp.eye(256)[tokens])
    run = lambda y, bos: objectives.teacher_forcing(step, (), y, bos=bos)
    same(run(TEXT, np.uint8(200)), run(TEXT.astype(np.int32), 200))
    scored = [objectives.sequence_log_probs(jnp.zeros((2, 3, 256)), y) for y in (TEXT, TEXT + 0)]
    np.testing.assert_allclose(scored, -3 * np.log(256) * np.ones((2, 2)), rtol=1e-6)
