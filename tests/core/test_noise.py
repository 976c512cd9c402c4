"""Streams of noise: what a draw depends on, and that no two draws are one."""

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj


def assert_share(happened, probability):
    """That a probability, of independent draws, is met within four standard errors."""
    share, count = float(happened.mean()), happened.size
    error = np.sqrt(probability * (1 - probability) / count)
    assert abs(share - probability) < 4 * error


def test_members_of_a_stack_draw_independently():
    """Of two layers of dropout at 1/2 a quarter of the units come through, not a half."""
    cell = sj.Stack((sj.Dropout(0.5), sj.Dropout(0.5)))
    carry = cell.initial_carry(((), ()), 4, key=jax.random.key(0))
    _, y = cell.step(((), ()), carry, jnp.ones((4, 1000)))
    assert_share(y != 0, 0.25)
    np.testing.assert_array_equal(jnp.unique(y), [0, 4])


def test_directions_draw_independently():
    cell = sj.Bidirectional(sj.Dropout(0.5))
    params = cell.init(jax.random.key(0), 1000)
    _, ys = sj.unroll(cell, params, jnp.ones((4, 1, 1000)), key=jax.random.key(0))
    forward, backward = jnp.split(ys != 0, 2, axis=-1)
    assert_share(forward & backward, 0.25)


def test_the_arrays_of_a_zoned_out_carry_draw_independently():
    """At one rate for h and c, both of a unit are held with its square."""
    rate, mark = 0.3, 7.0
    cell = sj.Zoneout(sj.LSTM(1000, w_h_init=sj.initializers.Normal(0.01)), rate)
    params = cell.init(jax.random.key(0), 2)
    carry = cell.initial_carry(params, 4, key=jax.random.key(1))
    marked = carry._replace(cell=jax.tree.map(lambda a: a + mark, carry.cell))
    after, _ = cell.step(params, marked, jnp.ones((4, 2)))
    held = jax.tree.map(lambda a: a == mark, after.cell)
    assert_share(held.h, rate)
    assert_share(held.c, rate)
    assert_share(held.h & held.c, rate**2)


def test_a_draw_depends_on_key_row_and_step_alone():
    cell = sj.Dropout(0.5)
    keys = jax.random.split(jax.random.key(0), 3)
    ones = jnp.ones((3, 6, 4))
    _, whole = sj.unroll(cell, (), ones, key=keys)
    _, alone = sj.unroll(cell, (), ones[1:2], key=keys[1:2])
    np.testing.assert_array_equal(whole[1:2], alone)
    carry, first = sj.unroll(cell, (), ones[:, :2], key=keys)
    _, rest = sj.unroll(cell, (), ones[:, 2:], carry=carry)
    np.testing.assert_array_equal(whole, jnp.concatenate([first, rest], axis=1))
    holes = jnp.array([True, False, True, True, False, True])
    _, padded = sj.unroll(cell, (), ones, key=keys, mask=jnp.broadcast_to(holes, (3, 6)))
    np.testing.assert_array_equal(padded[:, holes], whole[:, :4])


def test_variational_dropout_draws_once_a_sequence_and_anew_after_a_reset():
    cell = sj.Dropout(0.5, variational=True)
    reset = jnp.zeros((2, 6), bool).at[:, 3].set(True)
    _, ys = sj.unroll(cell, (), jnp.ones((2, 6, 40)), key=jax.random.key(0), reset=reset)
    for part in (ys[:, :3], ys[:, 3:]):
        np.testing.assert_array_equal(part, jnp.broadcast_to(part[:, :1], part.shape))
    assert (ys[:, 0] != ys[:, 3]).any()
    assert (ys[0, 0] != ys[1, 0]).any()
