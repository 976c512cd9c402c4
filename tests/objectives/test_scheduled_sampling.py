"""Scheduled sampling: what it reads, what it learns, and where the two-pass form differs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax import objectives

VOCAB, BATCH, LENGTH, BOS = 4, 3, 7, 1
CELL = sj.GRU(3)


def make(seed=0):
    """Params of a small model, and targets [B, T]."""
    keys = jax.random.split(jax.random.key(seed), 3)
    cell = CELL.init(keys[0], VOCAB + 1)
    out = 2 * jax.random.normal(keys[1], (3, VOCAB))
    targets = jax.random.randint(keys[2], (BATCH, LENGTH), 0, VOCAB)
    return {"cell": jax.tree.map(lambda a: 3.0 * a, cell), "out": out}, targets


def stepper(params):
    """step(carry, tokens, x): reads a token and a number beside it."""

    def step(carry, tokens, x):
        inputs = jnp.concatenate([jax.nn.one_hot(tokens, VOCAB), x[:, None]], axis=1)
        carry, y = CELL.step(params["cell"], carry, inputs)
        return carry, y @ params["out"]

    return step


def losses_of_inputs(params, tokens, targets, xs, mask):
    """The mean loss of targets given inputs as constants, by `unroll`: no step, no draw."""
    inputs = jnp.concatenate([jax.nn.one_hot(tokens, VOCAB), xs[..., None]], axis=2)
    _, ys = sj.unroll(CELL, params["cell"], inputs, mask=mask)
    logits = ys @ params["out"]
    return sj.cross_entropy(logits, targets, mask=mask), logits


@jax.jit
def train(params, targets, probability, temperature, keys, mask, xs):
    """One program for all tests: the run and the gradient of its loss."""

    def loss(params):
        carry = CELL.initial_carry(params["cell"], targets.shape[0])
        run = objectives.scheduled_sampling(
            stepper(params),
            carry,
            targets,
            bos=BOS,
            truth_probability=probability,
            key=keys,
            temperature=temperature,
            mask=mask,
            xs=xs,
        )
        return run.loss.mean, run

    (_, run), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return run, grads


@jax.jit
def constant(params, tokens, targets, xs, mask):
    """Logits and gradient of the loss where inputs are given."""
    (_, logits), grads = jax.value_and_grad(losses_of_inputs, has_aux=True)(
        params, tokens, targets, xs, mask
    )
    return logits, grads


def settings(probability, temperature=1.0, seed=0, mask=None):
    """Traced arguments of `train` after the targets."""
    xs = jnp.asarray(np.random.default_rng(seed).normal(size=(BATCH, LENGTH)))
    mask = jnp.ones((BATCH, LENGTH), bool) if mask is None else mask
    keys = jax.random.split(jax.random.key(seed), BATCH)
    return jnp.full(BATCH, probability), jnp.full(BATCH, temperature), keys, mask, xs


def shifted(targets):
    """The inputs of teacher forcing."""
    return jnp.concatenate([jnp.full((len(targets), 1), BOS), targets[:, :-1]], axis=1)


def test_always_the_truth_is_teacher_forcing_values_and_gradients(x64):
    params, targets = make()
    how = settings(1.0)
    found, grads = train(params, targets, *how)
    np.testing.assert_array_equal(found.inputs, shifted(targets))
    logits, expected = constant(params, shifted(targets), targets, how[-1], how[-2])
    np.testing.assert_allclose(found.logits, logits, rtol=1e-12)
    chex.assert_trees_all_close(grads, expected, rtol=1e-10, atol=1e-14)
    taught = objectives.teacher_forcing(
        stepper(params), jnp.zeros((BATCH, 3)), targets, bos=BOS, xs=how[-1]
    )
    chex.assert_trees_all_close(taught, found, rtol=1e-12)
    chain = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=2)
    np.testing.assert_allclose(taught.loss.total, -chain.sum(), rtol=1e-12)
    assert taught.loss.tokens == BATCH * LENGTH


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_never_the_truth_is_sampling_with_the_same_key(temperature, x64):
    params, targets = make()
    how = settings(0.0, temperature)
    found, _ = train(params, targets, *how)
    numbered = lambda step: (
        lambda carry, t: (
            (carry[0] + 1, (out := step(carry[1], t, how[-1][jnp.arange(BATCH), carry[0]]))[0]),
            jnp.concatenate([out[1], jnp.full((BATCH, 1), -jnp.inf)], axis=1),  # never the end
        )
    )
    samples = sj.sample(
        numbered(stepper(params)),
        (jnp.zeros(BATCH, int), jnp.zeros((BATCH, 3))),
        bos=BOS,
        eos=VOCAB,
        max_len=LENGTH - 1,
        key=how[2],
        temperature=temperature,
    )
    np.testing.assert_array_equal(found.inputs[:, 1:], samples.tokens)
    assert (np.asarray(found.inputs[:, 1:]) != np.asarray(targets[:, :-1])).any()


def test_the_gradient_takes_inputs_as_given_and_targets_stay_the_truth(x64):
    params, targets = make(1)
    how = settings(0.4, seed=1)
    found, grads = train(params, targets, *how)
    logits, expected = constant(params, found.inputs, targets, how[-1], how[-2])
    np.testing.assert_allclose(found.logits, logits, rtol=1e-12)
    chex.assert_trees_all_close(grads, expected, rtol=1e-10, atol=1e-14)
    assert not np.array_equal(found.inputs, shifted(targets))
    losses = sj.losses.cross_entropy_sum(logits, targets)
    np.testing.assert_allclose(found.loss.total, losses.total, rtol=1e-12)


def test_masked_steps_take_no_coin_no_draw_and_no_loss(x64):
    params, targets = make(2)
    mask = np.array([[1, 1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]], bool)
    how = settings(0.5, seed=2, mask=jnp.asarray(mask))
    xs = jnp.where(mask, how[-1], jnp.nan)
    wild = jnp.where(mask, targets, -7)
    found, grads = train(params, wild, *how[:-1], xs)
    real = np.zeros((BATCH, LENGTH), bool)
    packed = np.zeros((BATCH, LENGTH), int)
    inner = np.zeros((BATCH, LENGTH))
    for b in range(BATCH):
        n = mask[b].sum()
        real[b, :n], packed[b, :n], inner[b, :n] = True, targets[b][mask[b]], how[-1][b][mask[b]]
    other = train(params, jnp.asarray(packed), *how[:3], jnp.asarray(real), jnp.asarray(inner))
    for b in range(BATCH):
        n = mask[b].sum()
        np.testing.assert_array_equal(found.inputs[b][mask[b]], other[0].inputs[b, :n])
        np.testing.assert_allclose(found.logits[b][mask[b]], other[0].logits[b, :n], rtol=1e-12)
        assert not found.logits[b][~mask[b]].any()
    np.testing.assert_allclose(found.loss.total, other[0].loss.total, rtol=1e-12)
    assert int(found.loss.tokens) == mask.sum()
    np.testing.assert_allclose(found.carry, other[0].carry, rtol=1e-12)
    chex.assert_trees_all_close(grads, other[1], rtol=1e-9, atol=1e-14)


def test_a_row_depends_on_its_own_key_alone(x64):
    params, targets = make(3)
    probability, temperature, keys, mask, xs = settings(0.5, seed=3)
    one, _ = train(params, targets, probability, temperature, keys, mask, xs)
    turn = lambda a: jnp.roll(a, 1, axis=0)
    two, _ = train(params, turn(targets), probability, temperature, turn(keys), mask, turn(xs))
    np.testing.assert_array_equal(turn(one.inputs), two.inputs)
    three, _ = train(params, targets, probability, temperature, turn(keys), mask, xs)
    assert not np.array_equal(one.inputs, three.inputs)


def test_the_coin_is_tossed_for_each_token():
    step = lambda carry, tokens: (carry, jnp.eye(3)[jnp.full(tokens.shape, 2)] * 1e3)
    targets = jnp.zeros((100, 100), int)  # the model always draws 2
    share = jnp.linspace(0, 1, 100)
    run = objectives.scheduled_sampling(
        step, (), targets, bos=0, truth_probability=share, key=jax.random.key(0)
    )
    true = np.asarray(run.inputs[:, 1:] == 0)
    error = np.sqrt(share * (1 - share) / 99)
    assert (np.abs(true.mean(axis=1) - share) <= 4.5 * error).all()
    changes = (true[:, 1:] != true[:, :-1])[40:60].mean()  # 1/2 for coins, 0 for one a row
    assert 0.45 < changes < 0.55
    assert true[0].sum() == 0 and true[-1].all()
    columns = true[40:60].mean(axis=0)
    assert columns.std() > 0.05  # no coin is shared by rows, or all rows would agree
    assert 0 < columns.min() and columns.max() < 1


def test_coins_and_draws_are_independent():
    step = lambda carry, tokens: (carry, jnp.log(jnp.array([0.5, 0.5, 0.0]))[None].repeat(50, 0))
    run = objectives.scheduled_sampling(
        step, (), jnp.full((50, 200), 2), bos=2, truth_probability=0.5, key=jax.random.key(1)
    )
    inputs = np.asarray(run.inputs)
    for before in (inputs[:, 1:-1] == 2, inputs[:, 1:-1] < 2):  # the coin tossed as it was drawn
        drawn = inputs[:, 2:][before & (inputs[:, 2:] < 2)]
        assert abs((drawn == 0).mean() - 0.5) < 4.5 * np.sqrt(0.25 / drawn.size)


def test_a_whole_schedule_is_traced_once():
    epsilon = objectives.InverseSigmoidDecay(2.0)
    step = lambda carry, tokens: (carry, jnp.zeros((tokens.shape[0], 3)))

    @jax.jit
    @chex.assert_max_traces(n=1)
    def inputs(count, temperature):
        return objectives.scheduled_sampling(
            step,
            (),
            jnp.ones((1, 8), int),
            bos=0,
            truth_probability=epsilon(count),
            key=jax.random.key(4),
            temperature=temperature,
        ).inputs

    true = [int((inputs(jnp.int32(i), 1.0 + i)[:, 1:] == 1).sum()) for i in (0, 3, 100)]
    assert true[0] > true[2]


@jax.jit
def parallel(params, targets, probability, temperature, keys, mask, xs):
    """The two-pass form and the one with T passes, and the first's gradient."""

    def run(params, passes):
        def forward(tokens):
            inputs = jnp.concatenate([jax.nn.one_hot(tokens, VOCAB), xs[..., None]], axis=2)
            carry, ys = sj.unroll(CELL, params["cell"], inputs, mask=mask)
            return carry, ys @ params["out"]

        return objectives.parallel_scheduled_sampling(
            forward,
            targets,
            bos=BOS,
            truth_probability=probability,
            key=keys,
            temperature=temperature,
            mask=mask,
            passes=passes,
        )

    loss = lambda params: ((found := run(params, 1)).loss.mean, found)
    (_, once), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return once, grads, run(params, LENGTH)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_parallel_passes_approach_the_sequential_run(temperature, x64):
    params, targets = make(5)
    mask = jnp.asarray(np.arange(LENGTH) < np.array([[7], [4], [6]]))
    how = settings(0.3, temperature, seed=5, mask=mask)
    once, grads, whole = parallel(params, targets, *how)
    exact, _ = train(params, targets, *how)
    np.testing.assert_array_equal(jnp.where(mask, whole.inputs, 0), exact.inputs)
    np.testing.assert_allclose(whole.logits, jnp.where(mask[..., None], exact.logits, 0), rtol=1e-9)
    np.testing.assert_allclose(whole.loss.total, exact.loss.total, rtol=1e-12)
    # Two passes: what was drawn follows the truth, so it differs from the sequential run's.
    _, expected = constant(params, once.inputs, targets, how[-1], mask)
    chex.assert_trees_all_close(grads, expected, rtol=1e-10, atol=1e-14)
    assert not np.array_equal(jnp.where(mask, once.inputs, 0), exact.inputs)
    np.testing.assert_array_equal(once.inputs[:, :2], exact.inputs[:, :2])


