"""Attention mechanisms against their equations in NumPy, one query and one place at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

B, K, S, M, Q, A, STEPS = 2, 2, 5, 3, 4, 6, 3
RANDOM = np.random.default_rng(0)
MEMORY = RANDOM.normal(size=(B, S, M))
MASK = np.array([[True, True, False, True, True], [False, True, True, True, False]])
QUERIES = RANDOM.normal(size=(STEPS, B * K, Q))


def additive(p, q, m, past):
    return p.v @ np.tanh(q @ p.w_q + m @ p.w_k)


def normalised(p, q, m, past):
    return p.g * (p.v / np.linalg.norm(p.v)) @ np.tanh(q @ p.w_q + m @ p.w_k + p.b)


def concat(p, q, m, past):
    return p.v @ np.tanh(np.concatenate([q, m]) @ p.w)


def general(p, q, m, past):
    return m @ p.w @ q


def location(p, q, m, past):
    j, alignments = past
    features = np.zeros(p.filters.shape[1])
    for i, row in enumerate(p.filters):
        place = j + i - len(p.filters) // 2
        if alignments and 0 <= place < S:
            features += row * alignments[-1][place]
    return p.v @ np.tanh(q @ p.w_q + m @ p.w_k + features @ p.w_f + p.b)


def coverage(p, q, m, past):
    j, alignments = past
    covered = sum(alignment[j] for alignment in alignments)
    return p.v @ np.tanh(q @ p.w_q + m @ p.w_k + covered * p.w_c + p.b)


def dot(p, q, m, past):
    return q[:M] @ m


CASES = {
    "additive": (sj.attention.AdditiveAttention(A), additive, Q),
    "normalised": (sj.attention.AdditiveAttention(A, normalised=True), normalised, Q),
    "concat": (sj.attention.ConcatAttention(A), concat, Q),
    "general": (sj.attention.GeneralAttention(), general, Q),
    "dot": (sj.attention.DotAttention(), dot, M),
    "scaled": (sj.attention.DotAttention(scaled=True), lambda *a: dot(*a) / np.sqrt(M), M),
    "location": (sj.attention.LocationAttention(A, num_filters=2, filter_size=3), location, Q),
    "long filter": (sj.attention.LocationAttention(A, num_filters=2, filter_size=13), location, Q),
    "coverage": (sj.attention.CoverageAttention(A), coverage, Q),
}
MECHANISMS = {name: (spec, size) for name, (spec, _, size) in CASES.items()} | {
    "multi-head": (sj.attention.MultiHeadAttention(2, head_size=4), Q),
    "monotonic": (sj.attention.MonotonicAttention(A, offset=0.5), Q),
}


def drawn(spec, size, seed=1):
    """Params with every number different from its default."""
    random = np.random.default_rng(seed)
    params = spec.init(jax.random.key(0), size, M)
    return jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape)), params)


@functools.partial(jax.jit, static_argnums=0)
def attend(spec, params, memory, mask, queries):
    """All steps one after the other: contexts [STEPS, N, M] and alignments [STEPS, N, S]."""
    prepared = spec.prepare(params, memory, mask)
    state, found = spec.initial_state(params, prepared, queries.shape[1]), []
    for query in queries:
        seen, state = spec.attend(params, prepared, query, state)
        found.append(seen)
    return jax.tree.map(lambda *steps: jnp.stack(steps), *found)


@pytest.mark.parametrize("name", CASES)
def test_scores_contexts_and_states_are_those_of_the_equations(x64, name):
    spec, score, size = CASES[name]
    params = drawn(spec, size)
    queries = jnp.asarray(QUERIES[..., :size])
    seen = attend(spec, params, jnp.asarray(MEMORY), jnp.asarray(MASK), queries)
    p = jax.tree.map(np.asarray, params)
    for n in range(B * K):
        b, alignments = n // K, []
        for t in range(STEPS):
            q, real = np.asarray(queries[t, n]), MASK[b]
            past = [(j, list(alignments)) for j in range(S)]
            powers = np.zeros(S)
            for j in np.flatnonzero(real):
                powers[j] = np.exp(score(p, q, MEMORY[b, j], past[j]))
            alignments.append(powers / powers.sum())
            np.testing.assert_allclose(seen.alignment[t, n], alignments[-1], rtol=1e-12)
            context = sum(alignments[-1][j] * MEMORY[b, j] for j in range(S))
            np.testing.assert_allclose(seen.context[t, n], context, rtol=1e-11, atol=1e-12)


def test_heads_look_apart_and_their_findings_are_mixed(x64):
    spec = sj.attention.MultiHeadAttention(2, head_size=4)
    p = drawn(spec, Q)
    memory, mask = jnp.asarray(MEMORY), jnp.asarray(MASK)
    seen = attend(spec, p, memory, mask, jnp.asarray(QUERIES[:1]))
    for n in range(B * K):
        heads, weights = [], []
        for block in (slice(0, 4), slice(4, 8)):
            real, m = MASK[n // K], MEMORY[n // K]
            powers = np.exp((m @ p.w_k[:, block]) @ (QUERIES[0, n] @ p.w_q[:, block]) / 2) * real
            weights.append(powers / powers.sum())
            heads.append(weights[-1] @ (m @ p.w_v[:, block]))
        np.testing.assert_allclose(seen.context[0, n], np.concatenate(heads) @ p.w_o, rtol=1e-11)
        np.testing.assert_allclose(seen.alignment[0, n], np.mean(weights, axis=0), rtol=1e-12)


def test_concat_is_additive_with_its_matrices_stacked(x64):
    p = drawn(sj.attention.AdditiveAttention(A), Q)
    stacked = sj.attention.ConcatAttentionParams(jnp.concatenate([p.w_q, p.w_k]), p.v)
    memory, queries = jnp.asarray(MEMORY), jnp.asarray(QUERIES)
    plain = attend(sj.attention.AdditiveAttention(A), p, memory, None, queries)
    other = attend(sj.attention.ConcatAttention(A), stacked, memory, None, queries)
    np.testing.assert_allclose(plain.context, other.context, rtol=1e-12)


def test_normalised_scores_start_with_length_one_over_the_root_of_the_size():
    params = sj.attention.AdditiveAttention(16, normalised=True).init(jax.random.key(0), Q, M)
    assert params.g is not None and float(params.g) == 0.25
    assert params.b is not None and not params.b.any()
    zero = sj.attention.AdditiveAttention(4, normalised=True, v_init=sj.initializers.Normal(0.0))
    total = lambda p: attend(zero, p, jnp.ones((1, 2, M)), None, jnp.ones((1, 1, Q))).context.sum()
    grads = jax.grad(total)(zero.init(jax.random.key(0), Q, M))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", MECHANISMS)
def test_what_is_masked_reaches_neither_value_nor_gradient(x64, name):
    spec, size = MECHANISMS[name]
    params = drawn(spec, size)
    mask = jnp.asarray(MASK).at[1].set(False)  # of the second row nothing is left
    queries = jnp.asarray(QUERIES[:2, :, :size])
    weights = jnp.asarray(RANDOM.normal(size=(2, B * K, M + S)))

    @jax.jit
    def run(params, memory, queries):
        def total(*point):
            seen = attend(spec, *point[:2], mask, point[2])
            both = jnp.concatenate([seen.context, seen.alignment], axis=-1)
            return jnp.sum(weights * both), seen

        return jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(params, memory, queries)

    clean = run(params, jnp.asarray(MEMORY), queries)
    (_, seen), (of_params, of_memory, of_queries) = clean
    for bad in (jnp.nan, jnp.inf):
        dirty = run(params, jnp.where(mask[..., None], jnp.asarray(MEMORY), bad), queries)
        jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    assert not of_memory[~mask].any() and not of_queries[:, K:].any()
    assert not seen.context[:, K:].any() and not seen.alignment[:, K:].any()
    assert not seen.alignment[:, :K, 2].any()
    assert seen.alignment[:, :K].any() and of_memory[0].any() and of_queries[:, :K].any()
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(of_params))


@pytest.mark.parametrize("name", MECHANISMS)
def test_more_padding_and_other_rows_change_nothing(x64, name):
    spec, size = MECHANISMS[name]
    params, queries = drawn(spec, size), jnp.asarray(QUERIES[..., :size])
    memory, mask = jnp.asarray(MEMORY), jnp.asarray(MASK)
    seen = attend(spec, params, memory, mask, queries)
    wider = jnp.pad(memory, ((0, 0), (0, 3), (0, 0)), constant_values=7.0)
    padded = attend(spec, params, wider, jnp.pad(mask, ((0, 0), (0, 3))), queries)
    np.testing.assert_allclose(padded.context, seen.context, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(padded.alignment[..., :S], seen.alignment, rtol=1e-11, atol=1e-13)
    for n in range(B * K):
        row = slice(n // K, n // K + 1)
        alone = attend(spec, params, memory[row], mask[row], queries[:, n : n + 1])
        np.testing.assert_allclose(alone.context[:, 0], seen.context[:, n], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", MECHANISMS)
def test_keys_are_projected_once_and_scores_are_float32(name):
    spec, size = MECHANISMS[name]
    half = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), tree)
    params = half(drawn(spec, size))
    prepared = spec.prepare(params, half(MEMORY), jnp.asarray(MASK))
    state = spec.initial_state(params, prepared, B)
    query = half(QUERIES[0, :B, :size])
    seen, after = spec.attend(params, prepared, query, state)
    assert {seen.context.dtype, seen.alignment.dtype} == {jnp.dtype(jnp.float32)}
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (old.dtype, old.shape) == (new.dtype, new.shape)
    if hasattr(params, "w_k"):
        spoiled = params._replace(w_k=params.w_k * jnp.nan)
        again, _ = spec.attend(spoiled, prepared, query, state)
        np.testing.assert_array_equal(again.context, seen.context)


def test_players_of_a_frame_in_any_order(x64):
    """A memory that changes with time is prepared in the step (Ramanathan et al. 2016)."""
    spec, cell = sj.attention.AdditiveAttention(A), sj.LSTM(Q)
    p, own = drawn(spec, Q + 2), drawn_cell(cell, M + 2)
    players, frames = RANDOM.normal(size=(B, STEPS, S, M)), RANDOM.normal(size=(B, STEPS, 2))

    def step(carry, inputs):
        players, frame, real = inputs
        prepared = spec.prepare(p, players, real)
        seen, _ = spec.attend(p, prepared, jnp.concatenate([carry.h, frame], axis=1), ())
        carry, _ = cell.step(own, carry, jnp.concatenate([seen.context, frame], axis=1))
        return carry, (carry.h, seen.alignment)

    @jax.jit
    def run(players, mask):
        xs = jnp.asarray(players), jnp.asarray(frames), jnp.asarray(mask)
        return sj.scan(step, cell.initial_carry(own, B), xs)[1]

    mask = np.broadcast_to(MASK[:, None], (B, STEPS, S))
    order = np.array([3, 1, 4, 0, 2])
    events, weights = run(players, mask)
    shuffled, moved = run(players[:, :, order], mask[:, :, order])
    np.testing.assert_allclose(shuffled, events, rtol=1e-11)
    np.testing.assert_allclose(moved, weights[:, :, order], rtol=1e-11, atol=1e-15)
    for b in range(B):
        q = np.concatenate([np.zeros(Q), frames[b, 0]])
        powers = [np.exp(additive(p, q, m, None)) for m in players[b, 0]] * MASK[b]
        np.testing.assert_allclose(weights[b, 0], powers / powers.sum(), rtol=1e-11)


def drawn_cell(cell, size):
    return jax.tree.map(lambda a: a + 0.1, cell.init(jax.random.key(0), size))


def test_products_without_weights_need_equal_sizes():
    key, dot = jax.random.key(0), sj.attention.DotAttention()
    with pytest.raises(ValueError, match="needs them equal. Use GeneralAttention."):
        dot.init(key, 3, 2)
    prepared = dot.prepare((), jnp.ones((2, 5, 4)))
    with pytest.raises(ValueError, match=r"query is float32\[2, 3\]; expected floats \[N, 4\]"):
        dot.attend((), prepared, jnp.ones((2, 3)), ())


def test_a_filter_has_a_centre():
    with pytest.raises(ValueError, match="filter_size is 4; expected an odd number"):
        sj.attention.LocationAttention(4, filter_size=4)
