"""The basic experiments in their pieces: sources, exact bounds, networks, gates."""

import itertools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")


from experiments.foundations.basics import streams
from experiments.foundations.basics.data import (
    XOR_OPTIMUM,
    MarkovSource,
    entropy,
    keyword_rows,
    xor_stream,
)
from experiments.foundations.topologies import experiment as topologies
from experiments.lab.network import Network
from experiments.lab.task import Estimate, estimate

CHAIN = MarkovSource(((0.5, 0.5, 0.0), (0.1, 0.2, 0.7), (0.9, 0.0, 0.1)))


@pytest.mark.parametrize("length", [1, 8, 61])
def test_every_third_bit_is_the_xor_of_the_two_before(length):
    bits = np.array(jax.jit(xor_stream, static_argnums=(1, 2))(jax.random.key(0), 64, length))
    assert bits.shape == (64, length) and set(bits.flat) <= {0, 1}
    for t in range(2, length, 3):
        np.testing.assert_array_equal(bits[:, t], bits[:, t - 1] ^ bits[:, t - 2])
    if length == 61:
        assert 0.45 < bits.mean() < 0.55


def test_xor_optimum_by_enumeration():
    """-log p(next | all before) over every stream of four triples, each equally likely."""
    coins = np.array(list(itertools.product((0, 1), repeat=8)))
    a, b = coins[:, ::2], coins[:, 1::2]
    all_streams = np.stack([a, b, a ^ b], axis=2).reshape(-1, 12)
    blocks = [
        entropy(np.array(list(Counter(map(tuple, all_streams[:, :t])).values())) / 256)
        for t in range(13)
    ]
    each = np.diff(blocks)
    np.testing.assert_allclose(each.mean(), XOR_OPTIMUM)
    np.testing.assert_allclose(each[2::3], 0, atol=1e-12)
    np.testing.assert_allclose(XOR_OPTIMUM, 0.46210, atol=1e-5)


def test_entropy_rate_by_enumeration():
    """The entropy of a block of n + 1 symbols less that of n."""
    p, pi = np.array(CHAIN.transition), CHAIN.stationary
    np.testing.assert_allclose(np.linalg.matrix_power(p, 200)[0], pi)

    def block(length):
        words = itertools.product(range(3), repeat=length)
        chance = lambda word: math.prod(p[i, j] for i, j in itertools.pairwise(word))
        return entropy([pi[word[0]] * chance(word) for word in words])

    np.testing.assert_allclose(block(5) - block(4), CHAIN.entropy_rate)
    np.testing.assert_allclose(block(1), CHAIN.unigram_entropy)
    coin = MarkovSource(((0.5, 0.5), (0.5, 0.5)))
    np.testing.assert_allclose([coin.entropy_rate, coin.unigram_entropy], math.log(2))


def test_markov_symbols_follow_the_chain():
    symbols = CHAIN.draw(jax.random.key(1), 400, 51)
    table = np.array(symbols)
    counts = np.zeros((3, 3))
    np.add.at(counts, (table[:, :-1], table[:, 1:]), 1)
    found = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, CHAIN.transition, atol=0.02)
    assert (found[np.array(CHAIN.transition) == 0] == 0).all()
    first = np.bincount(table[:, 0], minlength=3) / 400
    np.testing.assert_allclose(first, CHAIN.stationary, atol=0.1)
    losses = CHAIN.losses(symbols)
    i, j = table[7, 3], table[7, 4]
    np.testing.assert_allclose(losses[7, 3], -math.log(CHAIN.transition[i][j]), rtol=1e-6)
    mean, error = estimate(losses)
    assert abs(float(mean) - CHAIN.entropy_rate) < 5 * float(error)


@pytest.mark.parametrize("places", [(0, 9), (20, 29)])
def test_keyword_rows_by_search(places):
    draw = jax.jit(lambda key: keyword_rows(key, 500, places, 32, 16))
    tokens, labels = map(np.array, draw(jax.random.key(2)))
    for row, label in zip(tokens.tolist(), labels, strict=True):
        found = [t for t in range(30) if row[t : t + 3] == [0, 1, 2]]
        assert len(found) == label
        begins = [t for t in range(30) if sorted(row[t : t + 3]) == [0, 1, 2]]
        assert all(places[0] <= begin <= places[1] for begin in begins)
        assert sum(token < 3 for token in row) == 3 * len(begins)
    holds = np.any(tokens < 3, axis=1)
    assert 0.4 < labels.mean() < 0.6 and 0.65 < holds.mean() < 0.85


