"""The differentiable neural computer: allocation, links and reads, and the whole in NumPy."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.examples import examples

import seqjax as sj
from seqjax.cells.memory import allocation

SLOTS, WIDTH, HEADS = 5, 3, 2
CELL = sj.cells.DNC(sj.Elman(4), slots=SLOTS, width=WIDTH, read_heads=HEADS)


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softplus(a):
    return np.log1p(np.exp(a))


def softmax(a):
    raw = np.exp(a - a.max(axis=-1, keepdims=True))
    return raw / raw.sum(axis=-1, keepdims=True)


def test_writing_in_order_and_freeing():
    """Slots are taken one by one; the one that a freeing head has read is taken next."""
    usage, eye = jnp.zeros(4), jnp.eye(4)
    for slot in range(3):
        free = allocation.allocation_weights(usage)
        np.testing.assert_allclose(free, eye[slot], atol=1e-5)
        usage = allocation.next_usage(usage, eye[slot], jnp.ones(4))
    retained = allocation.retention(eye[1][None], jnp.ones(1))
    np.testing.assert_array_equal(retained, 1 - eye[1])
    usage = allocation.next_usage(usage, jnp.zeros(4), retained)
    np.testing.assert_array_equal(usage, [1, 0, 1, 0])
    np.testing.assert_allclose(allocation.allocation_weights(usage), eye[1], atol=1e-5)


def test_a_full_memory_allocates_nothing():
    np.testing.assert_allclose(allocation.allocation_weights(jnp.ones(4)), np.zeros(4), atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_allocation_by_its_definition(seed, x64):
    usage = sigmoid(2 * draw(6, seed=seed))
    counted = 1e-6 + (1 - 1e-6) * usage
    order = np.argsort(counted)
    expected = np.zeros(6)
    for place, slot in enumerate(order):
        expected[slot] = (1 - counted[slot]) * np.prod(counted[order[:place]])
    got = allocation.allocation_weights(jnp.asarray(usage))
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert float(got.sum()) <= 1


def test_links_lead_along_the_order_of_writing():
    """Written 2, 0, 3: forward from 2 is 0, from 0 is 3; backward from 3 is 0, from 0 is 2."""
    eye, links, precedence = jnp.eye(4), jnp.zeros((4, 4)), jnp.zeros(4)
    for slot in (2, 0, 3):
        links = allocation.next_links(links, precedence, eye[slot])
        precedence = allocation.next_precedence(precedence, eye[slot])
    np.testing.assert_array_equal(precedence, eye[3])
    forward, backward = allocation.follow(links, eye[jnp.array([2, 0, 3])])
    np.testing.assert_array_equal(forward, [eye[0], eye[3], jnp.zeros(4)])
    np.testing.assert_array_equal(backward, [jnp.zeros(4), eye[2], eye[0]])


def test_writing_nothing_keeps_the_order():
    links, precedence = jnp.asarray(sigmoid(draw(4, 4))), jnp.asarray(softmax(draw(4)))
    off = np.asarray(links) * (1 - np.eye(4))
    nothing = jnp.zeros(4, links.dtype)
    np.testing.assert_array_equal(allocation.next_links(links, precedence, nothing), off)
    np.testing.assert_array_equal(allocation.next_precedence(precedence, nothing), precedence)


def numpy_dnc(p, xs):
    """One row through `CELL`, slot by slot: outputs, and the last step's memory, links, usage."""
    memory, links = np.zeros((SLOTS, WIDTH)), np.zeros((SLOTS, SLOTS))
    usage, precedence, w = np.zeros(SLOTS), np.zeros(SLOTS), np.zeros(SLOTS)
    r, reads, h, ys = np.zeros((HEADS, SLOTS)), np.zeros((HEADS, WIDTH)), np.zeros(4), []

    def content(key, strength):
        norm = lambda v: np.sqrt(v @ v + 1e-6)
        return softmax(strength * np.array([key @ m / (norm(key) * norm(m)) for m in memory]))

    for x in xs:
        c = p.controller
        h = np.tanh(np.concatenate([x, *reads]) @ c.w_x + h @ c.w_h + c.b)
        sizes = np.cumsum([6, 2, 3, 1, 3, 3, 2, 1, 1])
        keys, beta, key, strength, erase, add, free, g_a, g_w, modes = np.split(
            h @ p.w + p.b, sizes
        )
        keys, modes = keys.reshape(2, 3), softmax(modes.reshape(2, 3))
        free, g_a, g_w, erase = map(sigmoid, (free, g_a, g_w, erase))
        retained = np.array([np.prod([1 - free[n] * r[n, i] for n in range(2)]) for i in range(5)])
        usage = (usage + w - usage * w) * retained
        counted, allocated = 1e-6 + (1 - 1e-6) * usage, np.zeros(SLOTS)
        order = sorted(range(SLOTS), key=lambda i: counted[i])
        for place, slot in enumerate(order):
            before = np.prod([counted[i] for i in order[:place]])
            allocated[slot] = (1 - counted[slot]) * before
        w = g_w * (g_a * allocated + (1 - g_a) * content(key, 1 + softplus(strength)))
        memory = memory * (1 - np.outer(w, erase)) + np.outer(w, add)
        old = links.copy()
        for i in range(SLOTS):
            for j in range(SLOTS):
                links[i, j] = (1 - w[i] - w[j]) * old[i, j] + w[i] * precedence[j]
            links[i, i] = 0
        precedence = (1 - w.sum()) * precedence + w
        r = np.array(
            [
                modes[n, 0] * (links.T @ r[n])
                + modes[n, 1] * content(keys[n], 1 + softplus(beta[n]))
                + modes[n, 2] * (links @ r[n])
                for n in range(HEADS)
            ]
        )
        reads = r @ memory
        ys.append(np.concatenate([h, *reads]))
    return np.array(ys), memory, links, usage


