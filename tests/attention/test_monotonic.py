"""Monotonic attention against the process whose expectation it is."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.attention.monotonic import expected_alignment

S, M, Q, A = 4, 3, 2, 5
RANDOM = np.random.default_rng(0)
MEMORY = RANDOM.normal(size=(1, S, M))
QUERIES = RANDOM.normal(size=(3, 1, Q))


def drawn(spec):
    params = spec.init(jax.random.key(0), Q, M)
    return jax.tree.map(lambda a: jnp.asarray(RANDOM.normal(size=a.shape)), params)


@functools.partial(jax.jit, static_argnums=0)
def run(spec, params, memory, queries, mask=None, key=None):
    prepared = spec.prepare(params, memory, mask)
    state, found = spec.initial_state(params, prepared, queries.shape[1], key), []
    for query in queries:
        seen, state = spec.attend(params, prepared, query, state)
        found.append(seen.alignment)
    return jnp.stack(found)


def scores(p, q):
    v = p.v / np.linalg.norm(p.v)
    return np.array([p.g * v @ np.tanh(q @ p.w_q + m @ p.w_k + p.b) + p.r for m in MEMORY[0]])


def process(stops):
    """Where each query stops: stops [steps, S] of bools; None where it runs past the end."""
    place, places = 0, []
    for row in stops:
        if place is not None:
            place = next((j for j in range(place, S) if row[j]), None)
        places.append(place)
    return places


def test_alignments_are_the_expectation_over_all_outcomes(x64):
    spec = sj.attention.MonotonicAttention(A)
    params = drawn(spec)
    alignments = run(spec, params, jnp.asarray(MEMORY), jnp.asarray(QUERIES[:2]))
    p = [1 / (1 + np.exp(-scores(params, q[0]))) for q in QUERIES[:2]]
    expected = np.zeros((2, S))
    for outcome in itertools.product([False, True], repeat=2 * S):
        stops = np.array(outcome).reshape(2, S)
        probability = np.prod(np.where(stops, p, 1 - np.array(p)))
        for step, place in enumerate(process(stops)):
            if place is not None:
                expected[step, place] += probability
    np.testing.assert_allclose(alignments[:, 0], expected, rtol=1e-12)
    assert (expected.sum(axis=1) < 1).all()


def test_hard_alignments_are_the_process_itself(x64):
    for seed in range(6):
        spec = sj.attention.MonotonicAttention(A, hard=True)
        params = drawn(spec)._replace(r=jnp.asarray(0.1 * seed - 0.3))
        key = jax.random.key(seed)  # noise is for training
        alignments = run(spec, params, jnp.asarray(MEMORY), jnp.asarray(QUERIES), key=key)
        stops = [scores(params, q[0]) > 0 for q in QUERIES]
        for row, place in zip(alignments[:, 0], process(stops), strict=True):
            np.testing.assert_array_equal(row, [float(j == place) for j in range(S)])


def test_what_ran_past_the_end_does_not_return():
    spec = sj.attention.MonotonicAttention(A, hard=True)
    params = jax.tree.map(jnp.zeros_like, spec.init(jax.random.key(0), Q, M))
    never, always = (params._replace(r=jnp.asarray(r)) for r in (-1.0, 1.0))
    prepared = spec.prepare(params, jnp.ones((1, S, M)))
    state = spec.initial_state(params, prepared, 1)
    seen, state = spec.attend(always, prepared, jnp.ones((1, Q)), state)
    assert seen.alignment.tolist() == [[1, 0, 0, 0]]
    seen, state = spec.attend(never, prepared, jnp.ones((1, Q)), state)
    assert not seen.context.any()
    seen, _ = spec.attend(always, prepared, jnp.ones((1, Q)), state)
    assert not seen.alignment.any()


def test_masked_places_are_passed_over():
    spec = sj.attention.MonotonicAttention(A, hard=True)
    params = jax.tree.map(jnp.zeros_like, spec.init(jax.random.key(0), Q, M))
    params = params._replace(r=jnp.asarray(1.0))
    mask = jnp.array([[False, False, True, True]])
    found = run(spec, params, jnp.ones((1, S, M)), jnp.ones((2, 1, Q)), mask)
    assert found[:, 0].tolist() == [[0, 0, 1, 0]] * 2


def test_long_memories_are_exact_where_a_clipped_product_is_not():
    size = 400
    p = np.clip(RANDOM.random(size), 0.01, 1.0)
    p[::50] = 1.0  # a product of (1 - p) is 0 from here on
    before = RANDOM.dirichlet(np.ones(size))
    expected, reached = np.zeros(size), 0.0
    for j in range(size):
        reached = (1 - p[j - 1]) * reached + before[j] if j else before[0]
        expected[j] = p[j] * reached
    stops = jnp.asarray(p, jnp.float32), jnp.asarray(1 - p, jnp.float32)
    run = jax.jit(lambda b: expected_alignment(stops, b))
    found, pull = jax.vjp(run, jnp.asarray(before, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    assert jnp.isfinite(pull(jnp.ones(size))[0]).all()
    products = np.clip(np.concatenate([[1.0], np.cumprod(1 - p)[:-1]]), 1e-10, 1.0)
    clipped = p * products * np.cumsum(before / products)
    assert np.abs(clipped - expected).max() > 1e-3


def test_noise_comes_by_the_key_row_by_row_and_place_by_place(x64):
    spec = sj.attention.MonotonicAttention(A, noise=2.0)
    params, rows = drawn(spec), 2000
    memory, queries = jnp.asarray(MEMORY), jnp.asarray(np.repeat(QUERIES[:2], rows, axis=1))
    quiet = run(spec, params, memory, queries[:1, :1])
    key = jax.random.key(3)
    noisy = run(spec, params, memory, queries[:1], key=key)
    logit = lambda p: np.log(p) - np.log1p(-p)
    draws = logit(np.asarray(noisy[0, :, 0])) - logit(float(quiet[0, 0, 0]))
    # Three standard errors of a mean and of a standard deviation.
    assert abs(draws.mean()) < 3 * 2.0 / np.sqrt(rows)
    assert abs(draws.std() - 2.0) < 3 * 2.0 / np.sqrt(2 * rows)
    few = run(spec, params, memory, queries[:, :3], key=key)
    np.testing.assert_allclose(few[0], noisy[0, :3], rtol=1e-12)
    wider, mask = jnp.pad(memory, ((0, 0), (0, 2), (0, 0))), jnp.arange(S + 2)[None] < S
    padded = run(spec, params, wider, queries[:, :3], mask, key=key)
    np.testing.assert_allclose(padded[..., :S], few, rtol=1e-12)
    still = run(
        sj.attention.MonotonicAttention(A, noise=0.0), params, memory, queries[:1, :1], key=key
    )
    np.testing.assert_allclose(still, quiet, rtol=1e-12)


def test_noise_is_new_at_every_step_and_place(x64):
    spec = sj.attention.MonotonicAttention(A)
    params = jax.tree.map(jnp.zeros_like, drawn(spec))
    queries = jnp.asarray(np.repeat(QUERIES[:1], 2, axis=0))
    prepared = spec.prepare(params, jnp.asarray(MEMORY))
    state = spec.initial_state(params, prepared, 1, jax.random.key(0))
    assert state.noise is not None
    (one, later), (two, _) = (
        spec.attend(params, prepared, queries[0], s)
        for s in (state, state._replace(noise=state.noise.advance()))
    )
    assert one.alignment[0, 0] != two.alignment[0, 0]
    assert later.noise is not None and later.noise.step.tolist() == [1]
    p = [float(one.alignment[0, 0])]  # p₁ from α₁ = p₁ (1 - p₀)
    p.append(float(one.alignment[0, 1]) / (1 - p[0]))
    assert abs(p[0] - p[1]) > 1e-3


def test_noise_and_offset_are_numbers_and_keys_come_one_a_row():
    with pytest.raises(ValueError, match="noise is -1.0; expected a standard deviation"):
        sj.attention.MonotonicAttention(A, noise=-1.0)
    with pytest.raises(ValueError, match="offset is nan; expected a finite number."):
        sj.attention.MonotonicAttention(A, offset=float("nan"))
    spec = sj.attention.MonotonicAttention(A)
    params = spec.init(jax.random.key(0), Q, M)
    prepared = spec.prepare(params, jnp.ones((2, S, M)))
    with pytest.raises(ValueError, match="expected one key .* or 2 keys, one a row"):
        spec.initial_state(params, prepared, 2, jax.random.split(jax.random.key(0), 3))
