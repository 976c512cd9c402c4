"""The minimal gated unit against NumPy and against the GRU that it is."""

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj

D, H, TIME = 3, 4, 6


def random_params(key=0):
    random = np.random.default_rng(key)
    params = sj.cells.MGU(H).init(jax.random.key(0), D)
    return jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape)), params)


def test_equals_the_paper(x64):
    """Zhou et al. 2016, on concatenated vectors as the paper has it, in NumPy."""
    params = random_params()
    xs = np.random.default_rng(1).normal(size=(2, TIME, D))
    w_f, w_n = (np.concatenate([x, h]) for x, h in zip(*map(halves, params[:2]), strict=True))
    b_f, b_n = np.split(np.asarray(params.b), 2)
    h, expected = np.zeros((2, H)), []
    for t in range(TIME):
        f = 1 / (1 + np.exp(-(np.concatenate([xs[:, t], h], axis=1) @ w_f + b_f)))
        n = np.tanh(np.concatenate([xs[:, t], f * h], axis=1) @ w_n + b_n)
        h = (1 - f) * h + f * n
        expected.append(h)
    carry, ys = sj.unroll(sj.cells.MGU(H), params, jnp.asarray(xs))
    np.testing.assert_allclose(ys, np.stack(expected, axis=1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(carry, h, rtol=1e-10, atol=1e-12)


def halves(w):
    return np.split(np.asarray(w), 2, axis=1)


def test_is_a_gru_whose_gates_are_one(x64):
    """r = f and z = 1 - f: the update gate's parameters are those of f, negated."""
    params, xs = random_params(), jax.random.normal(jax.random.key(2), (2, TIME, D))
    join = lambda a: jnp.concatenate([a[..., :H], -a[..., :H], a[..., H:]], axis=-1)
    gru = sj.cells.GRUParams(join(params.w_x), join(params.w_h), join(params.b), None)
    expected = sj.unroll(sj.GRU(H, reset="before"), gru, xs)[1]
    ys = sj.unroll(sj.cells.MGU(H), params, xs)[1]
    np.testing.assert_allclose(ys, expected, rtol=1e-10, atol=1e-12)