def test_dnc_equals_a_numpy_loop(x64):
    random = np.random.default_rng(7)
    params = jax.tree.map(
        lambda a: 0.9 * random.normal(size=a.shape), CELL.init(jax.random.key(0), 2)
    )
    xs = draw(3, 9, 2)
    carry, ys = sj.unroll(CELL, params, jnp.asarray(xs))
    for row in range(3):
        expected, memory, links, usage = numpy_dnc(params, xs[row])
        np.testing.assert_allclose(ys[row], expected, rtol=0, atol=1e-11)
        np.testing.assert_allclose(carry.memory[row], memory, rtol=0, atol=1e-11)
        np.testing.assert_allclose(carry.links[row], links, rtol=0, atol=1e-11)
        np.testing.assert_allclose(carry.usage[row], usage, rtol=0, atol=1e-11)


EXTREME = st.sampled_from([-1e4, -30.0, 0.0, 30.0, 1e4])


@jax.jit
def twice(told):
    """Two steps whose heads are told [2, 16] numbers, and the gradient of all that comes of it."""
    cell = sj.cells.DNC(sj.cells.Feedforward(3), slots=4, width=2)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))

    def run(told):
        carry, total = cell.initial_carry(params, 1), jnp.float32(0)
        for numbers in told:
            carry, y = cell.step(params._replace(b=numbers), carry, jnp.ones((1, 1)))
            total += sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((carry, y)))
        return total, carry

    return jax.value_and_grad(run, has_aux=True)(told)


@examples(20)
@hypothesis.given(told=st.lists(EXTREME, min_size=32, max_size=32))
def test_extreme_outputs_of_the_controller_leave_all_finite(told):
    (total, carry), grads = twice(jnp.asarray(told, jnp.float32).reshape(2, 16))
    for leaf in jax.tree.leaves((total, carry, grads)):
        assert np.isfinite(leaf).all()
    for weights in (carry.read_weights, carry.write_weights, carry.links, carry.usage):
        assert (weights >= -1e-6).all() and (weights <= 1 + 1e-6).all()  # rounded
    for weights in (carry.read_weights, carry.write_weights, carry.precedence):
        assert (weights.sum(axis=-1) <= 1 + 1e-5).all()
    for axis in (1, 2):
        assert (carry.links.sum(axis=axis) <= 1 + 1e-5).all()
