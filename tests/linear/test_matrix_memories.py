"""Matrix memories against their papers' equations, written out in NumPy; and what each can do."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

LENGTH, INPUT, HEADS, KEY, VALUE = 7, 3, 2, 3, 2
SIZE = HEADS * VALUE
XS = np.random.default_rng(1).normal(size=(2, LENGTH, INPUT))


def drawn(cell, seed=0) -> Any:
    """Params with every number different from its default, in float64."""
    random = np.random.default_rng(seed)
    params = cell.init(jax.random.key(0), INPUT)
    return jax.tree.map(lambda a: jnp.asarray(0.7 * random.normal(size=a.shape)), params)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def elu_plus_one(a):
    return np.where(a > 0, a, np.expm1(np.minimum(a, 0))) + 1


@functools.partial(jax.jit, static_argnames="cell")
def run(cell, params, xs, carry=None):
    return sj.unroll(cell, params, xs, carry=carry)


def linear_attention_loop(p, xs, n):
    """ys [T, V] of head n, eq. 16-20 of Katharopoulos et al. 2020."""
    s, z, ys = np.zeros((KEY, VALUE)), np.zeros(KEY), []
    for x in xs:
        q, k = elu_plus_one(x @ p.w_q[:, n]), elu_plus_one(x @ p.w_k[:, n])
        s = s + np.outer(k, x @ p.w_v[:, n])
        z = z + k
        ys.append(q @ s / (q @ z))
    return ys


def linear_attention_square(p, xs, n):
    """The same as attention: all pairs of steps, eq. 7-9 under a causal mask."""
    q, k = elu_plus_one(xs @ p.w_q[:, n]), elu_plus_one(xs @ p.w_k[:, n])
    weights = np.tril(q @ k.T)
    return weights / weights.sum(axis=1, keepdims=True) @ (xs @ p.w_v[:, n])


def unit(a):
    return a / np.sqrt((a * a).sum() + 1e-6)


def delta_loop(p, xs, n, gated, scale=1.0):
    """ys [T, V] of head n by the product of all (I - β k kᵀ), memory as [V, K] as in the papers."""
    memory, ys = np.zeros((VALUE, KEY)), []
    for x in xs:
        q, k, v = unit(x @ p.w_q[:, n]), unit(x @ p.w_k[:, n]), x @ p.w_v[:, n]
        beta = scale * sigmoid(x @ p.w_beta[:, n] + p.b_beta[n])
        a = 1.0
        if gated:
            a = np.exp(-np.exp(p.log_rate[n]) * np.log1p(np.exp(x @ p.w_a[:, n] + p.b_a[n])))
        memory = a * memory @ (np.eye(KEY) - beta * np.outer(k, k)) + beta * np.outer(v, k)
        ys.append(memory @ q)
    return ys


def mlstm_loop(p, xs, n, forget):
    """ys [T, V] of head n, eq. 19-27 of Beck et al. 2024 without a stabiliser."""
    c, norm, ys = np.zeros((VALUE, KEY)), np.zeros(KEY), []
    for x in xs:
        q = x @ p.w_q[:, n] + p.b_q[n]
        k = x @ p.w_k[:, n] / np.sqrt(KEY) + p.b_k[n]
        v = x @ p.w_v[:, n] + p.b_v[n]
        i, f = np.exp(x @ p.w_i[:, n] + p.b_i[n]), forget(x @ p.w_f[:, n] + p.b_f[n])
        c = f * c + i * np.outer(v, k)
        norm = f * norm + i * k
        o = sigmoid(x @ p.w_o[:, n] + p.b_o[n])
        ys.append(o * (c @ q) / max(abs(norm @ q), 1.0))
    return ys


def compare(cell, loop, *args):
    params = drawn(cell)
    p = jax.tree.map(np.asarray, params)
    expected = [np.concatenate([loop(p, xs, n, *args) for n in range(HEADS)], 1) for xs in XS]
    _, ys = run(cell, params, jnp.asarray(XS))
    np.testing.assert_allclose(ys, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loop", [linear_attention_loop, linear_attention_square])
def test_linear_attention_is_the_papers(loop, x64):
    compare(sj.linear.LinearAttention(SIZE, heads=HEADS, key_size=KEY, chunk_size=3), loop)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_delta_net_is_the_papers(gated, scale, x64):
    how = {"gated": gated, "negative_eigenvalues": scale == 2}
    compare(
        sj.linear.DeltaNet(SIZE, heads=HEADS, key_size=KEY, chunk_size=3, **how),
        delta_loop,
        gated,
        scale,
    )


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
def test_mlstm_is_the_papers_without_its_stabiliser(forget_gate, x64):
    cell = sj.linear.MLSTM(SIZE, heads=HEADS, key_size=KEY, forget_gate=forget_gate, chunk_size=3)
    compare(cell, mlstm_loop, {"sigmoid": sigmoid, "exponential": np.exp}[forget_gate])


def test_delta_net_replaces_what_it_holds_under_a_key(x64):
    """Orthonormal keys at β = 1: K values held exactly, each the last one written."""
    cell = sj.linear.DeltaNet(3, key_size=4, chunk_size=3)
    params = cell.init(jax.random.key(0), 7)  # inputs: a key and a value
    params = jax.tree.map(jnp.zeros_like, params)._replace(
        w_k=1e6 * jnp.eye(7, 4)[:, None],
        w_q=1e6 * jnp.eye(7, 4)[:, None],
        w_v=jnp.eye(7, 3, -4)[:, None],
        b_beta=jnp.array([50.0]),
    )
    keys, values = np.eye(4)[[0, 1, 2, 3, 1, 1, 0]], np.random.default_rng(0).normal(size=(7, 3))
    xs = jnp.asarray(np.concatenate([keys, values], 1)[None])
    carry, ys = run(cell, params, xs)
    np.testing.assert_allclose(ys[0], values, rtol=1e-10)  # each read right after it was written
    np.testing.assert_allclose(carry.s[0, 0], values[[6, 5, 2, 3]], rtol=1e-10)
    both = sj.linear.DeltaNet(3, key_size=4, negative_eigenvalues=True, chunk_size=3)
    carry, _ = run(both, params, xs)
    # At β = 2 a key is reflected: 2v first, then 2v' - 2v, and so on.
    np.testing.assert_allclose(carry.s[0, 0, 0], 2 * values[6] - 2 * values[0], rtol=1e-10)


def test_negative_eigenvalues_tell_parity_and_positive_ones_do_not():
    """One key, β = 2 at ones and 0 at zeros: the memory changes sign at each one."""
    bits = np.random.default_rng(0).integers(0, 2, (1, 100))
    xs = jnp.asarray(np.stack([bits, np.ones_like(bits)], -1), jnp.float32)
    for negative in (True, False):
        cell = sj.linear.DeltaNet(1, key_size=1, negative_eigenvalues=negative, chunk_size=16)
        params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 2))
        ones = jnp.array([0.0, 1e4]).reshape(2, 1, 1)
        beta = jnp.array([[100.0], [-50.0]])
        params = params._replace(w_k=ones, w_q=ones, w_beta=beta)
        start = sj.linear.DeltaNetCarry(jnp.ones((1, 1, 1, 1)))
        _, ys = run(cell, params, xs, start)
        parity = (-1.0) ** np.cumsum(bits[0])
        assert np.allclose(ys[0, :, 0], parity, atol=1e-3) == negative


@pytest.mark.parametrize("chunk_size", [1, 3])
def test_the_scale_of_an_mlstms_state_is_free(chunk_size, x64):
    """(c, n, m) and (c e^-a, n e^-a, m + a) are one state."""
    cell = sj.linear.MLSTM(SIZE, heads=HEADS, key_size=KEY, chunk_size=chunk_size)
    params, xs = drawn(cell), jnp.asarray(XS)
    carry, _ = run(cell, params, xs)
    _, expected = run(cell, params, xs, carry)
    for shift in (-3.0, 8.0):
        c, n = (a * np.exp(-shift) for a in carry[:2])
        _, ys = run(cell, params, xs, sj.linear.MLSTMCarry(c, n, carry.m + shift))
        np.testing.assert_allclose(ys, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
def test_no_gate_of_an_mlstm_overflows(forget_gate):
    """In values and gradients, and the chunks are the steps."""
    cell = sj.linear.MLSTM(SIZE, heads=HEADS, key_size=KEY, forget_gate=forget_gate, chunk_size=3)
    params = cell.init(jax.random.key(0), INPUT)
    xs = jnp.asarray(XS, jnp.float32).at[:, 4].set(0.0)  # a query of 0, which meets no key
    step = jax.jit(lambda p, xs: sj.scan(lambda c, x: cell.step(p, c, x), start, xs))
    start = cell.initial_carry(params, 2)

    def loss(params, xs):
        carry, ys = sj.unroll(cell, params, xs)
        return jnp.sum(ys), (carry, ys)

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    for i, f in itertools.product([-1e3, 0.0, 1e3], repeat=2):
        p = params._replace(b_i=params.b_i + i, b_f=params.b_f + f)
        grads, results = gradients(p, xs)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, results))), (i, f)
        for a, b in zip(jax.tree.leaves(results), jax.tree.leaves(step(p, xs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4, err_msg=str((i, f)))


def test_linear_attention_of_vanishing_weights_is_finite():
    """φ of ±1000 underflows on one side: the sum of weights is 0, and epsilon divides."""
    cell = sj.linear.LinearAttention(SIZE, heads=HEADS, key_size=KEY, chunk_size=3)
    params = cell.init(jax.random.key(0), INPUT)
    gradients = jax.jit(
        jax.grad(lambda params, xs: jnp.sum(sj.unroll(cell, params, xs)[1]), (0, 1))
    )
    for w in (-1e3, 1e3):
        p = params._replace(w_q=jnp.full_like(params.w_q, w), w_k=jnp.full_like(params.w_k, w))
        xs = jnp.abs(jnp.asarray(XS, jnp.float32))
        found = run(cell, p, xs), gradients(p, xs)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_initial_params():
    gates = sj.linear.MLSTM(6, heads=3, forget_bias=(1.0, 5.0)).init(jax.random.key(0), INPUT)
    np.testing.assert_allclose(gates.b_f, [1, 3, 5])
    assert not gates.b_i.any() and gates.w_q.shape == (INPUT, 3, 2)
    wide: Any = sj.linear.DeltaNet(400, heads=200, key_size=5, gated=True).init(
        jax.random.key(0), INPUT
    )
    decay = np.exp(wide.log_rate) * np.log1p(np.exp(wide.b_a))  # a rate times a step length
    assert wide.w_k.shape == (INPUT, 200, 5) and wide.w_v.shape == (INPUT, 200, 2)
    assert 1 <= np.exp(wide.log_rate).min() < 1.5 < 15.5 < np.exp(wide.log_rate).max() <= 16
    assert 1e-3 <= decay.min() < 0.01 < 1 < decay.max() <= 1.6
    plain = sj.linear.DeltaNet(4).init(jax.random.key(0), INPUT)
    assert plain.w_a is plain.b_a is plain.log_rate is None


@pytest.mark.parametrize(
    "cell",
    [
        sj.linear.LinearAttention(4, heads=2),
        sj.linear.DeltaNet(4, heads=2),
        sj.linear.MLSTM(4, heads=2),
    ],
)
def test_memories_are_float32_under_bfloat16(cell):
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), cell.init(jax.random.key(0), INPUT))
    carry, ys = jax.eval_shape(functools.partial(run, cell), params, jnp.asarray(XS, jnp.float32))
    assert ys.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(carry)} == {jnp.dtype(jnp.float32)}


CELL = sj.linear.MLSTM(4)
BAD: dict[str, Any] = {
    "heads": (
        lambda: sj.linear.DeltaNet(5, heads=2),
        "hidden_size is 5 but heads is 2; expected hidden_size to be a multiple of heads.",
    ),
    "size": (lambda: sj.linear.MLSTM(0), "hidden_size is 0; expected an integer of at least 1."),
    "key": (
        lambda: sj.linear.LinearAttention(4, key_size=0),
        "key_size is 0; expected an integer of at least 1.",
    ),
    "chunk": (
        lambda: sj.linear.DeltaNet(4, chunk_size=0),
        "chunk_size is 0; expected an integer of at least 1.",
    ),
    "epsilon": (
        lambda: sj.linear.LinearAttention(4, epsilon=0.0),
        "epsilon is 0.0; expected a positive number.",
    ),
    "mlstm epsilon": (
        lambda: sj.linear.MLSTM(4, epsilon=-1.0),
        "epsilon is -1.0; expected a positive number.",
    ),
    "gate": (
        lambda: sj.linear.MLSTM(4, forget_gate="tanh"),  # pyright: ignore[reportArgumentType]
        "forget_gate is 'tanh'; expected one of 'sigmoid', 'exponential'.",
    ),
    "bias": (
        lambda: sj.linear.MLSTM(4, forget_bias=(1.0,)),  # pyright: ignore[reportArgumentType]
        "forget_bias is (1.0,); expected a pair of finite numbers, from and to.",
    ),
    "input": (
        lambda: CELL.init(jax.random.key(0), -1),
        "input_size is -1; expected an integer of at least 1.",
    ),
    "complex": (
        lambda: sj.unroll(CELL, CELL.init(jax.random.key(0), 3), jnp.ones((1, 2, 3), complex)),
        "xs has dtype complex64; expected floating point. Embed or one-hot tokens first.",
    ),
    "width": (
        lambda: sj.unroll(CELL, CELL.init(jax.random.key(0), 3), jnp.ones((1, 2, 5))),
        "xs has width 5 but meets weights [3, 4]; expected width 3, the size that these params "
        "were initialised for.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_says_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == text
