"""How much inputs k steps back count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

XS = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
influence_of = jax.jit(sj.diagnostics.context_influence, static_argnames=("log_probs", "max_lag"))


def leaky(xs):
    """A sum that forgets a fifth of itself a step, of inputs with the gradient (3, 4, 0) each."""
    step = lambda h, x: (0.8 * h + x @ jnp.array([3.0, 4.0, 0.0]),) * 2
    return jax.lax.scan(step, jnp.zeros(xs.shape[0]), xs.swapaxes(0, 1))[1].T


def test_influence_of_a_leaky_sum_is_its_decay():
    found = influence_of(leaky, XS)
    np.testing.assert_allclose(found.influence, 5 * 0.8 ** np.arange(5), rtol=1e-5)
    np.testing.assert_allclose(found.half_life, np.log(0.5) / np.log(0.8), rtol=1e-5)
    short = influence_of(leaky, XS, max_lag=1)
    np.testing.assert_allclose(short.influence, [5, 4], rtol=1e-5)
    assert short.half_life == np.inf


def test_influence_is_the_mean_norm_of_the_gradients(x64):
    """The mean is over rows and the positions that have the lag."""
    cell = sj.GRU(4)
    params = jax.tree.map(jnp.float64, cell.init(jax.random.key(0), 3))

    def log_probs(xs):
        return jax.nn.log_softmax(sj.unroll(cell, params, xs)[1])[..., 0]

    jacobian = np.asarray(jax.jit(jax.jacrev(log_probs))(jnp.float64(XS)))  # [B, T, B, T, D]
    norms = np.linalg.norm(jacobian, axis=-1)
    of_row = lambda b, t, k: norms[b, t, b, t - k]
    places = [1, 2, 4]
    found = sj.diagnostics.context_influence(log_probs, jnp.float64(XS), positions=np.array(places))
    for k in range(5):
        values = [of_row(b, t, k) for b in range(2) for t in places if t >= k]
        np.testing.assert_allclose(found.influence[k], np.mean(values), rtol=1e-10)


def test_a_lag_that_no_position_has_is_nan():
    found = influence_of(leaky, XS, positions=jnp.array([1, 0]))
    np.testing.assert_allclose(found.influence[:2], [5, 4], rtol=1e-5)
    assert np.isnan(found.influence[2:]).all() and np.isnan(found.half_life)


def test_what_lies_ahead_does_not_count():
    """Lags count back from each position, even for a model that sees all of a row."""
    found = influence_of(lambda xs: jnp.broadcast_to(leaky(xs)[:, -1:], xs.shape[:2]), XS)
    sizes = 5 * 0.8 ** np.arange(5)  # of inputs, from the last to the first
    expected = [np.mean(sizes[k:]) for k in range(5)]
    np.testing.assert_allclose(found.influence, expected, rtol=1e-5)


def test_tiny_influences_are_not_lost_in_their_squares():
    found = influence_of(lambda xs: 1e-25 * leaky(xs), XS)
    np.testing.assert_allclose(found.influence, 5e-25 * 0.8 ** np.arange(5), rtol=1e-5)


BAD = {
    "xs is int32[2, 5]; expected floats": (leaky, {"xs": np.ones((2, 5), np.int32)}),
    "xs is float32[5]; expected floats [B, T, ...]": (leaky, {"xs": XS[0, :, 0]}),
    "xs is float32[2, 0, 3]": (leaky, {"xs": XS[:, :0]}),
    "max_lag is 5; expected an integer of 0..T - 1 = 4": (leaky, {"max_lag": 5}),
    "positions is float32[1]; expected at least one": (leaky, {"positions": XS[0, 0, :1]}),
    "positions is [5]; expected integers of 0..T - 1 = 4": (leaky, {"positions": [5]}),
    "log_probs returned float32[2]; expected floats [B, T] = [2, 5]": (lambda x: x[:, 0, 0], {}),
}


@pytest.mark.parametrize("message", list(BAD))
def test_bad_input_is_named(message):
    log_probs, how = BAD[message]
    with pytest.raises(ValueError) as error:
        sj.diagnostics.context_influence(log_probs, **{"xs": XS, **how})
    assert message in str(error.value)
