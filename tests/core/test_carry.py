"""A carry under way: acting equals training, and noise starts and stops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.zoo import CELLS, STEPPED

import seqjax as sj
from seqjax.core import has_noise, reset_carry, start_noise, stop_noise

KEY, SIZE, BATCH, TIME = jax.random.key(3), 3, 3, 6
XS = jax.random.normal(KEY, (BATCH, TIME, SIZE))
RESET = jax.random.bernoulli(KEY, 0.4, (BATCH, TIME))
STOCHASTIC = {
    name: cell
    for name, cell in CELLS.items()
    if has_noise(jax.eval_shape(lambda c=cell: c.initial_carry(c.init(KEY, SIZE), 2, KEY)))
}


@functools.cache
def drawn(cell):
    """Params away from their initial values, so that a learned carry is not 0."""
    return jax.tree.map(lambda a: a + 0.1 if a.dtype == jnp.float32 else a, cell.init(KEY, SIZE))


def same(got, expected, rtol=1e-5):
    """Equal trees, keys by their data."""
    plain = lambda a: jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(plain(a), plain(b), rtol=rtol, atol=rtol)


def act(cell, params, carry, begin):
    """Step by step, as an agent does."""

    @jax.jit
    def one(params, carry, x, flags):
        return cell.step(params, begin(params, carry, flags), x)

    ys = []
    for t in range(TIME):
        carry, y = one(params, carry, XS[:, t], RESET[:, t])
        ys.append(y)
    return carry, jnp.stack(ys, axis=1)


@pytest.mark.parametrize("name", sorted(STEPPED.keys() & (STOCHASTIC.keys() | {"learned_carry"})))
def test_acting_equals_training(name):
    cell, params = CELLS[name], drawn(CELLS[name])
    first = cell.initial_carry(params, BATCH, key=KEY)
    begin = lambda params, carry, flags: reset_carry(cell, params, carry, flags)
    train = jax.jit(lambda p: sj.unroll(cell, p, XS, carry=first, reset=RESET))
    same(act(cell, params, first, begin), train(params))


def test_a_choice_between_leaves_is_another_thing():
    """What users wrote: masks of the first episode come back, off by more than 0.1."""
    cell = sj.LearnedCarry(sj.Stack((sj.LSTM(4), sj.Dropout(0.5, variational=True))))
    params = drawn(cell)
    first = cell.initial_carry(params, BATCH, key=KEY)

    def choose(params, carry, flags):
        pick = lambda a, b: jnp.where(flags.reshape(-1, *[1] * (a.ndim - 1)), a, b)
        return jax.tree.map(pick, cell.initial_carry(params, BATCH, key=KEY), carry)

    _, ys = sj.unroll(cell, params, XS, carry=first, reset=RESET)
    same(act(cell, params, first, lambda *a: reset_carry(cell, *a))[1], ys)
    assert jnp.max(jnp.abs(act(cell, params, first, choose)[1] - ys)) > 0.1


@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_starts_and_stops(name):
    cell, params = CELLS[name], drawn(CELLS[name])
    noisy = cell.initial_carry(params, BATCH, key=KEY)
    quiet = cell.initial_carry(params, BATCH)
    stop = jax.jit(lambda p, c: stop_noise(cell, p, c))
    same(stop(params, noisy), quiet)
    same(stop(params, quiet), quiet)
    assert has_noise(noisy) and not has_noise(quiet)
    if not jax.tree.leaves(quiet):
        with pytest.raises(ValueError, match="carry has no arrays, so that B is unknown"):
            start_noise(cell, params, quiet, KEY)
        return
    start = jax.jit(lambda p, c, key: start_noise(cell, p, c, key))
    same(start(params, quiet, KEY), noisy)
    same(start(params, cell.initial_carry(params, BATCH, key=jax.random.key(9)), KEY), noisy)


def test_evaluation_continues_from_a_training_carry():
    cell = sj.Stack((sj.LSTM(4), sj.Dropout(0.5), sj.Zoneout(sj.GRU(3), 0.2)))
    params = drawn(cell)
    noisy, _ = sj.unroll(cell, params, XS, key=KEY)
    lstm, _, zoneout = noisy
    by_hand = (lstm, (), zoneout._replace(noise=None))
    quiet = stop_noise(cell, params, noisy)
    same(quiet, by_hand)
    _, ys = sj.unroll(cell, params, XS, carry=quiet)
    same(ys, sj.unroll(cell, params, XS, carry=by_hand)[1])
    assert jnp.max(jnp.abs(ys - sj.unroll(cell, params, XS, carry=noisy)[1])) > 0.05


def test_what_a_carry_cannot_be():
    cell, params = sj.LSTM(2), drawn(sj.LSTM(2))
    carry = cell.initial_carry(params, BATCH)
    with pytest.raises(ValueError, match=r"reset is float32\[3\]; expected bool \[B\]"):
        reset_carry(cell, params, carry, jnp.ones(BATCH))
    with pytest.raises(ValueError, match=r"reset is bool\[\]; expected bool \[B\]"):
        reset_carry(cell, params, carry, jnp.array(True))
    with pytest.raises(ValueError, match=r"expected the batch axis first, \[B, ...\] with B = 2"):
        reset_carry(cell, params, carry, jnp.ones(2, bool))
    with pytest.raises(ValueError, match="carry has structure"):
        start_noise(cell, params, carry.h, KEY)
    with pytest.raises(ValueError, match="expected a typed key"):
        start_noise(cell, params, carry, jax.random.PRNGKey(0))
