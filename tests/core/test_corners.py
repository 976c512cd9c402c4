"""Corners that went wrong once: small dtypes, other generators, empty batches, NumPy numbers."""

import warnings
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj


def test_lengths_of_a_small_dtype_do_not_wrap_around():
    cell = sj.Elman(2)
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.ones((2, 300, 2))
    for dtype in (np.uint8, np.int8):
        _, ys = sj.unroll(cell, params, xs, lengths=jnp.array([3, 2], dtype))
        assert not ys[:, 3:].any()


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_a_draw_depends_on_its_own_row_for_every_generator(impl):
    keys = jax.random.split(jax.random.key(0, impl=impl), 3)
    cell, ones = sj.Dropout(0.5), jnp.ones((3, 4, 8))
    _, whole = sj.unroll(cell, (), ones, key=keys)
    _, alone = sj.unroll(cell, (), ones[1:2], key=keys[1:2])
    np.testing.assert_array_equal(whole[1:2], alone)
    carry = cell.initial_carry((), 3, key=keys)
    for t in range(4):
        carry, y = cell.step((), carry, ones[:, t])
        np.testing.assert_array_equal(y, whole[:, t])
    assert len({row.tobytes() for row in np.asarray(whole[:, 0])}) == 3
    logits = lambda carry, tokens: (carry, jnp.zeros((tokens.shape[0], 50)))
    how = {"bos": jnp.zeros(3, int), "eos": 49, "max_len": 5}
    drawn = sj.sample(logits, (), key=keys, **how).tokens
    how["bos"] = jnp.zeros(1, int)
    np.testing.assert_array_equal(sj.sample(logits, (), key=keys[1:2], **how).tokens, drawn[1:2])


@dataclass(frozen=True)
class RandomStart:
    """A cell whose first carry is drawn from its noise: yₜ = hₜ = hₜ₋₁ + xₜ."""

    def init(self, key, input_size):
        return ()

    def initial_carry(self, params, batch_size, key=None):
        noise = sj.Noise.from_key(jax.random.key(0) if key is None else key, batch_size)
        return jax.vmap(jax.random.normal)(noise.each_step()), noise

    def step(self, params, carry, x):
        h, noise = carry
        return (h + x[:, 0], noise.advance()), h + x[:, 0]


def test_a_reset_returns_to_the_random_carry_that_the_row_began_with():
    key = jax.random.key(3)
    start, _ = RandomStart().initial_carry((), 2, key=key)
    reset = jnp.zeros((2, 4), bool).at[:, 2].set(True)
    _, ys = sj.unroll(RandomStart(), (), jnp.zeros((2, 4, 1)), key=key, reset=reset)
    np.testing.assert_array_equal(ys, jnp.broadcast_to(start[:, None], (2, 4)))


def test_a_reset_of_a_given_carry_does_not_depend_on_batch_mates():
    carry = RandomStart().initial_carry((), 3, key=jax.random.key(3))
    reset = jnp.ones((3, 2), bool)
    _, whole = sj.unroll(RandomStart(), (), jnp.zeros((3, 2, 1)), carry=carry, reset=reset)
    last = jax.tree.map(lambda a: a[2:], carry)
    _, alone = sj.unroll(RandomStart(), (), jnp.zeros((1, 2, 1)), carry=last, reset=reset[2:])
    np.testing.assert_array_equal(whole[2:], alone)


@pytest.mark.parametrize("shape", [(0, 5, 2), (2, 0, 2)])
@pytest.mark.parametrize("how", [{"remat": 2}, {"truncate": 2}, {"reverse": True}])
def test_empty_batches_and_sequences_with_everything_on(shape, how):
    cell = sj.Stack((sj.Bidirectional(sj.GRU(3)), sj.Dropout(0.5), sj.LSTM(2)))
    params = cell.init(jax.random.key(0), 2)
    reset = jnp.zeros(shape[:2], bool)
    lengths = jnp.zeros(shape[0], int)
    arrays = {"reset": reset, "lengths": lengths}
    carry, ys = sj.unroll(cell, params, jnp.ones(shape), key=jax.random.key(0), **arrays, **how)
    assert ys.shape == (*shape[:2], 2)
    sj.unroll(cell, params, jnp.ones(shape), carry=carry, **arrays, **how)


def test_float64_arrays_of_numpy_are_taken_quietly():
    cell = sj.Stack((sj.Dropout(0.5), sj.Elman(2)))
    params = cell.init(jax.random.key(0), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, ys = sj.unroll(cell, params, np.ones((2, 3, 2)), lengths=np.array([3, 1]))
    assert ys.dtype == jnp.float32


def test_a_stochastic_cell_can_be_mapped_over_the_batch():
    carry = sj.Dropout(0.5).initial_carry((), 3, key=jax.random.key(0))
    x = jnp.ones((3, 8))
    step = lambda carry, x: sj.Dropout(0.5).step((), carry, x)
    _, mapped = jax.vmap(step)(carry, x)
    np.testing.assert_array_equal(mapped, step(carry, x)[1])


def test_numbers_of_numpy_become_pythons_own():
    three: Any = np.int64(3)
    half: Any = np.float64(0.5)
    one: Any = np.float32(1.0)
    assert repr(sj.GRU(three)) == repr(sj.GRU(3))
    assert repr(sj.Dropout(half)) == repr(sj.Dropout(0.5))
    assert repr(sj.LSTM(3, forget_bias=one)) == repr(sj.LSTM(3))
    cell = sj.Zoneout(sj.Elman(2), half)
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), cell.init(jax.random.key(0), 2))
    carry, ys = sj.unroll(cell, params, jnp.ones((1, 2, 2), jnp.bfloat16), remat=three)
    assert ys.dtype == jnp.bfloat16
