"""sequential_monte_carlo against enumeration: Z, laws, weights, genealogy, and its contract."""

import functools
import re
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support import decoding_models as models

from seqjax.decoding import (
    Accept,
    Infill,
    regex_automaton,
    residual_resampling,
    sequential_monte_carlo,
    stratified_resampling,
    systematic_resampling,
)

EOS, VOCAB, LENGTH, RUNS = 1, 3, 4, 2_000
KEY = jax.random.key(4)
TABLE = np.random.default_rng(3).normal(size=(LENGTH, VOCAB, VOCAB)).astype(np.float32) * 1.5


@dataclass(frozen=True)
class Observed:
    """A potential with a state: log G depends on the place, the last token and this one."""

    scale: float = 1.0

    def initial_state(self, batch_size):
        return {"t": jnp.zeros(batch_size, jnp.int32), "last": jnp.zeros(batch_size, jnp.int32)}

    def __call__(self, state, logits):
        return logits + self.scale * jnp.asarray(TABLE)[state["t"], state["last"]]

    def update(self, state, tokens):
        return {"t": jnp.minimum(state["t"] + 1, LENGTH - 1), "last": tokens}


def log_potential(tokens, lengths):
    """Σₜ log Gₜ of `Observed` for every sequence [M, L], up to its length."""
    last = np.concatenate([np.zeros((len(tokens), 1), int), tokens[:, :-1]], axis=1)
    return models.sum_to(TABLE[np.arange(tokens.shape[1]), last, tokens], lengths)


@functools.lru_cache
def target():
    """A model as one row, its sequences, and log γ of each."""
    one = models.random_rows(0, 1, VOCAB)
    tokens, lengths, log_probs = models.hypotheses(
        models.step, one, np.zeros(1, np.int32), VOCAB, LENGTH, EOS
    )
    return one, tokens, log_probs[0] + log_potential(tokens, lengths)


def index_of(particles, tokens):
    """Where particles stand in the sorted list of all sequences; anywhere without a weight."""
    digits = VOCAB ** np.arange(tokens.shape[1])[::-1]
    index = np.searchsorted(tokens @ digits, np.asarray(particles.tokens) @ digits)
    index = np.minimum(index, len(tokens) - 1)
    right = np.all(tokens[index] == particles.tokens, axis=-1)
    assert np.all(right | np.isneginf(particles.log_weights))
    return index


@functools.partial(jax.jit, static_argnames=("size", "scheme", "plan", "runs"))
def estimate(threshold, size=8, scheme=systematic_resampling, plan="model", runs=RUNS):
    """Many independent runs of one target, a row each."""
    plans: dict[str, dict[str, Any]] = {
        "model": dict(proposal=()),
        "twisted": dict(twists=[Observed(-0.7)]),  # any guess will do
        "other": dict(proposal=[Observed(0.5)]),
    }
    rows = jax.tree.map(lambda x: jnp.repeat(x, runs, axis=0), target()[0])
    how: dict[str, Any] = dict(bos=0, eos=EOS, num_particles=size, max_len=LENGTH, key=KEY)
    how |= dict(threshold=threshold, resample=scheme, potentials=[Observed()])
    return sequential_monte_carlo(models.step, rows, **how, **plans[plan])


PLANS = [
    ("model", systematic_resampling),
    ("twisted", residual_resampling),
    ("other", stratified_resampling),
]


@pytest.mark.parametrize(("plan", "scheme"), PLANS)
def test_estimates_are_unbiased(plan, scheme):
    """E[Ẑ] = Z, and of any function, within three standard errors; with and without resampling."""
    _, tokens, log_gamma = target()
    gamma = np.exp(log_gamma)
    reward = np.random.default_rng(1).normal(size=gamma.size)
    for threshold in (0.0, 0.5, 1.0):
        out = jax.tree.map(np.asarray, estimate(threshold, scheme=scheme, plan=plan))
        assert np.all(np.isfinite(out.log_z))
        weights = np.exp(out.log_weights.astype(np.float64))
        np.testing.assert_allclose(np.log(weights.sum(1)), out.log_z, atol=1e-4)
        index = index_of(out, tokens)
        for values, truth in ((np.ones(gamma.size), gamma.sum()), (reward, gamma @ reward)):
            found = (weights * values[index]).sum(1)
            error = found.std() / np.sqrt(RUNS)
            assert abs(found.mean() - truth) < 3 * error, (threshold, found.mean(), truth)
        moved = np.any(out.ancestors != np.arange(8), axis=2)  # [B, L]
        assert moved.any() == (threshold > 0) and not moved[:, 0].any()