def test_the_first_pass_draws_from_teacher_forced_logits(x64):
    params, targets = make(6)
    how = settings(0.0, 0.0, seed=6)
    once, _, _ = parallel(params, targets, *how)
    logits, _ = constant(params, shifted(targets), targets, how[-1], how[-2])
    np.testing.assert_array_equal(once.inputs[:, 1:], jnp.argmax(logits, axis=2)[:, :-1])
    truth, _, _ = parallel(params, targets, *settings(1.0, seed=6))
    np.testing.assert_array_equal(truth.inputs, shifted(targets))


def test_schedules_are_the_papers_functions_of_the_step():
    steps = np.array([0, 1, 10, 500, 10**6])
    linear = objectives.LinearDecay(0.9, slope=0.01, floor=0.2)
    np.testing.assert_allclose(linear(steps), np.maximum(0.2, 0.9 - 0.01 * steps), rtol=1e-6)
    power = objectives.ExponentialDecay(0.98)
    np.testing.assert_allclose(power(steps), 0.98**steps, rtol=1e-4, atol=1e-30)
    inverse = objectives.InverseSigmoidDecay(50.0)
    with np.errstate(over="ignore"):
        expected = 50 / (50 + np.exp(steps / 50))
    np.testing.assert_allclose(inverse(steps), expected, rtol=1e-5, atol=1e-30)
    for schedule in (linear, power, inverse):
        assert schedule(jnp.int32(3)).dtype == jnp.float32
        assert jax.jit(schedule)(jnp.int32(-5)) == schedule(0)  # where it cannot be refused
        assert eval(repr(schedule), dict(vars(objectives))) == schedule and hash(schedule)