def test_baselines_by_counting():
    task = streams.markov(CHAIN)
    assert task.optimum["nats/symbol"] < task.gate < task.baseline


def test_the_last_logits_are_those_of_each_rows_last_step():
    network = Network(sj.GRU(5), 3, 4)
    params = jax.jit(network.init)(jax.random.key(4))
    tokens, lengths = jnp.array([[0, 1, 2], [2, 1, 0]]), jnp.array([3, 1])
    _, logits = jax.jit(network.unroll)(params, tokens)
    expected = logits[jnp.arange(2), lengths - 1]
    last = jax.jit(network.last)(params, tokens, lengths=lengths)
    np.testing.assert_allclose(last, expected, rtol=1e-5, atol=1e-7)
    carry = network.cell.initial_carry(params["cell"], 2)
    np.testing.assert_allclose(
        network.step(params, carry, tokens[:, 0])[1], logits[:, 0], rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("task", [streams.markov(CHAIN, length=8), topologies.one_to_many()])
def test_a_few_steps_lower_the_loss(task):
    params = jax.jit(task.init)(jax.random.key(6))
    gradient = jax.jit(jax.value_and_grad(task.loss))
    losses = []
    for n in range(30):
        loss, grads = gradient(params, jax.random.key(n))
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
        losses.append(float(loss))
    assert np.mean(losses[-5:]) < losses[0] - 0.02


def test_a_network_that_sees_its_target_is_found_out(monkeypatch):
    """Below the bound by more than chance is a leak; at it, or above, is not."""
    task = streams.temporal_xor("Elman", sj.Elman(4), 2, steps=1)
    monkeypatch.setattr(streams, "TEST_ROWS", 256)
    params = jax.jit(task.init)(jax.random.key(7))
    honest = jax.jit(lambda params, key: task.evaluate(params, key, 0))(params, jax.random.key(8))
    assert not any(task.leaks(name, found) for name, found in honest.items())
    assert not task.leaks("nats/bit", Estimate(XOR_OPTIMUM - 0.004, 0.001))
    assert task.leaks("nats/bit", Estimate(XOR_OPTIMUM - 0.006, 0.001))

    def cheat(network, params, symbols):
        return sj.token_losses(2 * jax.nn.one_hot(symbols[:, 1:], 2), symbols[:, 1:])

    monkeypatch.setattr(streams, "next_symbol_losses", cheat)
    found = jax.jit(lambda params, key: task.evaluate(params, key, 0))(params, jax.random.key(8))
    assert task.leaks("nats/bit", found["nats/bit"])
    assert task.leaks("nats/bit, a", found["nats/bit, a"])


def test_gates():
    rises, falls = topologies.one_to_one(), streams.markov(CHAIN)
    accuracy, nats = (lambda x: {"accuracy": x}), (lambda x: {"nats/symbol": x})
    assert rises.passes(accuracy(1.0)) and not rises.passes(accuracy(0.9))
    assert falls.passes(nats(CHAIN.entropy_rate)) and not falls.passes(nats(CHAIN.unigram_entropy))
    assert not rises.passes(accuracy(math.nan)) and not falls.passes(nats(math.nan))


def test_gates_of_each_phase():
    """The XOR bit is known within 0.05 nats, each coin within 0.02 of log 2 on either side."""
    task = streams.temporal_xor("Elman", sj.Elman(4), 2, steps=1)

    def passes(mean=0.463, xor=0.001, a=0.693, b=0.693):
        return task.passes(
            {"nats/bit": mean, "nats/bit, xor": xor, "nats/bit, a": a, "nats/bit, b": b}
        )

    assert passes() and passes(xor=0.049, a=0.712, b=0.674)
    assert not passes(mean=0.481)
    assert not passes(xor=0.051) and not passes(xor=math.nan)
    for coin in (0.714, 0.672, math.nan):
        assert not passes(a=coin) and not passes(b=coin)
