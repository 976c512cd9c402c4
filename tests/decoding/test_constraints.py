"""Constraints by enumeration: what may come next is asked of `re`, and the law is written out."""

import functools
import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support.decoding_models import random_rows, step

from seqjax.decoding import (
    Accept,
    Allow,
    AllowByState,
    BeamRules,
    beam_search,
    join_automata,
    keep_accepted,
    regex_automaton,
    sample,
)

PIECES = ["", "a", "b", "ab"]
EOS, V, L, B = 0, 4, 4, 3
PATTERNS = ["(ab)+", "a*b?", "(a|b)*abb?"]  # one a row
JOINT, STARTS = join_automata([regex_automaton(pattern, PIECES) for pattern in PATTERNS])


@functools.cache
def spelled(pattern, length):
    """The token sequences of at most `length` tokens whose text matches."""
    found = (row for n in range(length + 1) for row in itertools.product(range(1, V), repeat=n))
    return {row for row in found if re.fullmatch(pattern, "".join(PIECES[t] for t in row))}


def may_follow(pattern, prefix, limit):
    """Bools [V]: which tokens lead to a match of at most `limit` tokens, and whether eos may."""
    found = begins(pattern, limit)
    allowed = [(*prefix, token) in found for token in range(V)]
    allowed[EOS] = prefix in spelled(pattern, limit)
    return np.array(allowed)


@functools.cache
def begins(pattern, limit):
    return {row[:n] for row in spelled(pattern, limit) for n in range(len(row) + 1)}


@pytest.fixture(scope="module")
def model():
    """A random model a row, and its log-probabilities after every prefix."""
    carry, bos = random_rows(3, B, V), np.array([0, 1, 3], np.int32)
    run = jax.jit(step)
    after: list[dict] = [{} for _ in range(B)]
    level = {(): (carry, jnp.asarray(bos))}
    for length in range(L):
        deeper = {}
        for prefix, (state, last) in level.items():
            state, logits = run(state, last)
            for b in range(B):
                after[b][prefix] = np.asarray(logits[b], np.float64)
            if length < L - 1:
                for token in range(1, V):
                    deeper[(*prefix, token)] = (state, jnp.full(B, token, jnp.int32))
        level = deeper
    return carry, jnp.asarray(bos), after


def local_law(logits, allowed):
    """Every sequence that can be written, and its log-probability: {tokens [L]: nats}.

    logits maps prefixes to [V]; allowed(prefix) gives bools [V]. An empty set leaves eos.
    """
    law, level = {}, {(): 0.0}
    for length in range(L):
        deeper = {}
        for prefix, total in level.items():
            may = allowed(prefix)
            may = may if may.any() else np.arange(V) == EOS
            masked = np.where(may, logits[prefix], -np.inf)
            if masked.max() == -np.inf:
                masked[EOS] = 0
            log_probs = masked - np.logaddexp.reduce(masked)
            for token in np.flatnonzero(log_probs > -np.inf):
                whole = token == EOS or length == L - 1
                place, key = (law, (*prefix, token)) if whole else (deeper, (*prefix, token))
                place[tuple(map(int, key))] = total + log_probs[token]
        level = deeper
    return {(*key, *[EOS] * (L - len(key))): (value, len(key)) for key, value in law.items()}


WIDE = V ** (L - 1)


@functools.partial(jax.jit, static_argnames="limit")
def search(carry, bos, start, limit):
    constraint = Accept(JOINT, eos=EOS, max_len=limit, start=start)
    return beam_search(
        step, carry, bos=bos, eos=EOS, beam_size=WIDE, max_len=L, processors=[constraint]
    )


@jax.jit
def draw(carry, bos, key, start):
    constraint = Accept(JOINT, eos=EOS, max_len=L, start=start)
    return sample(step, carry, bos=bos, eos=EOS, max_len=L, key=key, processors=[constraint])