def test_variance_falls_as_one_over_n():
    _, _, log_gamma = target()
    spread = lambda size, runs: np.var(
        np.exp(
            np.asarray(estimate(0.5, size=size, runs=runs).log_z, np.float64)
            - np.log(np.exp(log_gamma).sum())
        )
    )
    few, many = spread(8, RUNS), spread(128, 500)
    assert 16 / 1.7 < few / many < 16 * 1.7


def test_without_potentials_particles_are_samples():
    one, tokens, _ = target()
    rows = jax.tree.map(lambda x: jnp.repeat(x, 100, axis=0), one)
    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=LENGTH)
    out = jax.jit(
        lambda c: sequential_monte_carlo(
            models.step, c, num_particles=64, key=KEY, threshold=1.0, **how
        )
    )(rows)
    out = jax.tree.map(np.asarray, out)
    np.testing.assert_allclose(out.log_weights, -np.log(64), atol=1e-5)
    np.testing.assert_allclose(out.log_z, 0, atol=1e-5)
    np.testing.assert_allclose(out.ess, 64, rtol=1e-5)
    assert np.all(out.ancestors == np.arange(64))  # equal but for rounding: nothing to resample
    counts = np.bincount(index_of(out, tokens).ravel(), minlength=len(tokens))
    log_probs = models.hypotheses(models.step, one, np.zeros(1, np.int32), VOCAB, LENGTH, EOS)[2]
    expected = counts.sum() * np.exp(log_probs[0]) / np.exp(log_probs[0]).sum()
    pool = lambda x: np.append(x[expected >= 5], x[expected < 5].sum())
    assert stats.chisquare(pool(counts), pool(expected)).pvalue > 1e-4


def test_weights_and_sample_sizes_without_resampling():
    _, tokens, log_gamma = target()
    out = jax.tree.map(np.asarray, estimate(0.0, plan="model"))
    index = index_of(out, tokens)
    log_g = log_gamma[index] - out.log_probs
    np.testing.assert_allclose(out.log_weights, log_g - np.log(8), atol=1e-4)
    weights = np.exp(log_g)
    expected = weights.sum(1) ** 2 / (weights**2).sum(1)
    np.testing.assert_allclose(out.ess[:, -1], expected, rtol=1e-3)
    first = np.exp(TABLE[0, 0][out.tokens[:, :, 0]])
    np.testing.assert_allclose(out.ess[:, 0], first.sum(1) ** 2 / (first**2).sum(1), rtol=1e-4)


def test_ancestors_are_the_genealogy():
    """Particles with one ancestor at a step share every token up to there."""
    out = jax.tree.map(np.asarray, estimate(1.0, plan="model"))
    rows = np.arange(RUNS)[:, None]
    lineage = np.broadcast_to(np.arange(8), (RUNS, 8))
    shared = 0
    for t in range(LENGTH - 1, 0, -1):
        lineage = out.ancestors[:, t][rows, lineage]  # at step t - 1
        same = lineage[:, :, None] == lineage[:, None]
        before = out.tokens[:, :, :t]
        equal = np.all(before[:, :, None] == before[:, None], axis=-1)
        assert np.all(equal[same])
        shared += same.sum() - 8 * RUNS
    assert shared > 1000


def test_everything_in_the_carry_is_gathered():
    """After resampling at every step each particle has the log p that its own tokens give it."""
    carry, bos = models.every_kind(2), np.array([0, 2], np.int32)
    how: dict[str, Any] = dict(bos=bos, eos=EOS, num_particles=16, max_len=6, key=KEY)
    how |= dict(threshold=1.0, potentials=[Observed()], processors=[models.NoRepeat()])
    out = jax.jit(lambda c: sequential_monte_carlo(models.history_step, c, **how))(carry)
    assert np.any(np.asarray(out.ancestors) != np.arange(16))
    each = models.token_log_probs(models.history_step, carry, bos, np.asarray(out.tokens))
    lengths = np.asarray(out.lengths)
    np.testing.assert_allclose(out.log_probs, models.sum_to(each, lengths), atol=1e-4)
    tokens, counted = models.end_at(np.asarray(out.tokens), EOS)
    np.testing.assert_array_equal(tokens, out.tokens)
    np.testing.assert_array_equal(counted, lengths)
    repeats = (tokens[..., 1:] == tokens[..., :-1]) & (tokens[..., 1:] != EOS)
    assert not repeats.any()


