"""Sampled and adaptive softmax: an estimate with no bias in Z, and an exact law of two levels."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

import seqjax as sj
from seqjax.losses import AdaptiveSoftmaxParams, make_proposal
from seqjax.losses.adaptive import AdaptiveTail
from seqjax.losses.sampled import _alias_table

RNG = np.random.default_rng(0)
V, D, N = 4, 3, 5
WEIGHTS, BIAS, HIDDEN = RNG.normal(size=(V, D)), RNG.normal(size=V), RNG.normal(size=(N, D))
TARGETS = np.array([0, 1, 2, 3, 1], np.int32)
KEY = jax.random.key(0)


class Drawn(NamedTuple):
    """A proposal whose draws are given."""

    log_probs: jax.Array
    classes: jax.Array

    def draw(self, key, shape):
        return self.classes


@jax.jit
def each_draw(hidden, log_probs, draws):
    """Losses [M, N] of M draws [M, S] of S classes, and their gradients by hidden [M, N, D]."""

    def one(classes):
        def total(hidden):
            proposal: Any = Drawn(log_probs, classes)
            losses = sj.losses.sampled_softmax_losses(
                hidden, WEIGHTS, TARGETS, proposal, key=KEY, num_samples=len(classes), bias=BIAS
            )
            return jnp.sum(losses), losses

        grad, losses = jax.grad(total, has_aux=True)(hidden)
        return losses, grad

    return jax.vmap(one)(draws)


def enumerated(q, samples, classes: Any = range(V)):
    """Every draw of S classes [M, S] and its probability [M]."""
    draws = np.array(list(itertools.product(classes, repeat=samples)), np.int32)
    return draws, np.prod(q[draws], axis=1)


def logits():
    return HIDDEN @ WEIGHTS.T + BIAS


def exact_losses():
    x = logits()
    return np.log(np.exp(x).sum(1)) - x[range(N), TARGETS]


def test_the_estimate_of_the_sum_has_no_bias_and_the_loss_is_too_low(x64):
    q = np.array([0.1, 0.2, 0.3, 0.4])
    own, means = logits()[range(N), TARGETS], []
    for samples in (1, 2, 3):
        draws, probs = enumerated(q, samples)
        losses, _ = each_draw(HIDDEN, np.log(q), draws)
        sums = probs @ np.exp(np.asarray(losses) + own)
        np.testing.assert_allclose(sums, np.exp(logits()).sum(1), rtol=1e-12)
        means.append(probs @ np.asarray(losses))
    assert np.all(means[0] < means[1]) and np.all(means[1] < means[2])
    assert np.all(means[2] < exact_losses())


def test_the_softmax_itself_off_the_target_has_no_bias_at_all(x64):
    x = logits()
    exact_grad = jax.grad(
        lambda h: sj.token_losses(h @ WEIGHTS.T + BIAS, jnp.asarray(TARGETS)).sum()
    )(HIDDEN)
    for row in range(N):
        q = np.exp(x[row]) * (np.arange(V) != TARGETS[row])
        q = q / q.sum()
        draws, probs = enumerated(q, 2, [j for j in range(V) if q[j] > 0])
        with np.errstate(divide="ignore"):
            losses, grads = each_draw(HIDDEN, np.log(q), draws)
        np.testing.assert_allclose(losses[:, row], exact_losses()[row], rtol=1e-12)
        mean = np.einsum("m,md->d", probs, np.asarray(grads)[:, row])
        np.testing.assert_allclose(mean, exact_grad[row], atol=1e-12)


def test_sampled_softmax_draws_from_its_proposal_and_reads_no_padding():
    proposal = make_proposal([0.0, 5, 3, 2])
    mask = np.array([True, True, False, True, False])
    run = jax.jit(
        jax.value_and_grad(
            lambda hidden, weights, targets, key: sj.losses.sampled_softmax_losses(
                hidden, weights, targets, proposal, key=key, num_samples=3, mask=mask
            ).sum(),
            argnums=(0, 1),
        )
    )
    hidden, weights = HIDDEN.astype(np.float32), WEIGHTS.astype(np.float32)
    value, (grad, by_rows) = run(hidden, weights, TARGETS, KEY)
    dirty = np.where(mask[:, None], hidden, np.nan), weights, np.where(mask, TARGETS, V + 3)
    other, (other_grad, other_rows) = run(*dirty, KEY)
    assert value == other and not np.any(grad[~mask])
    np.testing.assert_array_equal(other_grad, grad)
    np.testing.assert_array_equal(other_rows, by_rows)
    assert run(hidden, weights, TARGETS, jax.random.key(7))[0] != value
    assert np.isnan(run(hidden, weights, np.array([V, 0, 0, 0, 0]), KEY)[0])


@pytest.mark.parametrize(
    "weights", [[1.0], [3, 1], [0, 0, 1], [7, 1, 0, 2, 2], RNG.random(50) ** 8]
)
def test_the_table_of_aliases_is_the_law(weights):
    probs = np.asarray(weights, float) / np.sum(weights)
    keep, alias = _alias_table(probs)
    law = keep.copy()
    np.add.at(law, alias, 1 - keep)
    np.testing.assert_allclose(law / len(probs), probs, atol=1e-15)
    assert not law[probs == 0].any() and (keep >= 0).all() and (keep <= 1).all()


def test_draws_have_the_law_of_the_proposal():
    n, weights = 20_000, np.array([6.0, 0, 3, 1])
    counts = np.bincount(make_proposal(weights).draw(KEY, (n,)), minlength=V)
    expected = n * weights / weights.sum()
    assert counts[1] == 0
    seen = expected > 0
    statistic = np.sum((counts - expected)[seen] ** 2 / expected[seen])
    assert statistic < chi2.ppf(0.999, 2)


ADAPTIVE = sj.losses.AdaptiveSoftmax((3, 5, 9), shrink=2.0)
WIDTH = 8


@pytest.fixture
def adaptive(x64):
    params = ADAPTIVE.init(jax.random.key(1), WIDTH)
    hidden = jnp.asarray(RNG.normal(size=(2, 9, WIDTH)))
    return params, hidden


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def test_the_adaptive_softmax_is_a_law_of_two_levels(adaptive):
    params, hidden = adaptive
    assert [tail.w_in.shape[1] for tail in params.tails] == [4, 2]  # D / 2 and D / 4
    log_probs = jax.jit(ADAPTIVE.log_probs)(params, hidden)
    head = softmax(np.asarray(hidden @ params.w))
    parts = [head[..., :3]]
    for i, tail in enumerate(params.tails):
        parts.append(head[..., 3 + i, None] * softmax(np.asarray(hidden @ tail.w_in @ tail.w_out)))
    np.testing.assert_allclose(np.exp(log_probs), np.concatenate(parts, -1), rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=1e-12)


def test_adaptive_losses_are_minus_the_log_probs_of_their_targets(adaptive):
    params, hidden = adaptive
    targets = jnp.broadcast_to(jnp.arange(9), (2, 9))
    log_probs = ADAPTIVE.log_probs(params, hidden)
    run = jax.jit(ADAPTIVE.losses)
    expected = -np.take_along_axis(np.asarray(log_probs), np.asarray(targets)[..., None], -1)
    np.testing.assert_allclose(run(params, hidden, targets), expected[..., 0], rtol=1e-12)
    out = run(params, hidden, targets.at[0, 0].set(9).at[1, 1].set(-1))
    assert np.argwhere(np.isnan(out)).tolist() == [[0, 0], [1, 1]]


def test_a_bias_of_the_head(adaptive):
    """PyTorch's head_bias: one number for each frequent class and each tail as a whole."""
    plain, hidden = adaptive
    softmax_of = dataclasses.replace(ADAPTIVE, head_bias=True)
    params = softmax_of.init(jax.random.key(1), WIDTH)
    assert params.b is not None and params.b.tolist() == [0] * 5 and plain.b is None
    jax.tree.map(np.testing.assert_array_equal, params._replace(b=None), plain)
    params = params._replace(b=jnp.asarray(RNG.normal(size=5)))
    log_probs = jax.jit(softmax_of.log_probs)(params, hidden)
    head = softmax(np.asarray(hidden @ params.w + params.b))
    np.testing.assert_allclose(np.exp(log_probs[..., :3]), head[..., :3], rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_probs[..., 3:5]).sum(-1), head[..., 3], rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_probs[..., 5:]).sum(-1), head[..., 4], rtol=1e-12)
    targets = jnp.broadcast_to(jnp.arange(9), (2, 9))
    expected = -jnp.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
    found = jax.jit(softmax_of.losses)(params, hidden, targets)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    grad = jax.grad(lambda p: softmax_of.losses(p, hidden, targets).sum())(params)
    counts = np.bincount([0, 1, 2, 3, 3, 4, 4, 4, 4] * 2, minlength=5)
    np.testing.assert_allclose(grad.b, head.sum((0, 1)) - counts, atol=1e-12)