def assert_is_the_law(beams, b, law):
    """The beam of row b is what can be written, or the best of it, best first."""
    best = sorted(law.items(), key=lambda item: -item[1][0])[:WIDE]
    n = len(best)
    np.testing.assert_allclose(beams.log_probs[b, :n], [p for _, (p, _) in best], atol=3e-5)
    assert (np.asarray(beams.log_probs[b, n:]) == -np.inf).all()
    assert (np.asarray(beams.lengths[b, n:]) == 0).all()
    found = np.asarray(beams.tokens[b, :n]).tolist()
    assert len({tuple(tokens) for tokens in found}) == n
    for tokens, length, log_prob in zip(
        found, np.asarray(beams.lengths[b]).tolist(), beams.log_probs[b], strict=False
    ):
        assert law[tuple(tokens)][1] == length  # a violation is no key
        np.testing.assert_allclose(log_prob, law[tuple(tokens)][0], atol=3e-5)


@pytest.mark.parametrize("limit", [None, L])
def test_a_wide_beam_holds_the_best_of_all_that_is_accepted(model, limit):
    """Each row follows an automaton of its own."""
    carry, bos, after = model
    beams = search(carry, bos, jnp.asarray(STARTS), limit)
    for b, pattern in enumerate(PATTERNS):
        law = local_law(after[b], lambda prefix, p=pattern: may_follow(p, prefix, limit or L + 3))
        assert_is_the_law(beams, b, law)
        np.testing.assert_allclose(sum(np.exp(p) for p, _ in law.values()), 1, rtol=1e-9)
        if limit:  # nothing is cut off before it is complete
            texts = ["".join(PIECES[token] for token in tokens) for tokens in law]
            assert all(re.fullmatch(pattern, text) for text in texts)


def test_samples_follow_the_local_law_and_never_violate(model):
    carry, bos, after = model
    pattern, draws = "(a|b)*abb?", 3000
    rows = jax.tree.map(lambda leaf: jnp.repeat(leaf[1:2], draws, axis=0), (carry, bos))
    samples = draw(*rows, jax.random.key(0), jnp.full(draws, STARTS[2]))
    law = local_law(after[1], lambda prefix: may_follow(pattern, prefix, L))
    counts = dict.fromkeys(law, 0)
    for tokens in np.asarray(samples.tokens).tolist():
        counts[tuple(tokens)] += 1  # a violation is no key
    expected = draws * np.exp([p for p, _ in law.values()])
    big = expected > 5
    seen = np.array(list(counts.values()))
    statistic = np.sum((seen - expected)[big] ** 2 / expected[big])
    assert big.sum() > 5 and stats.chi2.sf(statistic, big.sum() - 1) > 1e-3
    # log_probs are the model's own, before the constraint
    free = local_law(after[1], lambda prefix: np.ones(V, bool))
    wanted = [free[tuple(tokens)][0] for tokens in np.asarray(samples.tokens).tolist()]
    np.testing.assert_allclose(samples.log_probs, wanted, atol=2e-5)


@pytest.fixture(scope="module")
def from_anywhere():
    """A search and a draw that start at traced states."""
    automaton = regex_automaton("(ab){2,3}", ["", "a", "b", "-"])

    @jax.jit
    def run(carry, bos, start):
        constraint = Accept(automaton, eos=EOS, max_len=L, start=start)
        how: dict[str, Any] = dict(bos=bos, eos=EOS, max_len=L, processors=[constraint])
        beams = beam_search(step, carry, beam_size=3, **how)
        samples = sample(step, carry, key=jax.random.key(1), **how)
        keep = lambda results: keep_accepted(results, automaton, eos=EOS, start=start)
        return keep(beams), keep(samples)

    return automaton, run


