"""Temperature and truncations against plain numpy, their order, and the laws drawn from."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support import decoding_models as models

from seqjax.decoding import Sampling, beam_search, sample, stream
from seqjax.decoding.processors.truncation import keep_eta, keep_typical

KEY = jax.random.key(5)


def temper(p, temperature):
    log_p = np.log(p, where=p > 0, out=np.full_like(p, -np.inf)) / temperature
    return np.exp(log_p - log_p.max()) / np.sum(np.exp(log_p - log_p.max()))


def keep(p, kept):
    q = np.where(kept, p, 0)
    return q / q.sum()


def first(p, order, mass):
    kept, total = np.zeros(len(p), bool), 0.0
    for v in order:
        if total >= mass and kept.any():
            break
        kept[v], total = True, total + p[v]
    return keep(p, kept)


def top_k(p, k):
    return keep(p, np.isin(np.arange(len(p)), np.argsort(-p, kind="stable")[:k]))


def top_p(p, mass):
    return first(p, np.argsort(-p, kind="stable"), mass)


def min_p(p, share):
    return keep(p, p >= share * p.max() * (1 - 1e-6))


def entropy(p):
    return -np.sum(p[p > 0] * np.log(p[p > 0]))


def typical(p, mass):
    surprise = np.full(len(p), np.inf)
    surprise[p > 0] = np.abs(-np.log(p[p > 0]) - entropy(p))
    return first(p, np.argsort(surprise, kind="stable"), mass)


def epsilon(p, cutoff):
    return keep(p, (p > cutoff) | (p == p.max()))


def eta(p, epsilon):
    floor = min(epsilon, np.sqrt(epsilon) * np.exp(-entropy(p)))
    return keep(p, (p > floor) | (p == p.max()))


PIPELINE = (temper, top_k, top_p, min_p, typical, epsilon, eta)
NAMES = [*("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")]
LAWS = [  # temperature, top-k, top-p, min-p, typical, epsilon, eta
    (1.0, 8, 1.0, 0.0, 1.0, 0.0, 0.0),
    (0.5, 8, 1.0, 0.0, 1.0, 0.0, 0.0),
    (2.5, 3, 1.0, 0.0, 1.0, 0.0, 0.0),
    (1.0, 8, 0.75, 0.0, 1.0, 0.0, 0.0),
    (1.0, 8, 1.0, 0.25, 1.0, 0.0, 0.0),
    (1.0, 8, 1.0, 0.0, 0.5, 0.0, 0.0),
    (1.0, 8, 1.0, 0.0, 1.0, 0.15, 0.0),
    (1.0, 8, 1.0, 0.0, 1.0, 0.0, 0.3),
    (1.5, 6, 0.9, 0.1, 0.8, 0.1, 0.2),
]


def written_out(p, law):
    for function, setting in zip(PIPELINE, law, strict=True):
        p = function(p, setting)
    return p


def columns(laws, repeat=1):
    return [np.repeat(np.array(c), repeat) for c in zip(*laws, strict=True)]


@jax.jit
def apply(logits, law):
    return jax.nn.softmax(Sampling(**dict(zip(NAMES, law, strict=True)))(logits), axis=-1)


def test_every_truncation_equals_numpy_and_the_order_is_the_documented_one():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(8), size=400)
    laws = [LAWS[i % len(LAWS)] for i in range(400)]
    got = apply(jnp.asarray(np.log(p), jnp.float32), columns(laws))
    want = np.stack([written_out(row, law) for row, law in zip(p, laws, strict=True)])
    np.testing.assert_allclose(got, want, atol=2e-5)
    off = (1.0, 8, 1.0, 0.0, 1.0, 0.0, 0.0)
    on = (0.5, 3, 0.6, 0.4, 0.5, 0.3, 0.5)
    for i in range(1, len(PIPELINE) - 1):  # temperature and top-k alone may change places
        law = tuple(on[n] if n in (i, i + 1) else off[n] for n in range(len(PIPELINE)))
        there = apply(jnp.asarray(np.log(p), jnp.float32), columns([law] * 400))
        other = np.stack([PIPELINE[i](PIPELINE[i + 1](row, on[i + 1]), on[i]) for row in p])
        assert np.max(np.abs(there - other)) > 0.05, PIPELINE[i].__name__


def test_refused_tokens_stay_refused_and_one_is_left():
    inf = np.inf
    logits = jnp.array([[0.0, -inf, 0.0, -2.0], [-inf, 3.0, -inf, -inf], [1.0, 1.0, 1.0, 1.0]])
    for kept in (keep_typical(logits, 1e-6), keep_eta(logits, 0.999)):
        assert np.all(np.isinf(kept) | (np.asarray(kept) == logits))
        assert np.isfinite(kept).sum(axis=1).min() >= 1
        assert np.all(np.isinf(kept[logits == -inf]))
    np.testing.assert_array_equal(keep_typical(logits, 1.0), logits)
    np.testing.assert_array_equal(keep_eta(logits, 0.0), logits)
    # Of equally typical tokens the lowest id; of equally probable ones eta keeps all.
    assert np.isfinite(keep_typical(logits, 0.25)[2]).tolist() == [True, False, False, False]
    assert np.isfinite(keep_eta(logits, 0.9)[2]).all()
    below_one = np.nextafter(np.float32(1), np.float32(0))  # where rounding lifts eta to 1 / V
    assert np.isfinite(keep_eta(logits, below_one)[2]).all()


def test_so_many_tokens_are_kept_at_least():
    """By the order of each truncation: the most typical for one, the most probable for the rest."""
    p = np.random.default_rng(4).dirichlet(np.ones(8), size=50)
    logits = jnp.log(jnp.asarray(p, jnp.float32))
    probable = np.argsort(-p, axis=1)[:, :3]
    nearest = np.abs(-np.log(p) + np.sum(p * np.log(p), axis=1, keepdims=True))
    typical = np.argsort(nearest, axis=1)[:, :3]
    strict_ones: list[dict[str, Any]] = [
        dict(top_p=1e-4),
        dict(min_p=1.0),
        dict(epsilon_cutoff=0.99),
    ]
    for strict in strict_ones:
        kept = np.isfinite(Sampling(**strict, min_keep=3)(logits))
        np.testing.assert_array_equal(np.argwhere(kept)[:, 1], np.sort(probable).ravel())
        assert np.isfinite(Sampling(**strict)(logits)).sum() == 50
    kept = np.isfinite(Sampling(typical_p=1e-4, min_keep=3)(logits))
    np.testing.assert_array_equal(np.argwhere(kept)[:, 1], np.sort(typical).ravel())
    exact = Sampling(top_k=2, eta_cutoff=0.9, min_keep=3)(logits)
    assert np.isfinite(exact).sum() == 100  # a number of tokens is meant as it stands
    alike = Sampling(min_p=1.0, min_keep=2)(jnp.array([[1.0, 2.0, 1.0, 0.0]]))
    assert np.isfinite(alike).tolist() == [[True, True, True, False]]


def test_eta_is_the_smaller_of_two_floors():
    sharp, flat = [0.9, 0.06, 0.03, 0.01], [0.4, 0.3, 0.2, 0.1]  # exp(-H) = 0.66, 0.28
    kept = np.isfinite(keep_eta(jnp.log(jnp.array([sharp, flat])), jnp.array([0.05, 0.5])))
    np.testing.assert_array_equal(kept, [[1, 1, 0, 0], [1, 1, 1, 0]])  # above 0.05, and 0.197


def met_exactly(denominator, vocab, rows=60):
    """Shares of a whole [rows, V] in integers, and for each row a sum of its best that is p."""
    rng = np.random.default_rng(denominator)
    shares = rng.multinomial(denominator - vocab, rng.dirichlet(np.ones(vocab)), size=rows) + 1
    wanted = rng.integers(1, vocab, size=rows)
    best = -np.sort(-shares, axis=1)
    return shares, np.array([best[b, :n].sum() for b, n in enumerate(wanted)])


@pytest.mark.parametrize(
    ("denominator", "vocab", "dtype"),
    [
        *((10, 4, dtype) for dtype in (jnp.float32, jnp.float16, jnp.bfloat16)),
        *((97, 8, dtype) for dtype in (jnp.float32, jnp.float16, jnp.bfloat16)),
        (1000, 30, jnp.float32),
        (20_000, 2000, jnp.float32),
    ],
)
def test_a_sum_that_equals_p_ends_the_set(denominator, vocab, dtype):
    """Exact rationals: p = n / d is reached, where a rounded sum may fall just short of it."""
    shares, sums = met_exactly(denominator, vocab)
    p = jnp.asarray(sums / denominator, jnp.float32)
    logits = jnp.log(jnp.asarray(shares / denominator, jnp.float32))
    keep = jax.jit(lambda logits, p: Sampling(top_p=p)(logits))
    for shift in (0.0, -0.5):
        kept = np.isfinite(keep((logits + shift).astype(dtype), p))
        for b, row in enumerate(shares):
            order = np.argsort(-row, kind="stable")
            before = np.cumsum(row[order]) - row[order]
            want = np.zeros(vocab, bool)
            want[order[before < sums[b]]] = True
            np.testing.assert_array_equal(kept[b], want, err_msg=f"{row} {sums[b]}")


def test_a_typical_sum_that_equals_p_ends_the_set():
    """Tokens alike in pairs of 1/8 and 1/16: H = 3.25 bits, so that those of 1/8 come first."""
    p = np.array([1 / 8] * 6 + [1 / 16] * 4)
    logits = jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32)), (10, 10))
    sums = np.cumsum(p)
    kept = np.isfinite(Sampling(typical_p=jnp.asarray(sums, jnp.float32))(logits + 3))
    np.testing.assert_array_equal(kept.sum(axis=1), np.arange(1, 11))


def test_a_step_of_half_precision_rounds_as_its_logits_do():
    p = jnp.log(jnp.array([[0.5, 0.3, 0.1, 0.1]]))
    for dtype in (jnp.float32, jnp.bfloat16):
        step = lambda carry, tokens, dtype=dtype: (carry, jnp.repeat(p, 500, 0).astype(dtype))
        bos = jnp.zeros(500, jnp.int32)
        samples = sample(step, (), bos=bos, eos=3, max_len=1, key=KEY, top_p=0.8)
        assert samples.tokens.max() == 1
        each = jnp.array([0.8, 0.81, 0.9, 0.99])[jnp.arange(500) % 4]
        tokens = sample(step, (), bos=bos, eos=3, max_len=1, key=KEY, top_p=each).tokens[:, 0]
        assert [int(tokens[i::4].max()) for i in range(4)] == [1, 2, 2, 3]


@jax.jit
def draw(logits, law):
    how = Sampling(**dict(zip(NAMES, law, strict=True)))
    step = lambda carry, tokens: (carry, logits)
    bos = jnp.zeros(logits.shape[0], jnp.int32)
    return sample(step, (), bos=bos, eos=7, max_len=1, key=KEY, how=how)


def test_frequencies_of_a_hundred_thousand_draws():
    draws = 100_000
    p = np.random.default_rng(1).dirichlet(np.ones(8))
    logits = jnp.broadcast_to(jnp.asarray(np.log(p), jnp.float32), (draws * len(LAWS), 8))
    samples = draw(logits, columns(LAWS, draws))
    tokens = np.asarray(samples.tokens)[:, 0]
    for i, law in enumerate(LAWS):
        mine = slice(i * draws, (i + 1) * draws)
        counts, q = np.bincount(tokens[mine], minlength=8), written_out(p, law)
        assert counts[q == 0].sum() == 0
        if (q > 0).sum() > 1:
            assert stats.chisquare(counts[q > 0], draws * q[q > 0]).pvalue > 1e-4
        np.testing.assert_allclose(samples.log_probs[mine], np.log(p)[tokens[mine]], atol=1e-5)
        log_q = np.log(q[tokens[mine]])
        np.testing.assert_allclose(samples.law_log_probs[mine], log_q, atol=1e-4)


def test_importance_weights_give_the_model_back():
    """E_q[p/q f] = E_p[f] where q covers p: the two log-probabilities are of one draw."""
    p = np.random.default_rng(2).dirichlet(np.ones(8))
    logits = jnp.broadcast_to(jnp.asarray(np.log(p), jnp.float32), (100_000 * len(LAWS), 8))
    samples = draw(logits, columns([(3.0, 8, 1.0, 0.0, 1.0, 0.0, 0.0)], logits.shape[0]))
    weights = np.exp(np.asarray(samples.log_probs - samples.law_log_probs, np.float64))
    hit = weights * (np.asarray(samples.tokens)[:, 0] == np.argmax(p))
    for values, truth in ((weights, 1.0), (hit, p.max())):
        error = values.std() / np.sqrt(values.size)
        assert abs(values.mean() - truth) < 4 * error


def test_arguments_and_the_processor_draw_alike():
    carry = models.random_rows(0, 16, 6)
    how: dict[str, Any] = dict(bos=0, eos=1, max_len=6, key=KEY)
    law: dict[str, Any] = dict(temperature=0.7, top_k=4, top_p=0.9, typical_p=0.8)
    law |= dict(epsilon_cutoff=0.05, eta_cutoff=0.1)
    run = lambda **more: jax.jit(lambda c: sample(models.step, c, **how, **more))(carry)
    asked = run(how=Sampling(**law, min_p=0.05))
    chex.assert_trees_all_close(asked, run(processors=[Sampling(**law, min_p=0.05)]), rtol=1e-5)
    one_by_one = [Sampling(temperature=0.7), Sampling(top_k=4), Sampling(top_p=0.9)]
    one_by_one += [Sampling(min_p=0.05), Sampling(typical_p=0.8)]
    one_by_one += [Sampling(epsilon_cutoff=0.05), Sampling(eta_cutoff=0.1)]
    chex.assert_trees_all_close(asked, run(processors=one_by_one), rtol=1e-5)


def test_truncated_beams_score_what_is_left():
    """With top-k = 1 one sequence is left, the greedy one, of probability 1."""
    carry = models.random_rows(1, 4, 6)
    how: dict[str, Any] = dict(bos=0, eos=1, max_len=5, beam_size=2)
    run = jax.jit(lambda c: beam_search(models.step, c, processors=[Sampling(top_k=1)], **how))
    beams = run(carry)
    np.testing.assert_allclose(beams.log_probs[:, 0], 0, atol=1e-6)
    assert np.all(np.asarray(beams.log_probs)[:, 1] == -np.inf)
    last, step, done = jnp.zeros(4, jnp.int32), jax.jit(models.step), np.zeros(4, bool)
    for n in range(5):
        carry, logits = step(carry, last)
        last = jnp.where(done, 1, jnp.argmax(logits, axis=1)).astype(jnp.int32)
        np.testing.assert_array_equal(beams.tokens[:, 0, n], last)
        done = done | (np.asarray(last) == 1)
    logits = jnp.array([[1.0, 3.0, 3.0], [jnp.nan, 0.0, 0.0]])
    cold = Sampling(temperature=0.0)(logits)
    np.testing.assert_array_equal(cold, [[-np.inf, 0.0, -np.inf], [np.nan, -np.inf, -np.inf]])
    subnormal = jnp.full(1, 1e-38)  # as 0, on a device that flushes it and on one that does not
    np.testing.assert_array_equal(Sampling(temperature=subnormal)(logits[:1]), cold[:1])
    for same in (1e-45, 1e-30, 1.2e-38, jnp.zeros(2), jnp.full(2, 1e-38)):
        law = jax.nn.softmax(Sampling(temperature=same)(10 * logits[:, :2])[0])
        np.testing.assert_array_equal(law, [0.0, 1.0])
    with jax.debug_nans(True):  # nothing is divided by a temperature of 0
        Sampling(temperature=jnp.zeros(1))(logits[:1])


def test_settings_are_checked_where_they_are_written_or_else_where_they_meet_the_logits():
    table: list[tuple[Any, str]] = [
        (lambda: Sampling(temperature=-1.0), "temperature is -1.0; expected temperature >= 0."),
        (lambda: Sampling(temperature=None), "temperature is None; expected a number"),
        (lambda: Sampling(typical_p=0.0), r"typical_p is 0.0; expected typical_p in \(0, 1\]."),
        (lambda: Sampling(eta_cutoff=1.0), r"eta_cutoff is 1.0; expected eta_cutoff in \[0, 1\)."),
        (lambda: Sampling(epsilon_cutoff=-1), r"epsilon_cutoff is -1; expected .* in \[0, 1\)."),
        (lambda: Sampling(min_keep=0), "min_keep is 0; expected an integer of at least 1."),
        (Sampling(min_keep=4), "min_keep is 4; expected it in 1..3, the vocabulary size."),
        (Sampling(top_k=4), "top_k is 4; expected top_k in 1..3, the vocabulary size."),
        (Sampling(top_p=np.ones(3)), r"top_p has shape \(3,\); expected a single number or one"),
    ]
    for wrong, message in table:
        with pytest.raises(ValueError, match=message):
            wrong(jnp.zeros((2, 3))) if isinstance(wrong, Sampling) else wrong()
    assert Sampling(top_k=2) == Sampling(top_k=2) != Sampling(top_k=3)
    assert hash(Sampling(top_p=0.5)) == hash(Sampling(top_p=0.5))
    assert eval(repr(Sampling(min_p=0.1))) == Sampling(min_p=0.1)


@pytest.mark.parametrize("decoder", [sample, stream])
def test_settings_are_spelled_out_or_a_spec_but_not_both(decoder):
    how: dict[str, Any] = dict(bos=jnp.array([0]), eos=1, max_len=2, key=KEY)
    step = lambda carry, tokens: (carry, jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match="top_k, min_p and how=Sampling.*; expected one of both"):
        decoder(step, (), how=Sampling(top_p=0.5), top_k=2, min_p=jnp.ones(1), **how)
    with pytest.raises(ValueError, match="how is 0.5; expected a Sampling."):
        decoder(step, (), how=0.5, **how)
    decoder(step, (), how=Sampling(top_p=0.5), temperature=1, top_p=None, **how)
