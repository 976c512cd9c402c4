"""sample against the enumerated law, and against its own contract."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from support import decoding_models as models

from seqjax.decoding import sample
from seqjax.decoding.processors.truncation import keep_min_p, keep_top_k, keep_top_p

EOS = 1
KEY = jax.random.key(7)


def truncate(log_probs, temperature, top_k, top_p, min_p):
    """The law of one draw, written out for one row of numpy log-probabilities [V]."""
    law = np.exp((log_probs - log_probs.max()) / temperature)
    order = np.argsort(-law, kind="stable")
    law[order[top_k:]] = 0
    law /= law.sum()
    before = np.cumsum(law[order]) - law[order]
    law[order[before >= top_p]] = 0
    law[law < min_p * law.max()] = 0
    return law / law.sum()


def sequence_law(each, vocab, length, settings):
    """Probabilities of every sequence [V^L], given each token's log-probability [V^L, L].

    All of those that agree up to eos are one, the one that is filled with eos.
    """
    tokens = models.every_sequence(vocab, length)
    table = each.reshape(*[vocab] * length, length)
    law = np.ones(len(tokens))
    for i, row in enumerate(tokens):
        for n in range(length):
            if EOS in row[:n]:
                break
            rest = (0,) * (length - n - 1)
            log_probs = np.array([table[(*row[:n], v, *rest, n)] for v in range(vocab)])
            law[i] *= truncate(log_probs, *settings)[row[n]]
    return np.where(np.all(tokens == models.end_at(tokens, EOS)[0], axis=1), law, 0)


@jax.jit
def many(carry, key, temperature, top_k, top_p, min_p):
    law: dict[str, Any] = dict(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    return sample(models.step, carry, bos=0, eos=EOS, max_len=3, key=key, **law)


def test_frequencies_follow_the_law():
    vocab, length, draws = 4, 3, 100_000
    one = models.random_rows(1, 1, vocab, scale=1.0)
    tokens = models.every_sequence(vocab, length)
    each = models.token_log_probs(models.step, one, np.zeros(1, np.int32), tokens[None])[0]
    everything = (1.0, vocab, 1.0, 0.0)  # temperature, top-k, top-p, min-p, a law a fifth of rows
    laws = [everything, (0.6, 4, 1.0, 0.0), (1.7, 2, 1.0, 0.0), (1.0, 4, 0.7, 0.0)]
    laws += [(1.3, 3, 0.8, 0.3)]
    columns = [np.repeat(np.array(c), draws) for c in zip(*laws, strict=True)]
    rows = jax.tree.map(lambda x: jnp.repeat(x, draws * len(laws), axis=0), one)
    samples = many(rows, KEY, *columns)
    index = np.asarray(samples.tokens) @ vocab ** np.arange(length)[::-1]
    for i, settings in enumerate(laws):
        counts = np.bincount(index[i * draws : (i + 1) * draws], minlength=vocab**length)
        law = sequence_law(each, vocab, length, settings)
        np.testing.assert_allclose(law.sum(), 1, rtol=1e-6)
        assert counts[law == 0].sum() == 0
        expected = draws * law[law > 0]
        rare = expected < 5  # pooled, as the chi-square approximation asks
        pool = lambda x, rare=rare: np.append(x[~rare], x[rare].sum())
        observed, expected = pool(counts[law > 0]), pool(expected)
        keep = expected > 0
        assert stats.chisquare(observed[keep], expected[keep]).pvalue > 1e-4


def test_static_and_traced_top_k_draw_alike():
    carry = models.random_rows(2, 8, 6)
    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=6, key=KEY)
    static = jax.jit(lambda: sample(models.step, carry, top_k=3, **how))()
    traced = jax.jit(lambda k: sample(models.step, carry, top_k=k, **how))(jnp.full(8, 3))
    chex.assert_trees_all_close(static, traced, rtol=1e-6)


def test_truncations_break_ties_by_id():
    inf = np.inf
    logits = jnp.array([[0.0, 2.0, 2.0, 2.0], [-inf, 1.0, -inf, -inf]])
    np.testing.assert_array_equal(
        keep_top_k(logits, 2), [[-inf, 2, 2, -inf], [-inf, 1, -inf, -inf]]
    )
    each = keep_top_k(logits, jnp.array([2, 1]))
    np.testing.assert_array_equal(each, [[-inf, 2, 2, -inf], [-inf, 1, -inf, -inf]])
    halves = jnp.log(jnp.array([[0.25, 0.25, 0.25, 0.25]] * 4))
    kept = np.isfinite(keep_top_p(halves, jnp.array([0.0, 1e-6, 0.5, 1.0])))
    np.testing.assert_array_equal(kept, [[1, 0, 0, 0]] * 2 + [[1, 1, 0, 0], [1, 1, 1, 1]])
    kept = np.isfinite(
        keep_min_p(jnp.log(jnp.array([[0.5, 0.3, 0.2]] * 3)), jnp.array([0, 0.5, 1]))
    )
    np.testing.assert_array_equal(kept, [[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    tail = jnp.concatenate([jnp.zeros((1, 1)), jnp.full((1, 99), -30.0)], axis=1)
    assert np.isfinite(keep_top_p(tail, 1.0)).all()  # no tail is lost to a rounded sum


@jax.jit
def tempered(carry, temperature):
    return sample(
        models.step, carry, bos=0, eos=EOS, max_len=8, key=KEY, temperature=temperature, top_p=0.9
    )


def test_temperature_zero_is_argmax_in_its_own_rows():
    carry = models.random_rows(3, 12, 6)
    greedy = sample(models.step, carry, bos=0, eos=EOS, max_len=8, key=KEY, temperature=0.0)
    last, state, done = jnp.zeros(12, jnp.int32), carry, np.zeros(12, bool)
    for n in range(8):
        state, logits = models.step(state, last)
        last = jnp.where(done, EOS, jnp.argmax(logits, axis=-1)).astype(jnp.int32)
        np.testing.assert_array_equal(greedy.tokens[:, n], last)
        done = done | (np.asarray(last) == EOS)
    for tiny in (0.0, 1e-45, 1e-38, 1e-30, 1e-6):
        chex.assert_trees_all_close(greedy, tempered(carry, jnp.full(12, tiny)), rtol=1e-6)
    cold = np.arange(12) % 2 == 0
    mixed = tempered(carry, jnp.where(cold, 0.0, 1.5))
    warm = tempered(carry, jnp.full(12, 1.5))
    for b in range(12):
        same = jax.tree.map(lambda x, b=b: x[b], greedy if cold[b] else warm)
        chex.assert_trees_all_close(jax.tree.map(lambda x, b=b: x[b], mixed), same, rtol=1e-6)
    assert not np.array_equal(warm.tokens, greedy.tokens)


def test_ties_go_to_the_lowest_id():
    step = lambda carry, tokens: (carry, jnp.array([[-1.0, -0.0, 0.0, -0.0]] * 2))
    how: dict[str, Any] = dict(bos=jnp.array([0, 0]), eos=3, max_len=2, key=KEY)
    each: list[dict[str, Any]] = [dict(temperature=0.0), dict(top_k=1), dict(top_p=1e-3)]
    for settings in each:
        assert sample(step, (), **how, **settings).tokens.tolist() == [[1, 1], [1, 1]]


def test_a_row_depends_on_its_own_key_and_inputs_alone():
    carry, keys = models.random_rows(4, 8, 6), jax.random.split(KEY, 8)
    prompts = [[2], [], [EOS, 0, 3], [4, 4, 4, 4], [0], [], [5, EOS], [3, 2, 1]]
    lengths = np.array([len(p) for p in prompts], np.int32)
    padded = np.array([p + [77] * (4 - len(p)) for p in prompts], np.int32)

    def run(carry, keys, padded, lengths, max_len=6):
        how: dict[str, Any] = dict(prompt=padded, prompt_lengths=lengths, max_len=max_len)
        return sample(models.step, carry, bos=0, eos=EOS, key=keys, **how)

    jitted = jax.jit(run, static_argnames="max_len")
    samples = jitted(carry, keys, padded, lengths)
    take = lambda tree, index: jax.tree.map(lambda x: x[index], tree)
    order = np.array([3, 0, 7, 6, 1, 2, 5, 4])
    permuted = jitted(take(carry, order), keys[order], padded[order], lengths[order])
    chex.assert_trees_all_close(permuted, take(samples, order), rtol=1e-6)
    three = np.array([2, 1, 3])  # among other batch mates, in another place
    chex.assert_trees_all_close(
        jitted(take(carry, three), keys[three], padded[three], lengths[three]),
        take(samples, three),
        rtol=1e-6,
    )
    wider = np.concatenate([padded, np.full((8, 3), -9, np.int32)], axis=1)
    longer = jitted(carry, keys, wider, lengths, max_len=9)
    np.testing.assert_array_equal(longer.tokens[:, :6], samples.tokens)
    ended = np.asarray(samples.tokens)[:, -1] == EOS
    assert 0 < ended.sum() < 8
    chex.assert_trees_all_close(take(longer[1:], ended), take(samples[1:], ended), rtol=1e-6)
    assert np.all(np.asarray(longer.tokens)[ended, 6:] == EOS)

    primed, first = models.prime(models.step, carry, np.zeros(8), prompts)
    by_hand = sample(models.step, primed, bos=first, eos=EOS, max_len=6, key=keys)
    chex.assert_trees_all_close(samples, by_hand, rtol=1e-6)


def test_priming_conditions_on_the_whole_prompt():
    """log p(prompt + continuation) - log p(prompt) is what is reported."""
    carry = models.random_rows(5, 6, 5)
    prompt = np.array([[2, 0, EOS, 3]] * 6, np.int32)
    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=5, key=KEY, top_k=3, temperature=1.4)
    ban = lambda logits, tokens, length: logits.at[:, 4].set(-jnp.inf)
    samples = jax.jit(lambda c, p: sample(models.step, c, prompt=p, processors=[ban], **how))(
        carry, prompt
    )
    tokens, lengths = models.end_at(np.asarray(samples.tokens), EOS)
    np.testing.assert_array_equal(tokens, samples.tokens)
    np.testing.assert_array_equal(lengths, samples.lengths)
    assert not np.any(tokens == 4)
    whole = np.concatenate([prompt, tokens], axis=1)[:, None]  # [B, 1, P + L]
    each = models.token_log_probs(models.step, carry, np.zeros(6, np.int32), whole)[:, 0]
    through, before = models.sum_to(each, 4 + lengths), each[:, :4].sum(1)
    np.testing.assert_allclose(samples.log_probs, through - before, atol=1e-5)


def test_rows_with_one_key_draw_apart_and_the_key_matters():
    flat = jnp.zeros((20, 9)).at[:, 8].set(-jnp.inf)
    step = lambda carry, tokens: (carry, flat)
    run = jax.jit(lambda key: sample(step, (), bos=jnp.zeros(20, int), eos=8, max_len=12, key=key))
    tokens = np.asarray(run(KEY).tokens)
    assert len({tuple(row) for row in tokens}) == 20  # rows share neither noise ...
    assert len({tuple(column[:5]) for column in tokens.T[:5]}) == 5  # ... nor do steps
    assert not np.array_equal(tokens, run(jax.random.key(8)).tokens)
    chex.assert_trees_all_equal(run(KEY), run(KEY))


def test_stops_when_every_row_has_ended():
    runs = []

    def step(n, tokens):
        jax.debug.callback(lambda: runs.append(0))
        ends = jnp.where(n[:, None] == 0, jnp.array([0.0, 50.0]), jnp.array([50.0, 0.0]))
        return n - 1, ends

    n = jnp.array([2, 4], jnp.int32)
    run = jax.jit(lambda: sample(step, n, bos=0, eos=1, max_len=90, key=KEY, temperature=0.0))
    samples = run()
    jax.effects_barrier()
    assert samples.lengths.tolist() == [3, 5] and len(runs) == 5


def test_a_row_that_allows_nothing_ends_and_nan_stays_in_its_row():
    carry, dead = models.random_rows(6, 5, 4), -jnp.inf
    clean = tempered(carry, jnp.ones(5))
    out = carry["params"][2]
    out = out.at[1].set(jnp.nan).at[2].set(jnp.inf)
    spoiled = tempered({**carry, "params": (*carry["params"][:2], out)}, jnp.ones(5))
    others = np.array([0, 3, 4])
    chex.assert_trees_all_equal(*jax.tree.map(lambda x: x[others], (clean, spoiled)))
    assert np.isnan(spoiled.log_probs[1])

    step = lambda carry, tokens: (carry, jnp.where(tokens[:, None] == 0, dead, jnp.zeros(3)))
    for temperature in (0.0, 1.0):
        how: dict[str, Any] = dict(
            bos=jnp.array([2, 0]), eos=EOS, max_len=3, key=KEY, temperature=temperature
        )
        samples = sample(step, (), **how, min_p=0.1, top_k=2, top_p=0.5)
        assert samples.tokens[1].tolist() == [EOS] * 3
        assert float(samples.log_probs[1]) == 0
        nothing = lambda logits, tokens, length: jnp.full_like(logits, dead)
        assert sample(step, (), **how, processors=[nothing]).lengths.tolist() == [1, 1]


def test_processors_see_the_tokens_so_far():
    def count_up(logits, tokens, length):
        last = jnp.where(length > 0, tokens[:, jnp.maximum(length - 1, 0)], 0)
        return jnp.where(jnp.arange(5) == last[:, None] + 1, logits, -jnp.inf)

    step = lambda carry, tokens: (carry, carry)
    logits = jax.random.normal(KEY, (2, 5), jnp.bfloat16)  # weighed in float32
    samples = sample(
        step, logits, bos=0, eos=4, max_len=6, key=KEY, processors=[count_up], prompt=[[3], [2]]
    )
    assert samples.tokens.tolist() == [[1, 2, 3, 4, 4, 4]] * 2
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))[:, 1:].sum(1)
    np.testing.assert_allclose(samples.log_probs, log_probs, rtol=1e-5)
    assert samples.log_probs.dtype == jnp.float32


def test_an_improbable_token_keeps_its_log_probability():
    """The logarithm of a softmax in float32 would be -inf."""
    logits = jnp.array([[0.0, -200.0, 5.0]])
    only = lambda logits, tokens, length: logits.at[:, jnp.array([0, 2])].set(-jnp.inf)
    how: dict[str, Any] = dict(bos=jnp.array([0]), eos=1, max_len=2, key=KEY, processors=[only])
    samples = sample(lambda carry, tokens: (carry, logits), (), **how)
    np.testing.assert_allclose(samples.log_probs, -200 - np.log(1 + np.exp(5)), rtol=1e-6)
    assert samples.law_log_probs.tolist() == [0.0]


def test_settings_are_traced_once_and_map():
    carry = models.random_rows(7, 3, 4)
    keys = jax.random.split(KEY, 3)

    def law_of(key, temperature, top_p, min_p, top_k):
        law: dict[str, Any] = dict(temperature=temperature, top_p=top_p, min_p=min_p, top_k=top_k)
        return sample(models.step, carry, bos=0, eos=EOS, max_len=5, key=key, **law)

    run = jax.jit(chex.assert_max_traces(law_of, n=1))
    laws = [(1.0, 1.0, 0.0, 4), (0.5, 0.9, 0.1, 2), (0.0, 0.3, 1.0, 1)]
    loop = [run(key, *law) for key, law in zip(keys, laws, strict=True)]
    columns = [jnp.array(column) for column in zip(*laws, strict=True)]
    mapped = jax.jit(jax.vmap(law_of))(keys, *columns)
    chex.assert_trees_all_close(mapped, jax.tree.map(lambda *x: jnp.stack(x), *loop), rtol=1e-6)


def test_weak_and_float64_carries(x64):
    def step(h, tokens):
        logits = h[:, None] * jnp.array([1.0, -1.0, 2.0], h.dtype)
        return h * 0.5 + 1.0, logits

    weak = jnp.broadcast_to(jnp.asarray(1.0), (2,))  # float64 here, of a weak type
    samples = sample(step, weak, bos=0, eos=EOS, max_len=4, key=KEY, top_p=0.9, min_p=0.1)
    assert samples.log_probs.dtype == jnp.float64
    assert samples.tokens.dtype == samples.lengths.dtype == jnp.int32