def test_what_is_impossible_is_reported_and_goes_no_further(model, from_anywhere):
    """Row 0 is in no state, row 1 needs more tokens than there are: both are blank."""
    carry, bos, _ = model
    automaton, run = from_anywhere
    begun = automaton.read(jnp.array([[3, 1], [0, 0], [1, 2]]), jnp.array([2, 0, 2]))
    assert begun.tolist()[0] == -1 and automaton.distances[begun[1]] == L
    short = jnp.where(jnp.arange(B) == 1, automaton.read(jnp.array([1]), jnp.array(1)), begun)
    for start, blank in ((begun, [True, False, False]), (short, [True, False, False])):
        beams, samples = run(carry, bos, start)
        assert (np.asarray(beams.log_probs[:, 0]) == -np.inf).tolist() == blank
        assert (np.asarray(samples.log_probs) == -np.inf).tolist() == blank
        assert (np.asarray(samples.lengths) == 0).tolist() == blank
        assert (np.asarray(beams.tokens[0]) == EOS).all() and (beams.lengths[0] == 0).all()
        assert (np.asarray(beams.scores[0]) == -np.inf).all()
    texts = {"".join(["", "a", "b", "-"][t] for t in row) for row in np.asarray(beams.tokens[2])}
    assert texts <= {"ab", "abab", ""} and "ab" in texts


def test_a_nan_or_an_infinity_in_one_row_reaches_no_other(model, from_anywhere):
    carry, bos, _ = model
    automaton, run = from_anywhere
    start = jnp.zeros(B, jnp.int32)
    clean = run(carry, bos, start)
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        embed, *rest = carry["params"]
        spoilt = {**carry, "params": (embed.at[0].set(bad), *rest)}
        for got, wanted in zip(
            jax.tree.leaves(run(spoilt, bos, start)), jax.tree.leaves(clean), strict=True
        ):
            np.testing.assert_array_equal(got[1:], wanted[1:])


def test_without_renormalising_the_model_ranks_what_is_accepted(model):
    """Log-probabilities of the model's own, and normalise=False: the best of all accepted."""
    carry, bos, after = model

    def own(carry, tokens):
        carry, logits = step(carry, tokens)
        return carry, jax.nn.log_softmax(logits)

    constraint = Accept(JOINT, eos=EOS, max_len=L, start=jnp.asarray(STARTS))
    how: dict[str, Any] = dict(bos=bos, eos=EOS, beam_size=WIDE, max_len=L)
    how |= dict(processors=[constraint], rules=BeamRules(normalise=False))
    beams = jax.jit(lambda: beam_search(own, carry, **how))()
    for b, pattern in enumerate(PATTERNS):
        free = local_law(after[b], lambda prefix: np.ones(V, bool))
        law = local_law(after[b], lambda prefix, p=pattern: may_follow(p, prefix, L))
        assert_is_the_law(beams, b, {tokens: free[tokens] for tokens in law})


def rising(tokens, length):
    """Tokens above the last one; after 3 nothing is left."""
    last = jnp.where(length > 0, tokens[:, jnp.maximum(length - 1, 0)], 0)
    return jnp.arange(V) > last[:, None]


def distinct_up_to_one():
    """Tokens that have not come, until 1 has; then nothing is left."""
    return AllowByState(
        lambda batch_size: jnp.zeros((batch_size, V), bool),
        lambda seen: ~seen & ~seen[:, 1:2] & (jnp.arange(V) != EOS),
        lambda seen, tokens: seen.at[jnp.arange(tokens.size), tokens].set(True),
    )


def rises(prefix):
    return np.arange(V) > (prefix[-1] if prefix else 0)


def unseen(prefix):
    return np.array([token not in (EOS, *prefix) and 1 not in prefix for token in range(V)])


@pytest.mark.parametrize("which", [0, 1])
def test_a_function_may_allow_tokens_and_an_empty_set_leaves_eos(model, which):
    carry, bos, after = model
    constraint, allowed = ((Allow(rising), rises), (distinct_up_to_one(), unseen))[which]
    how: dict[str, Any] = dict(bos=bos, eos=EOS, beam_size=WIDE, max_len=L)
    beams = jax.jit(lambda: beam_search(step, carry, processors=[constraint], **how))()
    for b in range(B):
        law = local_law(after[b], allowed)
        assert any(length < L for _, length in law.values())  # the empty set was met
        assert_is_the_law(beams, b, law)
