"""The Neural Turing Machine: its addressing step by step, and as a whole, written out in NumPy."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.examples import examples

import seqjax as sj
from seqjax.cells.memory import addressing
from seqjax.cells.memory.ntm import told_heads


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def weighting(*shape, seed=0):
    raw = np.exp(2 * draw(*shape, seed=seed))
    return raw / raw.sum(axis=-1, keepdims=True)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softplus(a):
    return np.log1p(np.exp(a))


def softmax(a):
    raw = np.exp(a - a.max(axis=-1, keepdims=True))
    return raw / raw.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("offset", [-2, -1, 0, 1, 2])
def test_a_one_hot_shift_is_a_roll(offset, x64):
    w = weighting(3, 7)
    shifts = np.broadcast_to(np.eye(5)[offset + 2], (3, 5))
    got = addressing.shift(jnp.asarray(w), jnp.asarray(shifts))
    np.testing.assert_array_equal(got, np.roll(w, offset, axis=-1))


def test_a_shift_is_a_circular_convolution(x64):
    w, s = weighting(6), weighting(3)
    expected = [sum(w[(i - j) % 6] * s[j + 1] for j in (-1, 0, 1)) for i in range(6)]
    np.testing.assert_allclose(addressing.shift(jnp.asarray(w), jnp.asarray(s)), expected)


def test_sharpening_is_a_power_normalised(x64):
    w, powers = weighting(4, 6), np.array([1.0, 2.0, 3.5, 20.0])
    expected = w ** powers[:, None]
    expected /= expected.sum(axis=-1, keepdims=True)
    got = addressing.sharpen(jnp.asarray(w), jnp.asarray(powers))
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_one_hot_weightings_survive_sharpening():
    got = addressing.sharpen(jnp.eye(5), jnp.array([1.0, 1.5, 2.0, 10.0, 1e4]))
    np.testing.assert_allclose(got, np.eye(5), atol=1e-6)


def test_a_closed_gate_stays_where_it_was():
    """g = 0, no shift, γ = 1: the weighting of the step before."""
    before, content = weighting(2, 3, 8).astype(np.float32), weighting(2, 3, 8, seed=1)
    zeros, still = jnp.zeros((2, 3)), jnp.broadcast_to(jnp.array([0.0, 1.0, 0.0]), (2, 3, 3))
    kept = addressing.interpolate(jnp.asarray(content, jnp.float32), jnp.asarray(before), zeros)
    kept = addressing.sharpen(addressing.shift(kept, still), jnp.ones((2, 3)))
    np.testing.assert_allclose(kept, before, atol=1e-6)
    opened = addressing.interpolate(jnp.asarray(content), jnp.asarray(before), zeros + 1)
    np.testing.assert_allclose(opened, content, atol=1e-6)


@pytest.mark.parametrize("slot", [0, 3, 5])
def test_an_exact_key_finds_its_slot(slot):
    memory = jnp.asarray(draw(1, 6, 4), jnp.float32)
    found = addressing.content_weights(memory, memory[:, slot][:, None], jnp.full((1, 1), 1e4))
    np.testing.assert_allclose(found[0, 0], np.eye(6)[slot], atol=1e-6)


def test_content_is_a_softmax_of_cosines(x64):
    memory, keys, strengths = draw(2, 5, 3), draw(2, 4, 3), np.exp(draw(2, 4))
    length = lambda v: np.sqrt((v**2).sum(axis=-1) + 1e-6)
    cosine = np.einsum("bnw,bsw->bns", keys, memory)
    cosine /= length(keys)[..., None] * length(memory)[:, None]
    got = addressing.content_weights(*map(jnp.asarray, (memory, keys, strengths)))
    np.testing.assert_allclose(got, softmax(strengths[..., None] * cosine), rtol=1e-12)


def test_content_of_nothing_is_everywhere_alike():
    zeros = jnp.zeros((1, 4, 3))
    for memory, key in ((zeros, jnp.ones((1, 1, 3))), (jnp.ones((1, 4, 3)), zeros[:, :1])):
        got = addressing.content_weights(memory, key, jnp.full((1, 1), 1e4))
        np.testing.assert_allclose(got, np.full((1, 1, 4), 0.25), atol=1e-6)


def test_erase_one_and_add_writes_exactly():
    memory, add = jnp.asarray(draw(1, 4, 3), jnp.float32), jnp.asarray(draw(1, 1, 3), jnp.float32)
    at = jnp.eye(4)[2][None, None]
    after = addressing.erase_and_add(memory, at, jnp.ones((1, 1, 3)), add)
    np.testing.assert_array_equal(after, memory.at[:, 2].set(add[:, 0]))
    np.testing.assert_array_equal(addressing.read(after, at), add)


def test_all_heads_erase_before_any_adds(x64):
    memory, w = draw(5, 3), weighting(2, 5)
    erase, add = sigmoid(draw(2, 3)), draw(2, 3, seed=1)
    expected = memory.copy()
    for i in range(5):
        for head in range(2):
            expected[i] *= 1 - w[head, i] * erase[head]
        for head in range(2):
            expected[i] += w[head, i] * add[head]
    got = addressing.erase_and_add(*map(jnp.asarray, (memory, w, erase, add)))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


CELL = sj.cells.NTM(sj.Elman(4), slots=6, width=3, read_heads=2, write_heads=2, shift_range=1)


def numpy_ntm(p, xs, initial):
    """One row through `CELL`, slot by slot: outputs, memories and weightings of every step."""
    slots, width, heads = 6, 3, 4
    h, memory, reads = np.zeros(4), np.full((slots, width), initial), np.zeros((2, width))
    w, steps = np.tile(np.eye(slots)[0], (heads, 1)), []
    for x in xs:
        seen = np.concatenate([x, *reads])
        h = np.tanh(seen @ p.controller.w_x + h @ p.controller.w_h + p.controller.b)
        told = h @ p.w + p.b
        sizes = np.cumsum([12, 4, 4, 12, 4, 6])
        keys, beta, gate, shift, gamma, erase, add = np.split(told, sizes)
        keys, shift = np.tanh(keys.reshape(4, 3)), softmax(shift.reshape(4, 3))
        erase, add = sigmoid(erase.reshape(2, 3)), np.tanh(add.reshape(2, 3))
        beta, gate, gamma = softplus(beta), sigmoid(gate), 1 + softplus(gamma)
        for n in range(heads):
            norm = lambda v: np.sqrt(v @ v + 1e-6)
            cosine = [keys[n] @ row / (norm(keys[n]) * norm(row)) for row in memory]
            content = softmax(beta[n] * np.array(cosine))
            mixed = gate[n] * content + (1 - gate[n]) * w[n]
            moved = [
                sum(mixed[(i - j) % slots] * shift[n, j + 1] for j in (-1, 0, 1))
                for i in range(slots)
            ]
            w[n] = np.array(moved) ** gamma[n]
            w[n] /= w[n].sum()
        for i in range(slots):
            for n in range(2):
                memory[i] = memory[i] * (1 - w[2 + n, i] * erase[n])
            for n in range(2):
                memory[i] = memory[i] + w[2 + n, i] * add[n]
        reads = w[:2] @ memory
        steps.append((np.concatenate([h, *reads]), memory.copy(), w.copy()))
    return [np.array(part) for part in zip(*steps, strict=True)]


def test_ntm_equals_a_numpy_loop(x64):
    random, cell = np.random.default_rng(5), CELL
    params = jax.tree.map(
        lambda a: 0.8 * random.normal(size=a.shape), cell.init(jax.random.key(0), 2)
    )
    xs = draw(3, 8, 2)
    step = lambda carry, x: (new := cell.step(params, carry, x))[:1] + ((new[1], new[0]),)
    carry = cell.initial_carry(params, 3)
    _, (ys, carries) = sj.scan(step, carry, jnp.asarray(xs))
    for row in range(3):
        expected, memories, weights = numpy_ntm(params, xs[row], 1e-6)
        np.testing.assert_allclose(ys[row], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(carries.memory[row], memories, rtol=0, atol=1e-12)
        np.testing.assert_allclose(carries.read_weights[row], weights[:, :2], rtol=0, atol=1e-11)
        np.testing.assert_allclose(carries.write_weights[row], weights[:, 2:], rtol=0, atol=1e-11)


EXTREME = st.sampled_from([-1e4, -30.0, 0.0, 30.0, 1e4])


@jax.jit
def place(told, memory):
    """A step whose heads are told [20] numbers, and the gradient of all that comes of it."""
    cell = sj.cells.NTM(sj.cells.Feedforward(3), slots=5, width=2)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))
    carry = cell.initial_carry(params, 1)

    def run(told, memory):
        placed = params._replace(b=told), carry._replace(memory=memory)
        after, y = cell.step(*placed, jnp.ones((1, 1)))
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((after, y))), after

    return jax.value_and_grad(run, argnums=(0, 1), has_aux=True)(told, memory)


@examples(20)
@hypothesis.given(told=st.lists(EXTREME, min_size=20, max_size=20), empty=st.booleans())
def test_extreme_outputs_of_the_controller_leave_all_finite(told, empty):
    memory = jnp.zeros((1, 5, 2)) if empty else jnp.asarray(draw(1, 5, 2), jnp.float32)
    (loss, after), grads = place(jnp.asarray(told, jnp.float32), memory)
    for leaf in jax.tree.leaves((loss, after, grads)):
        assert np.isfinite(leaf).all()
    for weights in (after.read_weights, after.write_weights):
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)


def test_weightings_stay_weightings_over_a_long_sequence():
    cell = sj.cells.NTM(sj.cells.Feedforward(8), slots=16, width=4)
    params = jax.tree.map(lambda a: 3 * a, cell.init(jax.random.key(0), 3))
    carry, _ = sj.unroll(cell, params, jnp.asarray(draw(2, 500, 3), jnp.float32))
    for weights in (carry.read_weights, carry.write_weights):
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)


def test_told_numbers_have_their_places():
    carry = CELL.initial_carry(CELL.init(jax.random.key(0), 2), 1)
    heads = told_heads(jnp.arange(48.0)[None] / 100, carry)
    np.testing.assert_allclose(heads.keys[0, 3], np.tanh([0.09, 0.10, 0.11]), rtol=1e-6)
    np.testing.assert_allclose(heads.gates[0], sigmoid(np.arange(16, 20) / 100), rtol=1e-6)
    np.testing.assert_allclose(heads.add[0, 1], np.tanh([0.45, 0.46, 0.47]), rtol=1e-6)
    assert heads.shifts.shape == (1, 4, 3)


def test_a_learned_start_is_a_weighting_after_one_step():
    cell = sj.LearnedCarry(sj.cells.NTM(sj.cells.Feedforward(4), slots=5, width=2))
    params = cell.init(jax.random.key(0), 3)
    moved = jax.tree.map(lambda a: a + jnp.asarray(draw(*a.shape), a.dtype), params.carry)
    carry, _ = sj.unroll(cell, params._replace(carry=moved), jnp.ones((1, 1, 3)))
    np.testing.assert_allclose(carry.read_weights.sum(axis=-1), 1, atol=1e-6)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "controller", [sj.cells.Feedforward(100), sj.LSTM(100)], ids=["ff", "lstm"]
)
def test_numbers_of_the_copy_task(controller):
    """128 slots of 20, a read and a write head, shifts by one: what each part needs."""
    net = sj.Stack(
        (
            sj.cells.NTM(controller, slots=128, width=20),
            sj.cells.Feedforward(8, activation="identity"),
        )
    )
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), 9))
    inner = (
        100 * (9 + 20 + 1) if isinstance(controller, sj.cells.Feedforward) else 400 * (9 + 20 + 101)
    )
    heads = (20 + 1 + 1 + 3 + 1) + (20 + 1 + 1 + 3 + 1 + 20 + 20)
    assert count(params) == inner + heads * 101 + 8 * 121
