"""The neural cache against a NumPy loop, over time and in decoding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.decoding import CacheInput, NeuralCache, NeuralCacheCarry

B, T, H, V = 3, 14, 4, 5
RNG = np.random.default_rng(0)
XS = CacheInput(
    RNG.integers(0, V, (B, T)).astype(np.int32),
    RNG.normal(size=(B, T, H)).astype(np.float32),
    RNG.normal(size=(B, T, V)).astype(np.float32),
)
MASK, RESET = RNG.random((B, T)) < 0.8, RNG.random((B, T)) < 0.15


def softmax(a):
    e = np.exp(a - a.max())
    return e / e.sum()


def by_loop(xs, size, weight, sharpness, mask, reset):
    """Grave, Joulin and Usunier 2017, in float64; NaN at masked steps."""
    out = np.full((B, T, V), np.nan)
    for b in range(B):
        states, followers, last = [], [], None
        for t in range(T):
            if reset[b, t]:
                states, followers, last = [], [], None
            if not mask[b, t]:
                continue
            token, h = xs.tokens[b, t], xs.hidden[b, t].astype(np.float64)
            if last is not None:
                states, followers = (states + [last])[-size:], (followers + [token])[-size:]
            p = softmax(xs.logits[b, t].astype(np.float64))
            if states:
                cache = np.zeros(V)
                np.add.at(cache, followers, softmax(sharpness * np.array(states) @ h))
                p = (1 - weight) * p + weight * cache
            out[b, t], last = p, h
    return out


@functools.partial(jax.jit, static_argnums=1)
def over_time(xs, size, weight, sharpness, mask=None, reset=None):
    cache = NeuralCache(size, weight, sharpness)
    return sj.scan(cache.step, cache.initial_carry(B, H), xs, mask=mask, reset=reset)


F = jnp.float32
ALL, NONE = np.ones((B, T), bool), np.zeros((B, T), bool)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_probabilities_are_those_of_a_loop(size):
    dirty = XS._replace(
        hidden=np.where(MASK[..., None], XS.hidden, np.nan),
        logits=np.where(MASK[..., None], XS.logits, np.nan),
    )
    _, found = over_time(dirty, size, F(0.3), F(0.7), MASK, RESET)
    expected = by_loop(XS, size, 0.3, 0.7, MASK, RESET)
    np.testing.assert_allclose(np.exp(found)[MASK], expected[MASK], rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(np.exp(found)[MASK].sum(-1), 1, rtol=1e-5)
    assert (np.asarray(found)[~MASK] == 0).all()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_ends_of_the_mixture(weight):
    """At 0 the model, to the bit; at 1 the cache alone, where there is one."""
    _, found = over_time(XS, 50, F(weight), F(0.7), ALL, NONE)
    model = jax.jit(jax.nn.log_softmax)(XS.logits)
    np.testing.assert_array_equal(found[:, 0], model[:, 0])
    if weight == 0:
        np.testing.assert_array_equal(found, model)
    else:
        expected = by_loop(XS, 50, 1.0, 0.7, ALL, NONE)
        np.testing.assert_allclose(np.exp(found), expected, rtol=2e-5, atol=1e-7)
        assert np.isneginf(found).any() and not np.isnan(found).any()


def test_sharpness_0_counts_and_a_large_one_finds_the_likest():
    _, found = over_time(XS, 50, F(1), F(0), ALL, NONE)
    seen = np.stack([np.bincount(row[1:], minlength=V) for row in XS.tokens]) / (T - 1)
    np.testing.assert_allclose(np.exp(found[:, -1]), seen, rtol=1e-5, atol=1e-7)
    _, found = over_time(XS, 50, F(1), F(1e4), ALL, NONE)
    best = [np.argmax(XS.hidden[b, :-1] @ XS.hidden[b, -1]) for b in range(B)]
    likest = [XS.tokens[b, i + 1] for b, i in enumerate(best)]
    np.testing.assert_allclose(np.exp(found[:, -1])[range(B), likest], 1, rtol=1e-5)


def test_gradients_are_finite_and_right():
    """That of λ by differences in float64; of all others no NaN, though log 0 was near."""
    targets = np.roll(XS.tokens, -1, axis=1)
    pick = lambda log_probs: jnp.take_along_axis(log_probs, targets[..., None], axis=-1).mean()

    @jax.jit
    def slopes(weight, sharpness, xs):
        score = lambda w, s, xs: pick(over_time(xs, 50, w, s, ALL, NONE)[1])
        return jax.grad(score, argnums=(0, 1, 2), allow_int=True)(weight, sharpness, xs)

    by_weight, by_sharpness, by_xs = slopes(F(0.3), F(0.7), XS)

    def score(weight, sharpness):
        p = by_loop(XS, 50, weight, sharpness, ALL, NONE)
        return np.take_along_axis(np.log(p), targets[..., None], axis=-1).mean()

    e = 1e-6
    np.testing.assert_allclose(
        by_weight, (score(0.3 + e, 0.7) - score(0.3 - e, 0.7)) / 2 / e, rtol=1e-4
    )
    np.testing.assert_allclose(
        by_sharpness, (score(0.3, 0.7 + e) - score(0.3, 0.7 - e)) / 2 / e, rtol=1e-3
    )
    assert np.isfinite(by_xs.hidden).all() and np.isfinite(by_xs.logits).all()


def test_a_token_outside_of_the_vocabulary_predicts_nothing():
    tokens = XS.tokens.copy()
    tokens[:, 3:6] = [[-1, V, 2**31 - 1]]
    _, found = over_time(XS._replace(tokens=tokens), 50, F(1), F(0), ALL, NONE)
    rest = np.delete(tokens, [0, 3, 4, 5], axis=1)
    seen = np.stack([np.bincount(row, minlength=V) for row in rest]) / (T - 4)
    np.testing.assert_allclose(np.exp(found[:, -1]), seen, rtol=1e-5, atol=1e-7)


def test_in_decoding_it_predicts_what_it_does_over_time():
    """Greedy tokens of `sample`, scored again by `scan` over the whole."""
    cell = sj.GRU(H)
    params = cell.init(jax.random.key(0), V)
    out = jax.random.normal(jax.random.key(1), (H, V))
    cache = NeuralCache(4, 0.5, 2.0)

    def step(carry, tokens):
        model, past = carry
        model, hidden = cell.step(params, model, jax.nn.one_hot(tokens, V))
        past, log_probs = cache.step(past, CacheInput(tokens, hidden, hidden @ out))
        return (model, past), log_probs

    start = cell.initial_carry(params, B), cache.initial_carry(B, H)
    bos = jnp.arange(B)
    found = sj.sample(step, start, bos=bos, eos=V - 1, max_len=9, key=jax.random.key(2))
    inputs = jnp.concatenate([bos[:, None], found.tokens[:, :-1]], axis=1)
    mask = jnp.arange(9) < found.lengths[:, None]
    again = sj.scan(step, start, inputs, mask=mask)[1]
    chosen = jnp.take_along_axis(again, found.tokens[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(jnp.where(mask, chosen, 0).sum(1), found.log_probs, rtol=1e-4)
    beams = sj.beam_search(step, start, bos=bos, eos=V - 1, beam_size=2, max_len=4)
    assert beams.log_probs.shape == (B, 2) and (beams.log_probs <= 0).all()


def test_half_precision_is_scored_in_float32():
    cache = NeuralCache(3, 0.5, 1.0)
    carry = cache.initial_carry(2, H, jnp.bfloat16)
    x = CacheInput(
        jnp.zeros(2, int), jnp.ones((2, H), jnp.bfloat16), jnp.zeros((2, V), jnp.bfloat16)
    )
    carry, log_probs = cache.step(*[(carry), x])
    assert log_probs.dtype == jnp.float32 and carry.hidden.dtype == jnp.bfloat16
    assert isinstance(carry, NeuralCacheCarry)


CACHE = NeuralCache(3, 0.5, 1.0)
CARRY = CACHE.initial_carry(B, H)
X = CacheInput(jnp.zeros(B, int), jnp.zeros((B, H)), jnp.zeros((B, V)))
BAD = {
    "size": (lambda: NeuralCache(0, 0.5, 1.0), "size is 0; expected an integer of at least 1."),
    "weight": (lambda: NeuralCache(3, 1.5, 1.0), "weight is 1.5; expected a number in [0, 1]."),
    "weight NaN": (lambda: NeuralCache(3, float("nan"), 1.0), "weight is nan; expected a finite"),
    "sharpness": (
        lambda: NeuralCache(3, 0.5, -1),
        "sharpness is -1.0; expected a number at least 0",
    ),
    "weights": (lambda: NeuralCache(3, jnp.ones(2), 1), "weight has shape (2,); expected one"),
    "hidden_size": (lambda: CACHE.initial_carry(2, 0), "hidden_size is 0; expected"),
    "tokens": (
        lambda: CACHE.step(CARRY, X._replace(tokens=jnp.zeros(B))),
        "x.tokens is float32[3]",
    ),
    "logits": (
        lambda: CACHE.step(CARRY, X._replace(logits=jnp.zeros((2, V)))),
        "x.logits is float32[2, 5]; expected floats [B, V], B = 3",
    ),
    "hidden": (
        lambda: CACHE.step(CARRY, X._replace(hidden=jnp.zeros((B, 7)))),
        "x.hidden is float32[3, 7] but the carry was made for float32[3, 4]",
    ),
    "carry": (
        lambda: NeuralCache(4, 0.5, 1.0).step(CARRY, X),
        "carry remembers 3 states but size is 4",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_say_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)


def test_spec_is_a_value():
    assert NeuralCache(3, 0.5, 1) == CACHE and hash(NeuralCache(3, 0.5, 1)) == hash(CACHE)
    assert eval(repr(CACHE)) == CACHE