def test_the_head_is_that_of_pytorch(x64):
    torch = pytest.importorskip("torch")
    other = torch.nn.AdaptiveLogSoftmaxWithLoss(
        WIDTH, 9, [3, 5], div_value=2.0, head_bias=True, dtype=torch.float64
    )
    array = lambda weight: jnp.asarray(weight.detach().numpy())
    tails = tuple(AdaptiveTail(array(a.weight).T, array(b.weight).T) for a, b in other.tail)
    params = AdaptiveSoftmaxParams(array(other.head.weight).T, tails, array(other.head.bias))
    hidden = RNG.normal(size=(7, WIDTH))
    expected = other.log_prob(torch.tensor(hidden)).detach().numpy()
    np.testing.assert_allclose(ADAPTIVE.log_probs(params, hidden), expected, rtol=1e-10)


def test_one_cluster_is_the_plain_softmax(x64):
    plain = sj.losses.AdaptiveSoftmax((V,))
    params = plain.init(jax.random.key(2), D)
    assert params.tails == ()
    expected = sj.token_losses(HIDDEN @ params.w, TARGETS)
    np.testing.assert_allclose(plain.losses(params, HIDDEN, TARGETS), expected, rtol=1e-12)
    log_probs = plain.log_probs(params, HIDDEN)
    np.testing.assert_allclose(log_probs, jax.nn.log_softmax(HIDDEN @ params.w), rtol=1e-12)


