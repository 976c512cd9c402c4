"""Gradients of expected rewards, on a model small enough to sum over all its sequences."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import checkify

import seqjax as sj
from seqjax import objectives

V, T, EOS = 3, 3, 2
ALL = [s for n in (1, 2, 3) for s in itertools.product(range(V), repeat=n)]
# A sequence ends with eos or has T tokens.
ALL = [s for s in ALL if EOS not in s[:-1] and (len(s) == T or s[-1] == EOS)]
TOKENS = jnp.array([s + (EOS,) * (T - len(s)) for s in ALL])
LENGTHS = jnp.array([len(s) for s in ALL])
N = len(ALL)


def model(x64=True):
    """Logits of the next token by the last one, at random."""
    return jax.random.normal(jax.random.key(5), (V, V), jnp.float64 if x64 else jnp.float32)


def log_p(w, tokens=TOKENS, lengths=LENGTHS):
    """log p of sequences read after an eos: [...]."""
    last = jnp.concatenate([jnp.full_like(tokens[..., :1], EOS), tokens[..., :-1]], axis=-1)
    return objectives.sequence_log_probs(w[last], tokens, lengths)


def rewards(dtype=jnp.float64):
    """Of every sequence; far from zero, so that a baseline matters."""
    return 5 + jax.random.normal(jax.random.key(6), (N,), dtype)


def exact(w, reward):
    """The gradient of -E[r] by summing over all sequences."""
    return jax.grad(lambda w: -jnp.exp(log_p(w)) @ reward)(w)


def each(w, reward, **how):
    """The estimate from every single sequence, [N, V, V]."""
    return jax.jacrev(lambda w: objectives.reinforce_losses(log_p(w), reward, **how))(w)


def test_the_sequences_are_all_there_are(x64):
    assert N == 15
    np.testing.assert_allclose(jnp.exp(log_p(model())).sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("baseline", [0.0, 5.0, -3.0])
def test_estimates_weighted_by_their_probabilities_are_the_gradient(x64, baseline):
    w, reward = model(), rewards()
    mean = jnp.einsum("n,nij->ij", jnp.exp(log_p(w)), each(w, reward, baselines=baseline))
    np.testing.assert_allclose(mean, exact(w, reward), rtol=0, atol=1e-12)


def variance(w, estimates):
    """The trace of the covariance of one draw's estimate."""
    p = jnp.exp(log_p(w))
    mean = jnp.einsum("n,nij->ij", p, estimates)
    return float(p @ jnp.sum((estimates - mean) ** 2, axis=(1, 2)))


def test_baselines_lessen_the_variance(x64):
    w, reward = model(), rewards()
    p = jnp.exp(log_p(w))
    spread = lambda b: variance(w, each(w, reward, baselines=b))
    score = jnp.sum(each(w, jnp.ones(N)) ** 2, axis=(1, 2))
    best = float(p @ (score * reward) / (p @ score))  # the minimum of a parabola
    none, mean, optimum = spread(0.0), spread(float(p @ reward)), spread(best)
    greedy = spread(float(reward[jnp.argmax(log_p(w))]))
    assert optimum <= min(mean, greedy)
    assert mean < 0.1 * none and greedy < 0.1 * none
    assert spread(best + 0.1) > optimum < spread(best - 0.1)


