"""`unroll` equals a Python loop over each row, in every combination of its arguments."""

import functools
import itertools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.examples import examples
from support.loops import assert_same, loop, random_case

import seqjax as sj
from seqjax.core.noise import has_noise

CELLS = {
    "gru": sj.GRU(3),
    "lstm": sj.LSTM(3),
    "noisy": sj.Stack((sj.Dropout(0.3, variational=True), sj.Zoneout(sj.Elman(2), 0.3))),
    "learned": sj.LearnedCarry(sj.Elman(3)),
}


def is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def weighted(carry, ys):
    """A loss in which every output and every final state counts, each differently."""
    floats = [leaf for leaf in jax.tree.leaves((carry, ys)) if is_float(leaf)]
    weights = [jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape) for a in floats]
    return sum(jnp.sum(a * w) for a, w in zip(floats, weights, strict=True))


def gradients(run, params, xs, carry):
    """Value, result and gradients for params, inputs and a shift of the whole initial carry."""

    def loss(params, xs, shift):
        out = run(params, xs, jax.tree.map(lambda a: a + shift if is_float(a) else a, carry))
        return weighted(*out), out

    shift = jnp.zeros(())
    (_, out), grads = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, xs, shift)
    return out, grads


@functools.partial(jax.jit, static_argnames=("cell", "reverse", "remat", "truncate"))
def library(cell, params, xs, carry, arrays, reverse, remat, truncate):
    how = {"reverse": reverse, "remat": remat, "truncate": truncate, **arrays}
    run = lambda params, xs, carry: sj.unroll(cell, params, xs, carry=carry, **how)
    return gradients(run, params, xs, carry)


@functools.partial(jax.jit, static_argnames=("cell", "reverse", "remat", "truncate"))
def library_from_key(cell, params, xs, key, arrays, reverse, remat, truncate):
    how = {"reverse": reverse, "remat": remat, "truncate": truncate, **arrays}
    run = lambda params, xs, _: sj.unroll(cell, params, xs, key=key, **how)
    return gradients(run, params, xs, ())


def python(cell, params, xs, carry, arrays, reverse, truncate):
    """The loop, from a carry or, where it is a function of the params, from what that makes."""
    make = carry if callable(carry) else None
    key = jax.random.key(0) if make is None and has_noise(carry) else None
    how = {"lengths": None, "mask": None, "reset": None, **arrays}

    def run(params, xs, carry):
        initial = make(params) if make else cell.initial_carry(params, xs.shape[0], key=key)
        carry = initial if make else carry
        return loop(cell, params, carry, initial, xs, reverse=reverse, truncate=truncate, **how)

    return gradients(run, params, xs, () if make else carry)


ARGUMENTS = st.fixed_dictionaries(
    {
        "reverse": st.booleans(),
        "remat": st.sampled_from(
            [None, 2, "sqrt", 9, sj.core.Schedule(7, 2, block=2), sj.core.Schedule(7, 2, tapes=1)]
        ),
        "truncate": st.sampled_from([None, 1, 3]),
    }
)


@pytest.mark.parametrize("name", ["gru", "noisy", "learned"])
@examples(3)
@hypothesis.given(
    seed=st.integers(0, 2**16),
    how=ARGUMENTS,
    given_arrays=st.sets(st.sampled_from(["lengths", "mask", "reset"])),
    noisy=st.booleans(),
    from_carry=st.booleans(),
)
def test_every_combination_equals_a_python_loop(name, seed, how, given_arrays, noisy, from_carry):
    case = random_case(seed)
    key = jax.random.key(seed) if noisy else None
    arrays = {name: case[name] for name in given_arrays}
    compare_with_a_loop(CELLS[name], case["xs"], key, arrays, from_carry, **how)


def compare_with_a_loop(cell, xs, key, arrays, from_carry, *, remat, truncate, reverse):
    """Runs both in float64, started by a carry or by the key (None for no noise)."""
    with jax.enable_x64(True):
        params = cell.init(jax.random.key(0), 2)
        params = jax.tree.map(lambda a: a + jnp.sin(jnp.arange(a.size)).reshape(a.shape), params)
        start = lambda params: cell.initial_carry(params, xs.shape[0], key=key)
        xs = jnp.asarray(xs)
        how = {"reverse": reverse, "remat": remat, "truncate": truncate}
        if from_carry:
            got = library(cell, params, xs, start(params), arrays, **how)
        else:
            got = library_from_key(cell, params, xs, key, arrays, **how)
        carry = start(params) if from_carry else start
        expected = python(cell, params, xs, carry, arrays, reverse=reverse, truncate=truncate)
        assert_same(got, expected)


SCHEDULE = sj.core.Schedule(7, 2, tapes=1)
# Each choice of a column meets each of every other one. The noisy cell is run with a key.
COMBINATIONS = [
    # cell, remat, truncate, reverse, started from, lengths, mask, reset
    ("gru", "sqrt", None, False, "carry", False, False, False),
    ("gru", 2, 3, False, "key", True, True, False),
    ("gru", SCHEDULE, 1, True, "key", True, True, True),
    ("gru", None, None, True, "carry", True, True, True),
    ("lstm", None, 3, False, "key", True, False, True),
    ("lstm", 2, 1, True, "carry", True, True, True),
    ("lstm", "sqrt", 1, True, "key", False, False, False),
    ("lstm", SCHEDULE, None, True, "carry", True, True, False),
    ("noisy", None, 1, False, "key", False, True, False),
    ("noisy", 2, None, True, "key", False, False, False),
    ("noisy", "sqrt", 3, True, "carry", True, True, True),
    ("noisy", SCHEDULE, 3, False, "carry", False, False, True),
]