def test_infilling_is_conditioning():
    """Particles under `Infill` have the law of the model given the template."""
    one, tokens, _ = target()
    template = np.array([[-1, 2, -1, -1], [-1, -1, -1, 0], [2, EOS, -1, -1]], np.int32)
    runs = 700
    rows = jax.tree.map(lambda x: jnp.repeat(x, 3 * runs, axis=0), one)
    repeated = np.repeat(template, runs, axis=0)
    how: dict[str, Any] = dict(bos=0, eos=EOS, num_particles=8, max_len=LENGTH, key=KEY)
    out = jax.jit(
        lambda c, t: sequential_monte_carlo(models.step, c, potentials=[Infill(t, EOS)], **how)
    )(rows, repeated)
    out = jax.tree.map(np.asarray, out)
    log_probs = models.hypotheses(models.step, one, np.zeros(1, np.int32), VOCAB, LENGTH, EOS)[2]
    p, index = np.exp(log_probs[0]), index_of(out, tokens)
    fits = np.all((template[:, None] == -1) | (template[:, None] == tokens), axis=2)  # [3, M]
    for i in range(3):
        part = slice(i * runs, (i + 1) * runs)
        weights = np.exp(out.log_weights[part].astype(np.float64))
        assert np.all(fits[i][index[part]] | (weights == 0))
        for values in (np.ones(p.size), np.random.default_rng(1).normal(size=p.size)):
            found = (weights * values[index[part]]).sum(1)
            error = 3 * found.std() / np.sqrt(runs) + 1e-6  # the last template leaves one sequence
            assert abs(found.mean() - (p * fits[i]) @ values) < error


def test_a_constraint_conditions_the_whole_sequence():
    """Not token by token: the weights account for what the constraint costs."""
    one, tokens, _ = target()
    automaton = regex_automaton("(cc|a)*c", ["a", "", "c"])
    accept = Accept(automaton, eos=EOS, max_len=LENGTH)
    rows = jax.tree.map(lambda x: jnp.repeat(x, RUNS, axis=0), one)
    how: dict[str, Any] = dict(bos=0, eos=EOS, num_particles=8, max_len=LENGTH, key=KEY)
    out = jax.jit(lambda c: sequential_monte_carlo(models.step, c, potentials=[accept], **how))(
        rows
    )
    log_probs = models.hypotheses(models.step, one, np.zeros(1, np.int32), VOCAB, LENGTH, EOS)[2]
    spelled = lambda row: "".join("a c"[token] for token in row).split(" ")[0]
    allowed = np.array([bool(re.fullmatch("(cc|a)*c", spelled(row))) for row in tokens])
    p, index = np.exp(log_probs[0]) * allowed, index_of(out, tokens)
    weights = np.exp(np.asarray(out.log_weights, np.float64))
    assert np.all(allowed[index] | (weights == 0)) and 0.01 < p.sum() < 0.9
    for values in (np.ones(p.size), np.arange(p.size) % 3):
        found = (weights * values[index]).sum(1)
        assert abs(found.mean() - p @ values) < 3 * found.std() / np.sqrt(RUNS)


