"""`unroll` and `scan` under transformations, their memory and size, and steps of one's own."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from support.loops import assert_same

import seqjax as sj
from seqjax.core.run import run_steps


def temporaries(remat, length):
    """The compiler's count of temporary bytes of a gradient through an LSTM."""
    cell = sj.LSTM(32)
    params = cell.init(jax.random.key(0), 8)

    def loss(params, xs):
        carry, _ = sj.unroll(cell, params, xs, remat=remat)
        return jnp.sum(carry.h)

    compiled = jax.jit(jax.value_and_grad(loss)).lower(params, jnp.ones((4, length, 8))).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes, compiled(params, jnp.ones((4, length, 8)))


def test_remat_stores_carries_and_one_window_of_tapes():
    """ceil(T / K) stored carries plus the tapes of the K steps of one window.

    A tape is several times a carry, so that the best K lies below sqrt(T), and both a small K
    (many carries) and a large one (a long window) cost more.
    """
    (plain, expected), *rematted = (temporaries(remat, 1000) for remat in (None, 2, 12, 500))
    sizes = [size for size, _ in rematted]
    assert sizes[1] < 0.6 * sizes[0] and sizes[1] < 0.2 * sizes[2] and sizes[2] < plain
    assert sizes[1] < plain / 10
    for _, got in rematted:
        chex.assert_trees_all_close(got, expected, rtol=2e-4, atol=1e-6)


def test_checkify_finds_lengths_that_only_the_device_knows():
    cell = sj.GRU(3)
    params = cell.init(jax.random.key(0), 2)
    run = lambda lengths: sj.unroll(cell, params, jnp.ones((2, 4, 2)), lengths=lengths)
    jax.jit(run)(jnp.array([5, 0]))  # not asked: no check
    error, _ = jax.jit(checkify.checkify(run))(jnp.array([5, 0]))
    assert "lengths must lie in 0..T" in error.get()
    error, _ = jax.jit(checkify.checkify(run))(jnp.array([4, 0]))
    assert error.get() is None


def test_vmap_over_leading_axes_and_over_params(x64):
    cell = sj.Stack((sj.LSTM(3), sj.GRU(2)))
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (2, 3, 4, 2))
    lengths = jnp.array([[4, 2, 0], [1, 4, 3]])
    run = lambda xs, lengths: sj.unroll(cell, params, xs, lengths=lengths, remat=2)
    mapped = jax.vmap(run)(xs, lengths)
    flat = run(xs.reshape(6, 4, 2), lengths.reshape(6))
    chex.assert_trees_all_close(
        jax.tree.map(lambda a: a.reshape(6, *a.shape[2:]), mapped), flat, rtol=1e-12
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_vmap_over_keys_and_resets_of_an_encoder(x64, reverse):
    cell = sj.Stack((sj.Bidirectional(sj.GRU(2)), sj.Dropout(0.5), sj.LSTM(2)))
    params = cell.init(jax.random.key(0), 2)
    keys = jax.random.split(jax.random.key(1), (2, 3))
    xs = jax.random.normal(jax.random.key(2), (2, 3, 4, 2))
    arrays = (jnp.array([[4, 2, 0], [1, 4, 3]]), jax.random.bernoulli(keys[0, 0], 0.4, (2, 3, 4)))

    def run(key, xs, lengths, reset):
        how = {"lengths": lengths, "reset": reset, "reverse": reverse}
        return sj.unroll(cell, params, xs, key=key, **how)

    flatten = lambda tree: jax.tree.map(lambda a: a.reshape(6, *a.shape[2:]), tree)
    args = (keys, xs, *arrays)
    assert_same(flatten(jax.jit(jax.vmap(run))(*args)), jax.jit(run)(*flatten(args)))


def test_compiled_program_does_not_grow_with_time():
    cell = sj.Bidirectional(sj.LSTM(3))
    params = cell.init(jax.random.key(0), 2)

    def size(length):
        run = lambda xs: sj.unroll(cell, params, xs, remat=10)
        return str(jax.make_jaxpr(run)(jnp.ones((1, length, 2)))).count(" = ")

    assert size(20) == size(2000)


def test_empty_sequences():
    cell = sj.Stack((sj.LSTM(3), sj.Dropout(0.5)))
    params = cell.init(jax.random.key(0), 2)
    carry, ys = sj.unroll(cell, params, jnp.ones((2, 0, 2)), key=jax.random.key(0), remat="sqrt")
    assert ys.shape == (2, 0, 3)
    chex.assert_trees_all_equal(carry[0], cell.initial_carry(params, 2)[0])


def test_scan_runs_any_step_function_and_resets_to_its_first_carry():
    step = lambda carry, x: (carry + x["a"], {"sum": carry + x["a"]})
    xs = {"a": jnp.arange(1.0, 9.0).reshape(2, 4)}
    reset = jnp.array([[False, False, True, False]] * 2)
    carry, ys = sj.scan(step, jnp.array([10.0, 20.0]), xs, reset=reset)
    np.testing.assert_array_equal(ys["sum"], [[11, 13, 13, 17], [25, 31, 27, 35]])
    np.testing.assert_array_equal(carry, [17, 35])


def test_scan_accepts_a_weakly_typed_carry():
    carry, _ = sj.scan(lambda c, x: (c + x, x), jnp.full(2, 0.0), jnp.ones((2, 3)))
    assert not carry.weak_type


def test_an_unroll_of_ones_own_gets_lengths_and_resets_as_one_record(x64):
    calls = []

    class Mean:
        """yₜ is the mean of the inputs so far."""

        def init(self, key, input_size):
            return ()

        def initial_carry(self, params, batch_size, key=None):
            return (jnp.zeros((batch_size, 2)), jnp.zeros((batch_size, 1)))

        def step(self, params, carry, x):
            total, count = carry[0] + x, carry[1] + 1
            return (total, count), total / count

        def unroll(self, params, carry, xs, steps):
            calls.append(steps)
            return run_steps(self, params, carry, xs, steps)

    xs = jnp.ones((2, 4, 2))
    reset = jnp.zeros((2, 4), bool).at[:, 2].set(True)
    _, ys = sj.unroll(Mean(), (), xs, reset=reset)
    np.testing.assert_array_equal(ys, xs)
    np.testing.assert_array_equal(calls[-1].reset, reset)
    assert calls[-1].mask is None and calls[-1].initial[0].shape == (2, 2)
    sj.unroll(Mean(), (), xs, lengths=jnp.array([1, 2]))
    expected = [[True, False, False, False], [True, True, False, False]]
    np.testing.assert_array_equal(calls[-1].mask, expected)
    assert calls[-1].reset is None and calls[-1].initial is None and len(calls) == 2