def test_adaptive_softmax_reads_no_padding_and_widens_half_precision():
    params = ADAPTIVE.init(jax.random.key(1), WIDTH)
    hidden = RNG.normal(size=(4, WIDTH)).astype(np.float32)
    targets, mask = np.array([0, 3, 8, 5]), np.array([True, True, False, True])
    run = jax.jit(
        jax.value_and_grad(
            lambda params, hidden, targets: ADAPTIVE.losses(
                params, hidden, targets, mask=mask
            ).sum(),
            argnums=(0, 1),
        )
    )
    clean = run(params, hidden, targets)
    dirty = run(params, np.where(mask[:, None], hidden, np.nan), np.where(mask, targets, -5))
    jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    assert not np.any(clean[1][1][~mask]) and np.any(clean[1][0].w)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    assert ADAPTIVE.losses(half, hidden.astype(jnp.bfloat16), targets).dtype == jnp.float32


def test_adaptive_specs_are_values():
    cutoffs: Any = [3, 5, 9]
    assert sj.losses.AdaptiveSoftmax(cutoffs, shrink=2) == ADAPTIVE  # a list is held as a tuple
    assert hash(ADAPTIVE) == hash(sj.losses.AdaptiveSoftmax((3, 5, 9), shrink=2.0))
    assert ADAPTIVE.vocab_size == 9
    names = {
        "AdaptiveSoftmax": sj.losses.AdaptiveSoftmax,
        "GlorotUniform": sj.initializers.GlorotUniform,
    }
    assert eval(repr(ADAPTIVE), names) == ADAPTIVE
