"""Ids of any integer dtype: the same losses, and no id of one vocabulary taken for another's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

import seqjax as sj
from seqjax import losses
from seqjax.losses.adaptive import AdaptiveTail

B, T = 2, 3
DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
SIZES = (3, 127, 128, 129, 255, 256, 257, 32_768, 50_257, 65_536, 70_000)


def floats(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def adaptive(ids, size):
    tail = AdaptiveTail(floats(4, 1), floats(1, size - 1))
    params = losses.AdaptiveSoftmaxParams(floats(4, 2), (tail,))
    found = losses.AdaptiveSoftmax((1, size)).losses(params, floats(B, T, 4), ids)
    return jnp.sum(found, axis=1)


def sampled(ids, size):
    key = jax.random.key(0)
    q = losses.Proposal(jnp.zeros(size), jnp.ones(size), jnp.zeros(size, jnp.int32))
    found = losses.sampled_softmax_losses(
        floats(B, T, 4), floats(size, 4), ids, q, key=key, num_samples=2
    )
    return jnp.sum(found, axis=1)


def transducer(ids, size):
    return losses.transducer_loss(jnp.add, floats(B, T, size), floats(B, T + 1, size), ids)


# Each takes ids [B, T], row by row, and the vocabulary's size.
LOSSES = {
    "tokens": lambda ids, size: jnp.sum(sj.token_losses(floats(B, T, size), ids), axis=1),
    "ctc": lambda ids, size: losses.ctc_loss(floats(B, 2 * T, size), ids),
    "transducer": transducer,
    "adaptive": adaptive,
    "sampled": sampled,
}
# A conditional random field's transitions are [V, V]: bytes are as many as fit.
CRF = {
    "crf": lambda ids, size: losses.crf_loss(losses.CRFParams.zeros(size), floats(B, T, size), ids)
}


@pytest.mark.parametrize("name", [*LOSSES, *CRF])
@examples(6)
@given(data=st.data())
def test_every_dtype_has_the_loss_of_int32(name, data):
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    size = data.draw(st.sampled_from([n for n in SIZES if n < 300] if name in CRF else SIZES))
    limits = np.iinfo(dtype)
    good = st.integers(1, min(limits.max, size - 1))  # 0 is the blank
    ids = np.array(data.draw(st.lists(good, min_size=B * T, max_size=B * T))).reshape(B, T)
    run = {**LOSSES, **CRF}[name]
    jitted = jax.jit(run, static_argnums=1)
    expected = run(jnp.asarray(ids, jnp.int32), size)
    np.testing.assert_array_equal(run(ids.astype(dtype), size), expected)
    with jax.enable_x64(dtype.itemsize == 8):
        found = jitted(ids.astype(dtype), size)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    wrong = [i for i in (-1, size, limits.max, limits.min) if not 0 <= i < size]
    wrong = [i for i in wrong if limits.min <= i <= limits.max]
    if wrong:
        bad = ids.astype(dtype)
        bad[0, 0] = data.draw(st.sampled_from(wrong))
        with pytest.raises(ValueError, match=rf"holds {max(min(bad[0, 0], 2**31 - 1), -(2**31))};"):
            run(bad, size)
        with jax.enable_x64(dtype.itemsize == 8):
            assert np.isnan(jitted(bad, size)).tolist() == [True, False]


def test_bytes_of_256_classes():
    """uint8 cannot hold 256, with which its ids were compared: 104 was refused."""
    text = np.frombuffer(b"hello.", np.uint8).reshape(B, T)
    for run in {**LOSSES, **CRF}.values():
        found = run(text, 256), jax.jit(run, static_argnums=1)(text, 256)
        np.testing.assert_allclose(*found, rtol=1e-5)
        assert np.isfinite(found[0]).all()


def test_int16_does_not_wrap_around_where_the_vocabulary_is_larger():
    """-1 had the finite loss 12.3 among 50,257 classes."""
    ids = np.array([[-1, 1, 2], [1, 2, 3]], np.int16)
    for name, run in LOSSES.items():
        assert np.isnan(jax.jit(run, static_argnums=1)(ids, 50_257)).tolist() == [True, False], name


def test_an_id_beyond_int32_is_no_id():
    """A cast of 2 ** 32 + 1 to int32 is 1."""
    ids = np.full((B, T), 2**32 + 1)
    for run in (*LOSSES.values(), *CRF.values()):
        with pytest.raises(ValueError, match="holds 2147483647; expected ids in 0..4"):
            run(ids, 5)


def test_what_was_said_before_has_any_dtype():
    wide = losses.previous_tokens(np.array([[200, 3, 200]], np.int32), 300)
    narrow = losses.previous_tokens(np.array([[200, 3, 200]], np.uint8), 300)
    np.testing.assert_array_equal(narrow, wide)
    assert np.flatnonzero(narrow[0, 1]).tolist() == [200]