step = lambda carry, tokens: (carry, jnp.zeros((tokens.shape[0], 3)))
forward = lambda inputs: ((), jnp.zeros((*inputs.shape, 3)))
good = {"bos": 0, "truth_probability": 0.5, "key": jax.random.key(0)}
rows = jnp.zeros((2, 4), int)


def sequential(step=step, carry=(), targets=rows, **how):
    return objectives.scheduled_sampling(step, carry, targets, **(good | how))


def in_parallel(forward=forward, targets=rows, **how):
    return objectives.parallel_scheduled_sampling(forward, targets, **(good | how))


BAD = {
    "above": (lambda: sequential(truth_probability=1.2), "truth_probability is 1.2; expected a pr"),
    "below": (lambda: in_parallel(truth_probability=-0.1), "truth_probability is -0.1; expected a"),
    "nan": (lambda: sequential(truth_probability=float("nan")), "truth_probability is nan; expect"),
    "wide": (lambda: sequential(truth_probability=jnp.ones(4)), r"truth_probability has shape \(4"),
    "cold": (lambda: sequential(temperature=-1.0), "temperature is -1.0; expected temperature >="),
    "floats": (
        lambda: sequential(targets=jnp.zeros((2, 4))),
        "targets is float32; expected integer ids",
    ),
    "flat": (lambda: sequential(targets=rows[0]), r"targets has shape \(4,\); expected \[B, T\]"),
    "bos": (
        lambda: sequential(bos=jnp.zeros(3, int)),
        r"bos has shape \(3,\); expected an integer",
    ),
    "mask": (lambda: sequential(mask=jnp.ones((4, 2), bool)), "time-major"),
    "xs": (lambda: sequential(xs=jnp.ones((2, 3))), r"xs has leaves of shapes \(2, 3\); expected"),
    "key": (lambda: sequential(key=0), "expected a typed key"),
    "carry": (lambda: sequential(carry=jnp.ones(3)), r"carry has shape \(3,\); expected the batch"),
    "logits": (lambda: sequential(lambda c, t: (c, t)), "step returned logits of shape"),
    "range": (lambda: sequential(targets=rows + 3), "targets holds 3; expected ids in 0..2"),
    "passes": (lambda: in_parallel(passes=0), "passes is 0; expected an integer of at least 1"),
    "single": (lambda: in_parallel(lambda x: x), "forward returned a .*; expected the pair"),
    "short": (lambda: in_parallel(lambda x: ((), x)), "forward returned logits of shape"),
    "step": (lambda: objectives.LinearDecay()(-1), "step is -1; expected a number of steps of at"),
    "negative": (lambda: objectives.ExponentialDecay(0.5)(-2), "step is -2; expected"),
    "past": (lambda: objectives.InverseSigmoidDecay(5.0)(-2), "step is -2; expected"),
    "floor": (
        lambda: objectives.LinearDecay(0.5, floor=0.6),
        "floor is 0.6 and offset 0.5; expect",
    ),
    "slope": (lambda: objectives.LinearDecay(slope=-1.0), "slope is -1.0; expected a number of at"),
    "base": (lambda: objectives.ExponentialDecay(1.0), "base is 1.0; expected a number with 0 <"),
    "k": (lambda: objectives.InverseSigmoidDecay(0.5), "k is 0.5; expected a number of steps of"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_no_targets_are_no_loss():
    run = sequential(targets=rows[:, :0])
    assert run.loss.mean == 0 and run.logits.shape == (2, 0, 3)
    run = sequential(mask=jnp.zeros((2, 4), bool))
    assert run.loss.mean == 0 and run.loss.tokens == 0