def test_the_table_pairs_every_choice_with_every_other():
    choices = [set(column) for column in zip(*COMBINATIONS, strict=True)]
    assert list(map(len, choices)) == [3, 4, 3, 2, 2, 2, 2, 2]
    for a, b in itertools.combinations(range(len(choices)), 2):
        met = {(row[a], row[b]) for row in COMBINATIONS}
        assert met == set(itertools.product(choices[a], choices[b]))


@pytest.mark.parametrize(
    "name, remat, truncate, reverse, start, lengths, mask, reset", COMBINATIONS
)
def test_the_table_equals_a_python_loop(
    name, remat, truncate, reverse, start, lengths, mask, reset
):
    case = random_case(8, batch_size=3) | {"lengths": np.array([7, 0, 5])}
    given = {"lengths": lengths, "mask": mask, "reset": reset}
    arrays = {name: case[name] for name in given if given[name]}
    key = jax.random.key(1) if name == "noisy" else None
    how = {"remat": remat, "truncate": truncate, "reverse": reverse}
    compare_with_a_loop(CELLS[name], case["xs"], key, arrays, start == "carry", **how)


@pytest.mark.parametrize(
    "remat, truncate, reverse", [(None, None, True), (2, 3, False), ("sqrt", None, False)]
)
def test_bidirectional_equals_two_python_loops(x64, remat, truncate, reverse):
    cell = sj.Bidirectional(sj.LSTM(3), backward=sj.GRU(2))
    case = random_case(3)
    # A flag at step 0 bounds nothing when time is turned, and is lost when it is turned twice.
    case["reset"][:, 0] = False
    arrays = {"lengths": case["lengths"], "reset": case["reset"]}
    xs = jnp.asarray(case["xs"])
    params = cell.init(jax.random.key(0), 2)
    carry = cell.initial_carry(params, xs.shape[0])
    got = library(cell, params, xs, carry, arrays, reverse, remat, truncate)

    def run(params, xs, carry):
        outs = []
        for part, p, c, turn in zip(
            (cell.cell, cell.backward), params, carry, (reverse, not reverse), strict=True
        ):
            initial = part.initial_carry(p, xs.shape[0])
            how = {"mask": None, "reverse": turn, "truncate": truncate, **arrays}
            outs.append(loop(part, p, c, initial, xs, **how))
        (carry_f, ys_f), (carry_b, ys_b) = outs
        return sj.cells.BidirectionalCarry(carry_f, carry_b), jnp.concatenate([ys_f, ys_b], axis=-1)

    assert_same(got, gradients(run, params, xs, carry))


def test_a_window_of_padding_does_not_cut_the_gradient_of_the_final_carry(x64):
    cell = sj.GRU(3)
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.ones((1, 8, 2))

    def final(params, length):
        lengths = jnp.array([2])
        return jnp.sum(sj.unroll(cell, params, xs[:, :length], lengths=lengths, truncate=3)[0])

    short, long = (jax.grad(final)(params, length) for length in (2, 8))
    chex.assert_trees_all_close(short, long, rtol=1e-12)


def test_nan_in_padding_reaches_nothing_in_either_direction():
    cell = sj.Stack((sj.Bidirectional(sj.LSTM(3)), sj.Residual(sj.GRU(6))))
    params = cell.init(jax.random.key(0), 2)
    lengths = jnp.array([5, 0, 3])
    clean = jnp.ones((3, 5, 2))
    real = (jnp.arange(5) < lengths[:, None])[..., None]

    @jax.jit
    def run(params, xs):
        def loss(params, xs):
            out = sj.unroll(cell, params, xs, lengths=lengths, remat=2)
            return weighted(*out), out

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, xs)

    for bad in (jnp.nan, jnp.inf):
        got = run(params, jnp.where(real, clean, bad))
        chex.assert_trees_all_equal(got, run(params, clean))
        assert not np.asarray(got[1][1])[~np.asarray(jnp.broadcast_to(real, clean.shape))].any()


def test_lengths_and_a_prefix_mask_are_the_same():
    cell = sj.LSTM(3)
    params = cell.init(jax.random.key(0), 2)
    xs, lengths = jnp.ones((3, 5, 2)), jnp.array([5, 0, 3])
    mask = jnp.arange(5) < lengths[:, None]
    by_lengths = sj.unroll(cell, params, xs, lengths=lengths, reverse=True)
    chex.assert_trees_all_equal(by_lengths, sj.unroll(cell, params, xs, mask=mask, reverse=True))


def test_packed_documents_equal_separate_ones(x64):
    cell = sj.Bidirectional(sj.LSTM(3))
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (1, 7, 2))
    reset = jnp.zeros((1, 7), bool).at[0, 3].set(True)
    _, packed = sj.unroll(cell, params, xs, reset=reset)
    parts = [sj.unroll(cell, params, part)[1] for part in (xs[:, :3], xs[:, 3:])]
    chex.assert_trees_all_close(packed, jnp.concatenate(parts, axis=1), rtol=1e-12)