def test_a_row_depends_on_its_own_key_and_inputs_alone():
    carry, keys = models.random_rows(4, 6, 4), jax.random.split(KEY, 6)
    prompts = [[2], [], [EOS, 0, 3], [3, 3, 3], [0], [2, EOS]]
    lengths = np.array([len(p) for p in prompts], np.int32)
    padded = np.array([p + [77] * (3 - len(p)) for p in prompts], np.int32)
    weigh = lambda log_p, tokens, t: log_p + jnp.array([0.5, 0.0, -2.0, 1.0])

    @jax.jit
    def run(carry, keys, bos, prompt, prompt_lengths):
        how: dict[str, Any] = dict(prompt=prompt, prompt_lengths=prompt_lengths, bos=bos, eos=EOS)
        how |= dict(num_particles=6, max_len=5, key=keys, proposal=(), potentials=[weigh])
        return sequential_monte_carlo(models.step, carry, threshold=0.8, **how)

    zeros = jnp.zeros(6, jnp.int32)
    out = run(carry, keys, zeros, padded, lengths)
    take = lambda tree, index: jax.tree.map(lambda x: x[index], tree)
    order = np.array([3, 0, 5, 2, 2, 1])
    moved = run(take(carry, order), keys[order], zeros, padded[order], lengths[order])
    chex.assert_trees_all_close(moved, take(out, order), rtol=1e-6)
    primed, first = models.prime(models.step, carry, np.zeros(6), prompts)
    none = np.zeros((6, 3), np.int32), np.zeros(6, np.int32)
    chex.assert_trees_all_close(run(primed, keys, jnp.asarray(first), *none), out, rtol=1e-5)
    bad = carry["params"][2].at[1].set(jnp.nan).at[2].set(jnp.inf)
    spoiled = run({**carry, "params": (*carry["params"][:2], bad)}, keys, zeros, padded, lengths)
    others = np.array([0, 3, 4, 5])
    chex.assert_trees_all_equal(take(spoiled, others), take(out, others))
    assert np.isnan(spoiled.log_z[1])
    one_key = run(take(carry, np.zeros(6, int)), KEY, zeros, padded[:1].repeat(6, 0), lengths)
    assert len({row.tobytes() for row in np.asarray(one_key.tokens)}) > 1


@pytest.mark.parametrize("proposal", [None, ()])  # that knows what is forbidden, and that does not
def test_what_cannot_be_has_no_weight(proposal):
    """Row 0 forbids everything at its second step, row 1 goes on with what is left."""
    step = lambda n, tokens: (n, jnp.array([[0.0, -jnp.inf, 0.0, 0.0]] * tokens.shape[0]))

    def forbid(log_p, tokens, t):
        row = jnp.arange(log_p.shape[0]) // 8
        never = (row == 0) & (t == 1)
        some = (tokens[:, 0] == 3) & (t == 1)
        return jnp.where((never | some)[:, None], -jnp.inf, log_p)

    how: dict[str, Any] = dict(bos=0, eos=EOS, num_particles=8, max_len=6, threshold=1.0, key=KEY)
    how |= dict(potentials=[forbid], proposal=proposal)
    out = jax.jit(lambda n: sequential_monte_carlo(step, n, **how))(jnp.arange(2))
    assert np.isneginf(out.log_z[0]) and np.all(np.isneginf(out.log_weights[0]))
    assert np.all(out.ess[0, 1:] == 0) and out.ess[0, 0] > 7.999
    assert np.all(out.lengths[0] == 2)  # nobody goes on
    assert np.isfinite(out.log_z[1]) and np.all(np.isfinite(out.log_weights[1]))
    assert not np.any(out.tokens[1, :, 0] == 3)


def test_ends_with_its_rows_and_several_ends():
    runs = []

    def step(n, tokens):
        jax.debug.callback(lambda: runs.append(0))
        ends = jnp.array([-9.0, 0.0, -9.0, 0.0])
        return n + 1, jnp.where(n[:, None] < 2, jnp.array([0.0, -50.0, 0.0, -50.0]), ends * 9)

    weigh = lambda log_p, tokens, t: log_p + jnp.array([0.0, 0.0, 1.0, 2.0])
    how: dict[str, Any] = dict(potentials=[weigh], proposal=(), max_len=70, key=KEY)
    run = jax.jit(
        lambda n: sequential_monte_carlo(step, n, bos=0, eos=(1, 3), num_particles=5, **how)
    )
    out = run(jnp.array([0, -2]))
    jax.effects_barrier()
    assert out.lengths.tolist() == [[3] * 5, [5] * 5] and len(runs) == 5
    assert set(np.asarray(out.tokens)[:, :, -1].ravel().tolist()) == {1, 3}
    assert np.all(np.asarray(out.tokens)[0, :, 2:] == np.asarray(out.tokens)[0, :, 2:3])
    assert np.all(out.ess[0, 2:] == out.ess[0, 2]) and np.all(out.ess[1, 4:] == out.ess[1, 4])
    assert np.all(out.ess[:, 4] < 4.9)
