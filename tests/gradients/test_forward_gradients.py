"""Gradients that go forward through time, or back until a coin says stop, against the truth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

BATCH, LENGTH, INPUT, HIDDEN = 2, 7, 2, 2
DRAWS = 5000


def make_case(cell, seed=0):
    """(params, carry, batch) of a network with a read-out, to be fitted to random targets."""
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
    run = lambda params: loss_fn(params, carry, batch, None)
    return jax.jit(jax.value_and_grad(run, has_aux=True))(params)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def assert_close(got, expected):
    np.testing.assert_allclose(flat(got), flat(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("window", [1, 3, LENGTH])
def test_real_time_recurrent_learning_is_backpropagation(window, x64):
    """Whole windows, and a shorter last one; two leaves in the carry, two rows."""
    loss_fn = loss_of(sj.LSTM(HIDDEN))
    case = make_case(sj.LSTM(HIDDEN))
    found = jax.jit(sj.gradients.rtrl(loss_fn, window))(*case)
    assert_close(found, truth(loss_fn, *case))


def test_without_randomness_artbp_is_backpropagation(x64):
    loss_fn, case = loss_of(sj.GRU(HIDDEN)), make_case(sj.GRU(HIDDEN))
    found = jax.jit(sj.gradients.artbp(loss_fn, 2, 0.0))(*case, jax.random.key(0))
    assert_close(found, truth(loss_fn, *case))


def test_always_cut_artbp_is_truncation_and_both_are_biased(x64):
    loss_fn, case = loss_of(sj.GRU(HIDDEN)), make_case(sj.GRU(HIDDEN))
    always = sj.gradients.artbp(loss_fn, 2, lambda age: jnp.float32(1))
    found = jax.jit(always)(*case, jax.random.key(0))
    assert_close(found, jax.jit(sj.truncated_value_and_grad(loss_fn, 2))(*case))
    assert np.abs(flat(found[1]) - flat(truth(loss_fn, *case)[1])).max() > 0.01


def test_chances_are_given_the_windows_since_the_last_cut(x64):
    """Cuts whenever three windows are over are truncation to three."""
    loss_fn, case = loss_of(sj.GRU(HIDDEN)), make_case(sj.GRU(HIDDEN))
    third = sj.gradients.artbp(loss_fn, 1, lambda age: (age >= 3).astype(jnp.float32))
    found = jax.jit(third)(*case, jax.random.key(0))
    assert_close(found, jax.jit(sj.truncated_value_and_grad(loss_fn, 3))(*case))


def draws(value_and_grad, case, seed=0):
    """Gradients of 5,000 keys, [N, P]."""
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


ELMAN = sj.Elman(HIDDEN)
ESTIMATES = {
    "uoro": sj.gradients.uoro(loss_of(ELMAN)),
    "uoro, windows of 3": sj.gradients.uoro(loss_of(ELMAN), 3),
    "artbp": sj.gradients.artbp(loss_of(ELMAN), 1, 0.4),
    "artbp, power law": sj.gradients.artbp(
        loss_of(ELMAN), 2, sj.gradients.power_law_truncation(2.0)
    ),
}


@pytest.mark.parametrize("name", list(ESTIMATES))
def test_the_mean_of_many_draws_is_the_gradient(name):
    case = make_case(ELMAN)
    expected = flat(truth(loss_of(ELMAN), *case)[1])
    samples = draws(ESTIMATES[name], case)
    assert deviations(samples, expected).max() < 3
    truncated = jax.jit(sj.truncated_value_and_grad(loss_of(ELMAN), 2))(*case)[1]
    assert deviations(samples, flat(truncated)).max() > 6  # enough draws to see a bias
    assert (samples.std(axis=0) > 0).any()


def test_losses_and_carries_are_not_estimates():
    case = make_case(ELMAN)
    (loss, carry), _ = truth(loss_of(ELMAN), *case)
    for value_and_grad in (ESTIMATES["uoro, windows of 3"], ESTIMATES["artbp, power law"]):
        (found, after), _ = jax.jit(value_and_grad)(*case, jax.random.key(1))
        np.testing.assert_allclose(found, loss, rtol=1e-5)
        np.testing.assert_allclose(after, carry, rtol=1e-5)


def split(batch, at=3):
    part = lambda some: jax.tree.map(lambda a: a[:, some], batch)
    return part(slice(at)), part(slice(at, None))


def test_influence_goes_on_from_call_to_call(x64):
    """An endless stream, a part at a time: the gradients of the parts sum to that of the whole."""
    loss_fn, (params, carry, batch) = loss_of(ELMAN), make_case(ELMAN)
    run = jax.jit(sj.gradients.rtrl(loss_fn))
    now, total = sj.gradients.begin_rtrl(params, carry), 0
    for part in split(batch):
        (_, now), grads = run(params, now, part)
        total = total + flat(grads)
    (_, after), expected = truth(loss_fn, params, carry, batch)
    np.testing.assert_allclose(total, flat(expected), rtol=1e-10)
    assert_close(now.carry, after)
    whole = jax.jacrev(lambda p: loss_fn(p, carry, batch, None)[1])(params)
    rows = [np.reshape(leaf, (BATCH * HIDDEN, -1)) for leaf in jax.tree.leaves(whole)]
    np.testing.assert_allclose(now.influence, np.concatenate(rows, axis=1), atol=1e-10)


def test_estimates_of_influence_go_on_from_call_to_call():
    loss_fn, (params, carry, batch) = loss_of(ELMAN), make_case(ELMAN)
    run, parts = sj.gradients.uoro(loss_fn, 3), split(batch)

    def both(params, carry, batch, key):
        del batch
        first, second = jax.random.split(key)
        (_, now), grads = run(params, sj.gradients.begin_uoro(params, carry), parts[0], first)
        (loss, now), more = run(params, now, parts[1], second)
        return (loss, now), jax.tree.map(jnp.add, grads, more)

    samples = draws(both, (params, carry, batch), seed=1)
    expected = flat(truth(loss_fn, params, carry, batch)[1])
    assert deviations(samples, expected).max() < 3


PLUS, MINUS = 4, 6


def balancing(theta, carry, batch, key):
    """A parameter that helps nearby and hurts further away: Tallec and Ollivier 2017, section 6."""
    del key
    signs = jnp.where(jnp.arange(PLUS + MINUS) < PLUS, 1.0, -1.0)
    push = jnp.concatenate([carry[:, 1:], jnp.zeros_like(carry[:, :1])], axis=1)

    def step(h, _):
        push = jnp.concatenate([h[:, 1:], jnp.zeros_like(h[:, :1])], axis=1)
        h = 0.5 * (h + push) + theta * signs
        return h, 0.5 * jnp.sum((h[:, 0] - 1) ** 2)

    del push
    carry, losses = jax.lax.scan(step, carry, None, length=batch.shape[1])
    return losses.sum(), carry


def test_short_truncation_goes_the_wrong_way_where_the_others_go_right():
    """In the limit h_0 = 2 (P - M) theta: it has to fall for h_0 to rise to 1."""
    case = jnp.float32(0.1), jnp.zeros((1, PLUS + MINUS)), jnp.zeros((1, 200))
    exact = jax.jit(sj.gradients.rtrl(balancing))(*case)[1]
    short = jax.jit(sj.truncated_value_and_grad(balancing, 4))(*case)[1]
    long = jax.jit(sj.truncated_value_and_grad(balancing, 100))(*case)[1]
    assert exact > 0 and long > 0 and short < 0  # the step is against the gradient
    artbp = draws(
        sj.gradients.artbp(balancing, 4, sj.gradients.power_law_truncation(8.0, 6.0)), case
    )
    assert artbp.mean() > 3 * artbp.std() / np.sqrt(DRAWS)


def test_an_online_learner_follows_the_exact_gradient_where_truncation_runs_away():
    def learn(value_and_grad, start):
        @jax.jit
        def run(theta, carry):
            def update(state, _):
                theta, carry = state
                (_, carry), grad = value_and_grad(theta, carry, jnp.zeros((1, 4)))
                return (theta - 0.001 * grad, carry), theta

            return jax.lax.scan(update, (theta, carry), None, length=1500)[1]

        return np.asarray(run(jnp.float32(0.1), start))

    zeros = jnp.zeros((1, PLUS + MINUS))
    goal = 1 / (2 * (PLUS - MINUS))
    exact = learn(sj.gradients.rtrl(balancing), sj.gradients.begin_rtrl(jnp.float32(0.1), zeros))
    np.testing.assert_allclose(exact[-1], goal, atol=0.01)
    truncated = learn(sj.truncated_value_and_grad(balancing, 4), zeros)
    assert not abs(truncated[-1] - goal) < 0.2


@pytest.mark.parametrize("method", [sj.gradients.rtrl, sj.gradients.uoro])
def test_memory_does_not_grow_with_time(method):
    case = jnp.float32(0.1), jnp.zeros((1, PLUS + MINUS))
    sizes = []
    for length in (64, 1024):
        run = jax.jit(method(balancing))
        args = *case, jnp.zeros((1, length)), jax.random.key(0)
        memory = run.lower(*args).compile().memory_analysis()
        assert memory is not None
        sizes.append(memory.temp_size_in_bytes - 8 * length)  # a loss and a number a window
    assert sizes[1] <= sizes[0] + 64


def test_leaves_without_derivatives_travel_in_the_carry(x64):
    """Streams of noise and counters are carried, and have no influence."""
    cell = sj.Zoneout(ELMAN, 0.5)
    loss_fn, (params, _, batch) = loss_of(cell), make_case(ELMAN)
    carry = cell.initial_carry(params["cell"], BATCH, key=jax.random.key(3))
    expected = truth(loss_fn, params, carry, batch)
    found = jax.jit(sj.gradients.rtrl(loss_fn, 3))(params, carry, batch)
    assert_close(found[1], expected[1])
    exact = sj.gradients.artbp(loss_fn, 3, 0.0)
    assert_close(jax.jit(exact)(params, carry, batch, jax.random.key(0))[1], expected[1])
    plain = functools.partial(jax.tree.leaves, is_leaf=lambda a: a is None)
    assert len(plain(found[0][1])) == len(plain(carry))


def test_half_precision_is_summed_in_single():
    """Many windows whose gradients are 1 / 256 of their sum and less: in bfloat16 they are lost."""

    def loss_fn(params, carry, xs, key):
        return jnp.sum(params.astype(jnp.float32)) * 1.0, carry

    case = jnp.ones(1, jnp.bfloat16), jnp.zeros((1, 1), jnp.bfloat16), jnp.zeros((1, 1024))
    methods = [sj.gradients.rtrl(loss_fn), sj.gradients.uoro(loss_fn)]
    methods += [sj.gradients.elementwise_rtrl(loss_fn)]
    for method in (*methods, sj.gradients.artbp(loss_fn, 1, 0.5)):
        (_, carry), grads = method(*case, jax.random.key(0))
        assert grads.dtype == carry.dtype == jnp.bfloat16
        np.testing.assert_array_equal(grads.astype(jnp.float32), [1024])


def test_windows_are_given_their_own_keys():
    """Window n has fold_in(key, n), as under truncation, and the coins are others."""

    def loss_fn(params, carry, batch, key):
        return jnp.sum(params * jax.random.normal(key)), carry

    case = jnp.ones(2), jnp.zeros((1, 1)), jnp.zeros((1, 5)), jax.random.key(7)
    expected = sum(float(jax.random.normal(jax.random.fold_in(case[3], n))) for n in range(3))
    makers = (sj.truncated_value_and_grad, sj.gradients.rtrl, sj.gradients.uoro)
    for maker in (*makers, lambda f, k: sj.gradients.artbp(f, k, 0.5)):
        (loss, _), grads = maker(loss_fn, 2)(*case)
        np.testing.assert_allclose(grads, expected, rtol=1e-5)
        np.testing.assert_allclose(loss, 2 * expected, rtol=1e-5)


def test_power_law_has_the_mean_that_it_is_given():
    chance = sj.gradients.power_law_truncation(50.0, exponent=6.0)
    hazard = np.asarray(chance(jnp.arange(1.0, 20001.0)))
    alive = np.concatenate([[1.0], np.cumprod(1 - hazard)])
    np.testing.assert_allclose(alive.sum(), 50, rtol=0.02)
    ratio = np.log(alive[20000] * hazard[-1]) - np.log(alive[10000] * hazard[9999])
    np.testing.assert_allclose(ratio / np.log(2), -6, atol=0.1)


LOSS = loss_of(ELMAN)
KEY = jax.random.key(0)
BAD = {
    "window is 0; expected an integer of at least 1.": lambda c: sj.gradients.rtrl(LOSS, 0),
    "window is 2.5; expected an integer": lambda c: sj.gradients.uoro(LOSS, 2.5),  # type: ignore
    "truncation is 1.0; expected a probability with 0 <= truncation < 1.": lambda c: (
        sj.gradients.artbp(LOSS, 1, 1.0)
    ),
    "truncation is -0.1; expected a probability": lambda c: sj.gradients.artbp(LOSS, 1, -0.1),
    "mean is 1.0; expected more than 1 window.": lambda c: sj.gradients.power_law_truncation(1.0),
    "exponent is 2; expected more than 2.": lambda c: sj.gradients.power_law_truncation(9.0, 2),
    "key is None; expected jax.random.key": lambda c: sj.gradients.uoro(LOSS)(*c, None),
    "key is None; expected jax.random.key(": lambda c: sj.gradients.artbp(LOSS, 1, 0.5)(*c, None),
    "params['n'] is int32; expected floats only.": lambda c: sj.gradients.rtrl(LOSS)(
        {**c[0], "n": np.int32(3)}, *c[1:]
    ),
    "carry is complex64; expected real numbers": lambda c: sj.gradients.rtrl(LOSS)(
        c[0], jnp.zeros((2, 2), complex), c[2]
    ),
    "params or carry holds no floats": lambda c: sj.gradients.rtrl(LOSS)(c[0], (), c[2]),
    "batch has leaves of shapes (2, 7, 2), (2, 6, 1)": lambda c: sj.gradients.rtrl(LOSS)(
        c[0], c[1], (c[2][0], c[2][1][:, 1:])
    ),
    "influence has shape (3, 3); expected [N, P] = (4, 12)": lambda c: sj.gradients.rtrl(LOSS)(
        c[0], sj.gradients.Influenced(c[1], jnp.zeros((3, 3))), c[2]
    ),
    "state and params of the carry have shapes (1,) and (2,)": lambda c: sj.gradients.uoro(LOSS)(
        c[0], sj.gradients.RankOne(c[1], jnp.zeros(1), jnp.zeros(2)), c[2], KEY
    ),
    "loss_fn returned a loss of shape (2,)": lambda c: sj.gradients.rtrl(
        lambda p, h, x, k: (h.sum(0), h)
    )(*c),
}


@pytest.mark.parametrize("message", list(BAD))
def test_bad_input_is_named(message):
    with pytest.raises(ValueError) as error:
        BAD[message](make_case(ELMAN))
    assert message in str(error.value)