def test_leaving_one_out_is_unbiased_and_a_plain_mean_is_not(x64):
    """Over all pairs of draws: the mean of the estimates, and their variance."""
    w, reward = model(), rewards()
    p = jnp.exp(log_p(w))
    first, second = (a.ravel() for a in jnp.meshgrid(jnp.arange(N), jnp.arange(N)))
    pairs = jnp.stack([reward[first], reward[second]], axis=1)  # [N², 2]
    score = each(w, jnp.ones(N))  # -∇ log p

    def estimates(baselines):
        gains = pairs - baselines
        return (
            gains[:, 0, None, None] * score[first] + gains[:, 1, None, None] * score[second]
        ) / 2

    def moments(estimates):
        both = p[first] * p[second]
        mean = jnp.einsum("n,nij->ij", both, estimates)
        return mean, float(both @ jnp.sum((estimates - mean) ** 2, axis=(1, 2)))

    left, spread = moments(estimates(objectives.leave_one_out(pairs)))
    np.testing.assert_allclose(left, exact(w, reward), rtol=0, atol=1e-12)
    plain, wide = moments(estimates(0.0))
    np.testing.assert_allclose(plain, exact(w, reward), rtol=0, atol=1e-12)
    assert spread < 0.2 * wide
    biased, _ = moments(estimates(pairs.mean(axis=1, keepdims=True)))
    np.testing.assert_allclose(biased, exact(w, reward) / 2, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def samples():
    """4,000 draws of the model by `sample`."""
    w = model(x64=False)
    step = lambda carry, tokens: (carry, w[tokens])
    bos = jnp.full(4000, EOS)
    return sj.sample(step, (), bos=bos, eos=EOS, max_len=T, key=jax.random.key(9))


@pytest.mark.parametrize("baseline", ["none", "mean of the others", "greedy"])
def test_draws_estimate_the_gradient_within_three_standard_errors(samples, baseline):
    w, reward = model(x64=False), rewards(jnp.float32)
    places = jnp.all(samples.tokens[:, None] == TOKENS, axis=2)
    assert (places.sum(axis=1) == 1).all()
    which = jnp.argmax(places, axis=1)
    np.testing.assert_allclose(log_p(w)[which], samples.log_probs, rtol=1e-5, atol=1e-6)
    score = each(w, jnp.ones(N))[which]
    baselines = {
        "none": jnp.zeros(4000),
        "mean of the others": objectives.leave_one_out(reward[which]),
        "greedy": jnp.full(4000, reward[jnp.argmax(log_p(w))]),
    }[baseline]
    found = (reward[which] - baselines)[:, None, None] * score
    error = found.std(axis=0) / np.sqrt(4000)
    assert (jnp.abs(found.mean(axis=0) - exact(w, reward)) <= 3 * error + 1e-6).all()


def test_weighted_draws_of_another_law(x64):
    """Every sequence once, as by an even law: weights p N make the mean the gradient."""
    w, reward = model(), rewards()
    how = {"log_weights": log_p(w) + jnp.log(N), "baselines": 1.0}
    mean = each(w, reward, **how).mean(axis=0)
    np.testing.assert_allclose(mean, exact(w, reward), rtol=0, atol=1e-12)


def test_rewards_and_baselines_are_constants(x64):
    w = model()
    loss = lambda w: objectives.reinforce_losses(log_p(w), log_p(w), baselines=w[:1, 0] * 2).sum()
    fixed = log_p(w), w[:1, 0] * 2
    plain = lambda w: objectives.reinforce_losses(log_p(w), fixed[0], baselines=fixed[1]).sum()
    np.testing.assert_array_equal(jax.grad(loss)(w), jax.grad(plain)(w))
    loss = lambda w: objectives.reinforce_losses(log_p(w), log_p(w), log_weights=log_p(w)).sum()
    how = {"log_weights": fixed[0]}
    plain = lambda w: objectives.reinforce_losses(log_p(w), fixed[0], **how).sum()
    np.testing.assert_array_equal(jax.grad(loss)(w), jax.grad(plain)(w))
    risk = lambda w: objectives.minimum_risk(log_p(w), log_p(w))
    plain = lambda w: objectives.minimum_risk(log_p(w), fixed[0])
    np.testing.assert_array_equal(jax.grad(risk)(w), jax.grad(plain)(w))


def test_self_critical_losses_have_the_greedy_decode_as_baseline():
    log_probs, reward = jnp.log(jnp.array([[0.5, 0.2], [0.1, 0.3]])), jnp.array([[1, 2], [3, 4]])
    found = objectives.self_critical_losses(log_probs, reward, jnp.array([2, 3]))
    np.testing.assert_allclose(found, -jnp.array([[-1.0, 0.0], [0.0, 1.0]]) * log_probs)


def test_a_running_mean_weighs_all_batches_alike_at_first():
    mean = objectives.RunningMean.empty()
    assert mean.value == 0
    for n, reward in enumerate((2.0, 4.0, 9.0), 1):
        mean = mean.update(jnp.full((2, 3), reward), decay=0.9)
        weights = 0.9 ** np.arange(n)[::-1]
        expected = weights @ np.array([2.0, 4.0, 9.0])[:n] / weights.sum()
        assert mean.value == pytest.approx(expected, rel=1e-6)


def test_minimum_risk_over_all_sequences_is_the_expected_risk(x64):
    w, reward = model(), rewards()
    value, grad = jax.value_and_grad(lambda w: objectives.minimum_risk(log_p(w), -reward))(w)
    np.testing.assert_allclose(value, -jnp.exp(log_p(w)) @ reward, rtol=1e-12)
    np.testing.assert_allclose(grad, exact(w, reward), rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.005, 1.0, 3.0])
