"""Linear-chain conditional random fields, beside enumeration of all taggings."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from scipy.stats import chi2

import seqjax as sj
from seqjax.decoding import crf_sample, crf_viterbi
from seqjax.losses import CRFParams, crf_log_partition, crf_marginals

B, L, K = 3, 5, 4
RNG = np.random.default_rng(0)
PARAMS = CRFParams._make(RNG.normal(size=shape) for shape in ((K, K), K, K))
EMISSIONS = RNG.normal(size=(B, L, K))
TAGS = RNG.integers(0, K, size=(B, L))
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 1]], bool)  # any pattern
FORBIDDING = PARAMS._replace(
    transitions=np.where(RNG.random((K, K)) < 0.4, -np.inf, PARAMS.transitions),
    start=np.where(np.arange(K) == 1, -np.inf, PARAMS.start),
    end=np.where(np.arange(K) == 2, -np.inf, PARAMS.end),
)
CASES = {"plain": PARAMS, "forbidding": FORBIDDING}

loss = jax.jit(sj.losses.crf_loss)
log_partition = jax.jit(crf_log_partition)
marginals = jax.jit(crf_marginals)
viterbi = jax.jit(crf_viterbi)


@jax.jit
def loss_and_grads(params, emissions, tags, mask):
    def total(params, emissions):
        losses = sj.losses.crf_loss(params, emissions, tags, mask=mask)
        return jnp.sum(losses), losses

    (_, losses), grads = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(params, emissions)
    return losses, grads


def score(params, emissions, tags):
    """s(y) of one row [L, K] without padding."""
    if len(tags) == 0:
        return 0.0
    inner = sum(params.transitions[i, j] for i, j in itertools.pairwise(tags))
    own = sum(emissions[range(len(tags)), tags])
    return params.start[tags[0]] + own + inner + params.end[tags[-1]]


def taggings(params, emissions):
    """Every tagging of one row and its probability weight exp s(y)."""
    every = list(itertools.product(range(K), repeat=len(emissions)))
    return every, np.exp([score(params, emissions, list(y)) for y in every])


def enumerated(params):
    """log Z, tag marginals [B, L, K] and expected transitions [B, K, K] of the masked rows."""
    totals, tags, pairs = np.zeros(B), np.zeros((B, L, K)), np.zeros((B, K, K))
    for b in range(B):
        real = np.flatnonzero(MASK[b])
        every, weights = taggings(params, EMISSIONS[b, real])
        totals[b] = np.log(weights.sum())
        for y, p in zip(every, weights / weights.sum(), strict=True):
            tags[b, real, y] += p
            np.add.at(pairs[b], (y[:-1], y[1:]), p)
    return totals, tags, pairs


@pytest.mark.parametrize("name", CASES)
def test_log_partition_marginals_and_viterbi_equal_enumeration(x64, name):
    params = CASES[name]
    totals, tags, pairs = enumerated(params)
    np.testing.assert_allclose(log_partition(params, EMISSIONS, mask=MASK), totals, atol=1e-10)
    got = marginals(params, EMISSIONS, mask=MASK)
    np.testing.assert_allclose(got.tags, tags, atol=1e-10)
    np.testing.assert_allclose(got.pairs, pairs, atol=1e-10)
    best = viterbi(params, EMISSIONS, mask=MASK)
    for b in range(B):
        real = np.flatnonzero(MASK[b])
        every, weights = taggings(params, EMISSIONS[b, real])
        np.testing.assert_allclose(best.scores[b], np.log(weights.max()), atol=1e-10)
        assert tuple(best.tags[b, real].tolist()) == every[np.argmax(weights)]
        assert not np.any(best.tags[b, ~MASK[b]])


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_minus_log_p_and_its_gradient_expected_less_counted(x64, name):
    params = CASES[name]
    totals, expected, pairs = enumerated(params)
    allowed = viterbi(params, EMISSIONS, mask=MASK).tags  # some tagging that is possible
    tags = np.asarray(allowed) if name == "forbidding" else TAGS
    losses, (by_params, by_emissions) = loss_and_grads(params, EMISSIONS, tags, MASK)
    scores = [score(params, EMISSIONS[b, MASK[b]], tags[b, MASK[b]]) for b in range(B)]
    np.testing.assert_allclose(losses, totals - scores, atol=1e-10)
    counted = np.eye(K)[tags] * MASK[..., None]
    np.testing.assert_allclose(by_emissions, expected - counted, atol=1e-10)
    for b in range(B):
        y = tags[b, MASK[b]]
        np.subtract.at(pairs[b], (y[:-1], y[1:]), 1)
    np.testing.assert_allclose(by_params.transitions, pairs.sum(0), atol=1e-10)
    assert np.isfinite(by_params.start).all() and np.any(by_params.start)
    forbidden = np.isinf(params.transitions)
    assert not np.any(by_params.transitions[forbidden])


def test_lengths_are_masks_on_the_left(x64):
    lengths = np.array([5, 3, 0])
    mask = np.arange(L) < lengths[:, None]
    by_length = loss(PARAMS, EMISSIONS, TAGS, lengths=lengths)
    np.testing.assert_array_equal(by_length, loss(PARAMS, EMISSIONS, TAGS, mask=mask))
    assert by_length[2] == 0 and log_partition(PARAMS, EMISSIONS, lengths=lengths)[2] == 0
    assert viterbi(PARAMS, EMISSIONS, lengths=lengths).scores[2] == 0
    both = loss(PARAMS, EMISSIONS, TAGS, lengths=np.array([3, 3, 3]), mask=MASK)
    other = loss(PARAMS, EMISSIONS, TAGS, mask=MASK & (np.arange(L) < 3))
    np.testing.assert_array_equal(both, other)


def test_padding_is_not_read():
    params = jax.tree.map(lambda x: x.astype(np.float32), FORBIDDING)
    emissions = EMISSIONS.astype(np.float32)
    tags = viterbi(params, emissions, mask=MASK).tags
    clean = loss_and_grads(params, emissions, tags, MASK)
    for garbage, filler in [(np.nan, -3), (np.inf, K), (-np.inf, 2**31 - 1)]:
        dirty = np.where(MASK[..., None], emissions, garbage), np.where(MASK, tags, filler)
        jax.tree.map(np.testing.assert_array_equal, loss_and_grads(params, *dirty, MASK), clean)
        np.testing.assert_array_equal(viterbi(params, dirty[0], mask=MASK).tags, tags)
    assert not np.any(clean[1][1][~MASK])


def test_forbidden_and_impossible_taggings_are_infinite_without_a_gradient():
    params = CRFParams.zeros(K)._replace(start=jnp.array([0.0, -jnp.inf, 0, 0]))
    tags = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [2, 0, 0, 0, 0]])
    emissions = EMISSIONS.astype(np.float32)
    full = np.ones((B, L), bool)
    losses, (by_params, by_emissions) = loss_and_grads(params, emissions, tags, full)
    assert np.isposinf(losses).tolist() == [True, False, False]
    assert not np.any(by_emissions[0]) and np.isfinite(by_emissions).all()
    assert all(np.isfinite(grad).all() for grad in by_params) and np.any(by_emissions[1])
    nothing = params._replace(end=jnp.full(K, -jnp.inf))
    assert np.isneginf(log_partition(nothing, emissions)).all()
    assert np.isneginf(viterbi(nothing, emissions).scores).all()
    losses, grads = loss_and_grads(nothing, emissions, tags, full)
    assert np.isposinf(losses).all() and not any(map(np.any, jax.tree.leaves(grads)))


def test_tags_out_of_range():
    tags = TAGS.copy()
    tags[0, 2], tags[1, 0] = K, -1
    emissions = EMISSIONS.astype(np.float32)
    params = CRFParams.zeros(K)
    assert np.isnan(loss(params, emissions, tags)).tolist() == [True, True, False]
    checked = jax.jit(checkify.checkify(sj.losses.crf_loss))
    assert "tags holds an id out of range" in checked(params, emissions, tags)[0].get()


def test_zero_transitions_are_a_softmax_a_step():
    emissions = EMISSIONS.astype(np.float32)
    losses = loss(CRFParams.zeros(K), emissions, TAGS, mask=MASK)
    apart = sj.token_losses(emissions, TAGS, mask=MASK).sum(axis=1)
    np.testing.assert_allclose(losses, apart, rtol=1e-5)
    # A sure model's loss does not fall below 0 by rounding.
    many = np.random.default_rng(1).integers(0, K, size=(256, L))
    sure = np.random.default_rng(2).normal(size=(256, L, K)) + 40 * np.eye(K)[many]
    losses = loss(jax.tree.map(np.float32, PARAMS), sure.astype(np.float32), many)
    assert np.all(losses >= 0) and np.all(losses < 1e-3)


def test_inside_of_shard_map(x64):
    mesh, spec = jax.sharding.Mesh(jax.devices()[:1], ("rows",)), jax.sharding.PartitionSpec
    rows = spec("rows")
    run = lambda params, emissions, tags, mask: sj.losses.crf_loss(
        params, emissions, tags, mask=mask
    )
    split = jax.shard_map(run, mesh=mesh, in_specs=(spec(), rows, rows, rows), out_specs=rows)
    total = lambda params: jnp.sum(split(params, EMISSIONS, TAGS, MASK))
    params = jax.tree.map(jnp.asarray, PARAMS)
    value, grad = jax.jit(jax.value_and_grad(total))(params)
    losses, (by_params, _) = loss_and_grads(PARAMS, EMISSIONS, TAGS, MASK)
    np.testing.assert_allclose(value, losses.sum(), rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), grad, by_params)


def test_samples_have_the_law_of_the_taggings():
    n, length = 20_000, 3
    params = jax.tree.map(lambda x: x.astype(np.float32), FORBIDDING)
    emissions = EMISSIONS[0].astype(np.float32)
    rows = np.broadcast_to(emissions, (n, L, K))
    draw = jax.jit(lambda key, mask: crf_sample(params, rows, key=key, mask=mask))
    mask = np.zeros((n, L), bool)
    mask[:, [0, 2, 3]] = True
    tags = np.asarray(draw(jax.random.key(1), mask))
    assert not np.any(tags[:, [1, 4]])
    every, weights = taggings(FORBIDDING, EMISSIONS[0, [0, 2, 3]])
    probs = weights / weights.sum()
    code = (tags[:, [0, 2, 3]] * K ** np.arange(length)[::-1]).sum(axis=1)
    counts = np.bincount(code, minlength=K**length)
    assert not counts[probs == 0].any()
    seen = probs > 0
    assert 5 < seen.sum() < K**length
    statistic = np.sum((counts - n * probs)[seen] ** 2 / (n * probs[seen]))
    assert statistic < chi2.ppf(0.999, seen.sum() - 1)


def test_a_rows_draw_depends_on_its_own_key_and_steps_alone():
    emissions = jnp.asarray(EMISSIONS, jnp.float32)
    keys = jax.random.split(jax.random.key(3), B)
    params = CRFParams.zeros(K)
    lengths = np.array([4, 2, 3])
    tags = crf_sample(params, emissions, key=keys, lengths=lengths)
    swapped = crf_sample(params, emissions[::-1], key=keys[::-1], lengths=lengths[::-1])
    np.testing.assert_array_equal(swapped[::-1], tags)
    longer = jnp.pad(emissions, ((0, 0), (0, 2), (0, 0)), constant_values=jnp.nan)
    padded = crf_sample(params, longer, key=keys, lengths=lengths)
    np.testing.assert_array_equal(padded[:, :L], tags)
    assert not np.any(padded[:, L:])
