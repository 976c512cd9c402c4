"""A small regression, its true gradient, and statistics for methods that only estimate it."""

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj

BATCH, LENGTH, INPUT, HIDDEN = 2, 7, 2, 2
DRAWS = 5000
ELMAN = sj.Elman(HIDDEN)


def make_case(cell, seed=0):
    """(params, carry, batch) for a network with a read-out and random targets."""
    random = np.random.default_rng(seed)
    draw = lambda a: jnp.asarray(random.normal(size=a.shape) * 0.7, a.dtype)
    params = {"cell": cell.init(jax.random.key(0), INPUT), "w_o": jnp.zeros((HIDDEN, 1))}
    params = jax.tree.map(draw, params)
    carry = jax.tree.map(draw, cell.initial_carry(params["cell"], BATCH))
    xs, targets = jnp.zeros((BATCH, LENGTH, INPUT)), jnp.zeros((BATCH, LENGTH, 1))
    return params, carry, jax.tree.map(draw, (xs, targets))


def loss_of(cell):
    def loss_fn(params, carry, batch, key):
        del key
        xs, targets = batch
        carry, ys = sj.unroll(cell, params["cell"], xs, carry=carry)
        return jnp.sum((ys @ params["w_o"] - targets) ** 2), carry

    return loss_fn


def truth(loss_fn, params, carry, batch):
    """Backpropagation through all of time: ((loss, carry), gradients)."""
    run = lambda params: loss_fn(params, carry, batch, None)
    return jax.jit(jax.value_and_grad(run, has_aux=True))(params)


def from_carry(method, init):
    """A forward method that starts from a plain carry, as backpropagation does."""

    def make(loss_fn, window=1):
        run = method(loss_fn, window)

        def value_and_grad(params, carry, batch, key=None):
            (loss, state), grads = run(params, init(params, carry), batch, key)
            return (loss, state.carry), grads

        return value_and_grad

    return make


rtrl = from_carry(sj.gradients.rtrl, sj.gradients.init_rtrl_state)
uoro = from_carry(sj.gradients.uoro, sj.gradients.init_uoro_state)
elementwise_rtrl = from_carry(
    sj.gradients.elementwise_rtrl, sj.gradients.init_elementwise_rtrl_state
)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def assert_close(got, expected):
    np.testing.assert_allclose(flat(got), flat(expected), rtol=1e-10, atol=1e-10)


def split(batch, at=3):
    """A batch in two parts, one after the other in time."""
    part = lambda some: jax.tree.map(lambda a: a[:, some], batch)
    return part(slice(at)), part(slice(at, None))


def draws(value_and_grad, case, seed=0):
    """Gradients for 5,000 keys, [N, P]."""
    keys = jax.random.split(jax.random.key(seed), DRAWS)
    each = lambda key: value_and_grad(*case, key)[1]
    grads = jax.jit(jax.vmap(each))(keys)
    return np.concatenate(
        [np.reshape(np.float64(g), (DRAWS, -1)) for g in jax.tree.leaves(grads)], axis=1
    )


def deviations(samples, expected):
    """How many standard errors, or roundings, the means lie from the truth, [P]."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    return np.abs(samples.mean(axis=0) - expected) / np.maximum(error, 1e-6)


def assert_unbiased(value_and_grad):
    """The mean of many draws is the gradient for an Elman network, and truncation's is not."""
    case = make_case(ELMAN)
    expected = flat(truth(loss_of(ELMAN), *case)[1])
    samples = draws(value_and_grad, case)
    assert deviations(samples, expected).max() < 3
    truncated = jax.jit(sj.truncated_value_and_grad(loss_of(ELMAN), 2))(*case)[1]
    assert deviations(samples, flat(truncated)).max() > 6  # enough draws to see a bias
    assert (samples.std(axis=0) > 0).any()


PLUS, MINUS = 4, 6


def balancing(theta, carry, batch, key):
    """A parameter that helps nearby and hurts further away: Tallec and Ollivier 2017, section 6."""
    del key
    signs = jnp.where(jnp.arange(PLUS + MINUS) < PLUS, 1.0, -1.0)

    def step(h, _):
        push = jnp.concatenate([h[:, 1:], jnp.zeros_like(h[:, :1])], axis=1)
        h = 0.5 * (h + push) + theta * signs
        return h, 0.5 * jnp.sum((h[:, 0] - 1) ** 2)

    carry, losses = jax.lax.scan(step, carry, None, length=batch.shape[1])
    return losses.sum(), carry