def test_minimum_risk_of_a_few_hypotheses(x64, alpha):
    """By its formula; what is masked, or improbable beyond all measure, plays no part."""
    p, risks = jnp.array([0.3, 0.1, 0.2, 0.25]), jnp.array([2.0, 0.0, jnp.nan, 5.0])
    mask = jnp.array([True, True, False, True])
    log_probs = jnp.log(p).at[3].set(-jnp.inf).at[2].set(jnp.nan)
    found, grad = jax.value_and_grad(
        lambda x: objectives.minimum_risk(x, risks, alpha=alpha, mask=mask)
    )(log_probs)
    q = 0.3**alpha / (0.3**alpha + 0.1**alpha)
    np.testing.assert_allclose(found, 2 * q, rtol=1e-12)
    np.testing.assert_allclose(grad[:2], alpha * 2 * q * (1 - q) * np.array([1, -1]), rtol=1e-12)
    np.testing.assert_array_equal(grad[2:], 0)


def test_a_row_without_a_hypothesis_has_no_risk_and_no_gradient():
    log_probs = jnp.array([[-jnp.inf, jnp.nan], [-1.0, -1.0]])
    mask = jnp.array([[True, False], [True, True]])
    loss = lambda x: objectives.minimum_risk(x, jnp.ones((2, 2)), mask=mask).sum()
    value, grad = jax.value_and_grad(loss)(log_probs)
    assert value == 1.0 and (grad == 0).all()


def test_distinct_sequences():
    tokens = jnp.array([[[1, 2, 9], [1, 2, 7], [1, 2, 7], [3, 2, 9]], [[0, 0, 0]] * 4])
    lengths = jnp.array([[2, 2, 3, 2], [0, 0, 1, 1]])
    expected = [[True, False, True, True], [True, False, True, False]]
    assert objectives.distinct(tokens, lengths).tolist() == expected
    assert objectives.distinct(tokens).tolist() == [[True, True, False, True], [True] + [False] * 3]


def test_hypotheses_of_a_beam_search_are_scored_again():
    w = model(x64=False)
    step = lambda carry, tokens: (carry, w[tokens])
    how: dict[str, Any] = dict(bos=jnp.array([EOS]), eos=EOS, max_len=T)
    beams = sj.beam_search(step, (), beam_size=N, **how)
    risks = sj.metrics.edit_distance(beams.tokens, jnp.array([[[0, 1, EOS]]]), beams.lengths)
    loss = lambda w: objectives.minimum_risk(log_p(w, beams.tokens, beams.lengths), risks)[0]
    expected = lambda w: (
        jnp.exp(log_p(w))
        @ sj.metrics.edit_distance(TOKENS, jnp.array([[0, 1, EOS]]), LENGTHS).astype(jnp.float32)
    )
    got, want = jax.value_and_grad(loss)(w), jax.value_and_grad(expected)(w)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want)


def test_a_nan_reward_inside_jit_makes_the_step_one_that_is_skipped():
    def loss(w, mean, reward, key):
        losses = objectives.reinforce_losses(log_p(w), reward, baselines=mean.value)
        return losses.mean(), mean.update(reward)

    train = sj.make_train_step(loss, optax.sgd(0.1))
    start = objectives.RunningMean.empty()
    state = sj.init_train_state(
        model(x64=False), optax.sgd(0.1), key=jax.random.key(0), carry=start
    )
    state, _ = train(state, rewards(jnp.float32))
    kept = np.array(state.params)
    state, metrics = train(state, rewards(jnp.float32).at[3].set(jnp.nan))
    assert metrics.skipped and np.array_equal(state.params, kept)
    assert state.carry.value == pytest.approx(float(rewards(jnp.float32).mean()), rel=1e-5)
    risk = jax.jit(lambda r: objectives.minimum_risk(jnp.zeros((2, 2)), r))
    assert jnp.isnan(risk(jnp.array([[1.0, jnp.inf], [1.0, 2.0]]))).tolist() == [True, False]
    error, _ = checkify.checkify(risk, errors=checkify.user_checks)(jnp.full((2, 2), jnp.nan))
    assert "risks holds NaN or inf" in str(error.get())


lp = jnp.zeros((2, 3))
BAD = {
    "nan": (lambda: objectives.reinforce_losses(lp, lp + jnp.nan), "rewards holds NaN or inf"),
    "shape": (lambda: objectives.reinforce_losses(lp, lp[0]), "rewards has shape (3,) but log_"),
    "ids": (lambda: objectives.reinforce_losses(lp.astype(int), lp), "log_probs is int32[2, 3]"),
    "row": (
        lambda: objectives.reinforce_losses(
            jnp.zeros((2, 2)), jnp.zeros((2, 2)), baselines=lp[:, 0]
        ),
        "baselines has shape (2,) and rewards (2, 2); expected a number or sizes equal or 1 on",
    ),
    "weights": (lambda: objectives.reinforce_losses(lp, lp, log_weights=lp[0]), "log_weights ha"),
    "risks": (lambda: objectives.minimum_risk(lp, lp[:, :2]), "risks has shape (2, 2) but log_p"),
    "infinite": (lambda: objectives.minimum_risk(lp, lp + jnp.inf), "risks holds NaN or inf; ex"),
    "alpha": (lambda: objectives.minimum_risk(lp, lp, alpha=-1.0), "alpha is -1.0; expected a p"),
    "zero": (lambda: objectives.minimum_risk(lp, lp, alpha=0.0), "alpha is 0.0; expected a posi"),
    "mask": (lambda: objectives.minimum_risk(lp, lp, mask=lp), "mask is float32[2, 3]; expected"),
    "one": (lambda: objectives.leave_one_out(lp[:, :1]), "rewards has shape (2, 1); expected ["),
    "greedy": (
        lambda: objectives.self_critical_losses(lp, lp, lp[0]),
        "greedy_rewards has shape (3,) and rewards (2, 3); expected [B] and [B, K]",
    ),
    "greedy_nan": (
        lambda: objectives.self_critical_losses(lp, lp, jnp.array([0.0, jnp.nan])),
        "greedy_rewards holds NaN or inf",
    ),
    "decay": (
        lambda: objectives.RunningMean.empty().update(lp, decay=1.0),
        "decay is 1.0; expected a probability with 0 <= decay < 1.",
    ),
    "distinct": (lambda: objectives.distinct(jnp.zeros(3, int)), "tokens has shape (3,); expect"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_says_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)
