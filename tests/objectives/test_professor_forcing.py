"""Professor forcing: whose gradient goes where, and when."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax import objectives

VOCAB, BATCH, LENGTH, BOS = 4, 3, 5, 1
CELL = sj.GRU(3)
JUDGE = objectives.Discriminator(sj.GRU(2), layer_sizes=(4,))
MASK = np.arange(LENGTH) < np.array([[5], [3], [4]])


def make():
    """Params of generator and discriminator, and targets [B, T]."""
    keys = jax.random.split(jax.random.key(0), 4)
    cell = jax.tree.map(lambda a: 3.0 * a, CELL.init(keys[0], VOCAB))
    theta = {"cell": cell, "out": 2 * jax.random.normal(keys[1], (3, VOCAB))}
    phi = JUDGE.init(keys[2], 3 + VOCAB)
    return theta, phi, jax.random.randint(keys[3], (BATCH, LENGTH), 0, VOCAB)


def step_of(theta):
    def step(carry, tokens):
        carry, y = CELL.step(theta["cell"], carry, jax.nn.one_hot(tokens, VOCAB))
        return carry, y @ theta["out"]

    return step


@partial(jax.jit, static_argnames="pull_forced")
def play(theta, phi, targets, mask, key, pull_forced):
    """Behaviours, losses and the gradients of each loss by both players' params."""

    def losses(theta, phi):
        carry = CELL.initial_carry(theta["cell"], BATCH)
        both = objectives.behaviours(step_of(theta), carry, targets, bos=BOS, key=key, mask=mask)
        out = objectives.professor_forcing(
            both,
            JUDGE,
            phi,
            weight=0.7,
            pull_forced=pull_forced,
            train_below=1.0,
            trust_above=0.0,
        )
        return (out.generator, out.discriminator), (both, out)

    grads, aux = jax.jacrev(losses, argnums=(0, 1), has_aux=True)(theta, phi)
    return grads, *aux


@partial(jax.jit, static_argnames="pull_forced")
def by_hand(theta, phi, targets, free_inputs, mask, pull_forced):
    """The paper's losses over given inputs, by `unroll`, each differentiated by its own player."""

    def behave(theta, tokens):
        xs = jax.nn.one_hot(tokens, VOCAB)
        _, ys = sj.unroll(CELL, theta["cell"], xs, mask=mask)
        logits = ys @ theta["out"]
        return jnp.concatenate([ys, jax.nn.softmax(logits)], axis=2), logits

    def judge(phi, xs):  # log-odds of teacher forcing
        _, ys = sj.unroll(sj.Bidirectional(JUDGE.cell), phi.encoder, xs, mask=mask)
        h = ys.sum(axis=1) / mask.sum(axis=1, keepdims=True).astype(float)
        (w_1, b_1), (w_2, b_2) = phi.layers
        return (jnp.maximum(h @ w_1 + b_1, 0) @ w_2 + b_2)[:, 0]

    truth = jnp.concatenate([jnp.full((BATCH, 1), BOS), targets[:, :-1]], axis=1)

    def generator(theta):
        forced, logits = behave(theta, truth)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=2)
        nats = -jnp.sum(jnp.where(mask, chosen[..., 0], 0)) / mask.sum().astype(float)
        free = jax.nn.sigmoid(judge(phi, behave(theta, free_inputs)[0]))
        pulling = -jnp.mean(jnp.log(free))
        if pull_forced:
            pulling -= jnp.mean(jnp.log(1 - jax.nn.sigmoid(judge(phi, forced))))
        return nats + 0.7 * pulling

    def discriminator(phi):
        forced = jax.nn.sigmoid(judge(phi, behave(theta, truth)[0]))
        free = jax.nn.sigmoid(judge(phi, behave(theta, free_inputs)[0]))
        return -jnp.mean(jnp.log(forced)) - jnp.mean(jnp.log(1 - free))

    own = jax.value_and_grad(generator)(theta), jax.value_and_grad(discriminator)(phi)
    return own, behave(theta, truth)[0], behave(theta, free_inputs)[0]


@pytest.mark.parametrize("pull_forced", [False, True])
def test_each_player_gets_its_own_gradient_and_no_other(pull_forced, x64):
    theta, phi, targets = make()
    mask, key = jnp.asarray(MASK), jax.random.key(2)
    grads, both, out = play(theta, phi, targets, mask, key, pull_forced)
    (of_generator, of_discriminator) = grads
    own, forced, free = by_hand(theta, phi, targets, both.inputs, mask, pull_forced)
    (generator, by_theta), (discriminator, by_phi) = own
    real = np.repeat(MASK[..., None], 3 + VOCAB, axis=2)
    np.testing.assert_allclose(both.forced, np.where(real, forced, 0), rtol=1e-12)
    np.testing.assert_allclose(both.free, np.where(real, free, 0), rtol=1e-12)
    np.testing.assert_allclose(out.generator, generator, rtol=1e-12)
    np.testing.assert_allclose(out.discriminator, discriminator, rtol=1e-12)
    chex.assert_trees_all_close(of_generator[0], by_theta, rtol=1e-9, atol=1e-14)
    chex.assert_trees_all_close(of_discriminator[1], by_phi, rtol=1e-9, atol=1e-14)
    zeros = lambda tree: all(not np.any(leaf) for leaf in jax.tree.leaves(tree))
    assert zeros(of_generator[1]) and zeros(of_discriminator[0])
    assert not zeros(of_generator[0]["cell"]) and not zeros(of_discriminator[1])
    np.testing.assert_allclose(out.discriminator, _both_right(out, phi, both), rtol=1e-12)
    assert 0 < out.accuracy < 1


def _both_right(out, phi, both):
    """C_d from the discriminator's own log-odds."""
    forced = JUDGE.logits(phi, both.forced, both.mask)
    free = JUDGE.logits(phi, both.free, both.mask)
    share = np.mean([*(np.asarray(forced) > 0), *(np.asarray(free) < 0)])
    np.testing.assert_allclose(out.accuracy, share)
    return jnp.mean(jax.nn.softplus(-forced)) + jnp.mean(jax.nn.softplus(free))


def test_free_runs_draw_as_sample_does(x64):
    theta, phi, targets = make()
    key = jax.random.key(3)
    _, both, _ = play(theta, phi, targets, jnp.ones((BATCH, LENGTH), bool), key, False)

    def endless(carry, tokens):
        carry, logits = step_of(theta)(carry, tokens)
        return carry, jnp.concatenate([logits, jnp.full((BATCH, 1), -jnp.inf)], axis=1)

    start = CELL.initial_carry(theta["cell"], BATCH)
    how = {"bos": BOS, "eos": VOCAB, "max_len": LENGTH - 1, "key": key}
    np.testing.assert_array_equal(both.inputs[:, 1:], sj.sample(endless, start, **how).tokens)
    assert not np.array_equal(both.inputs[:, 1:], targets[:, :-1])


# A discriminator that reads the sign of behaviour [B, 1, 1], and a generator of one parameter.
SIGN = objectives.Discriminator(
    sj.cells.Feedforward(1, activation="identity", use_bias=False), layer_sizes=()
)
PHI = jax.tree.map(jnp.ones_like, SIGN.init(jax.random.key(0), 1))
PHI = PHI._replace(layers=(PHI.layers[0]._replace(b=jnp.zeros(1)),))


@jax.jit
def gated(signs):
    """Losses and gradients where the discriminator is right about as many rows as signs say."""

    def losses(theta, phi):
        forced, free = theta * signs[0][:, None, None], -theta * signs[1][:, None, None]
        loss = sj.losses.LossSum(2.0 * theta, jnp.int32(1))
        both = objectives.Behaviours(forced, free, loss, jnp.zeros((8, 1), jnp.int32), None)
        out = objectives.professor_forcing(both, SIGN, phi, pull_forced=True)
        return (out.generator, out.discriminator), out

    return jax.jacrev(losses, argnums=(0, 1), has_aux=True)(jnp.float32(1.0), PHI)


@pytest.mark.parametrize(
    ("right", "trains", "trusts"), [(16, False, True), (15, True, True), (12, True, False)]
)
def test_gates_open_between_75_and_99_percent(right, trains, trusts):
    signs = np.where(np.arange(16) < right, 1.0, -1.0).astype(np.float32).reshape(2, 8)
    (of_generator, of_discriminator), out = gated(signs)
    np.testing.assert_allclose(out.accuracy, right / 16)
    moved = any(np.any(leaf) for leaf in jax.tree.leaves(of_discriminator[1]))
    assert moved == trains and (out.discriminator > 0) == trains
    assert (of_generator[0] != 2.0) == trusts  # 2 is the likelihood's
    pulled = 2.0 + out.adversarial_free + out.adversarial_forced if trusts else 2.0
    np.testing.assert_allclose(out.generator, pulled, rtol=1e-6)


def test_the_discriminator_ignores_padding():
    phi = JUDGE.init(jax.random.key(1), 2)
    xs = jax.random.normal(jax.random.key(2), (2, 4, 2))
    mask = jnp.array([[True, True, True, False], [True] * 4])
    padded = JUDGE.logits(phi, xs.at[0, 3].set(jnp.nan), mask)
    np.testing.assert_allclose(padded[0], JUDGE.logits(phi, xs[:1, :3])[0], rtol=1e-5)
    np.testing.assert_allclose(padded[1], JUDGE.logits(phi, xs)[1], rtol=1e-5)
    assert abs(padded[1] - JUDGE.logits(phi, xs[:, ::-1])[1]) > 1e-4  # order matters
    assert jnp.isfinite(JUDGE.logits(phi, xs, jnp.zeros((2, 4), bool))).all()


def test_rows_without_a_real_step_do_not_count():
    behave = jax.random.normal(jax.random.key(4), (2, 3, 4, 1))
    mask = jnp.array([[True] * 4, [True, True, False, False], [False] * 4])
    shown = jnp.where(mask[..., None], behave, 0)
    nats, inputs = sj.losses.LossSum(jnp.float32(1.0), jnp.int32(1)), jnp.zeros((3, 4), jnp.int32)
    losses = lambda n: objectives.professor_forcing(
        objectives.Behaviours(shown[0, :n], shown[1, :n], nats, inputs[:n], mask[:n]),
        SIGN,
        PHI,
        pull_forced=True,
    )
    chex.assert_trees_all_close(losses(3), losses(2), rtol=1e-6)


def test_behaviour_shows_states_and_outputs_and_nothing_else():
    carry = (jnp.ones((2, 3)), jnp.zeros(2, jnp.int32), jax.random.split(jax.random.key(0), 2))
    shown = objectives.carry_and_output(carry, jnp.zeros((2, 4)))
    np.testing.assert_allclose(shown, np.array([[1, 1, 1, 0.25, 0.25, 0.25, 0.25]] * 2))
    half = objectives.carry_and_output(carry, jnp.zeros((2, 4), jnp.bfloat16))
    assert half.dtype == jnp.float32  # a softmax of half-precision logits is summed in float32


FLAT = jnp.zeros((2, 3, 1))
EXAMPLE = objectives.Behaviours(
    FLAT, FLAT, sj.losses.LossSum(jnp.zeros(()), jnp.int32(1)), FLAT, None
)
forcing = partial(objectives.professor_forcing, EXAMPLE, SIGN, PHI)
BAD = {
    "gate": (lambda: forcing(train_below=1.5), "train_below is 1.5; expected an accuracy in"),
    "trust": (lambda: forcing(trust_above=-0.5), "trust_above is -0.5; expected an accuracy"),
    "nan": (lambda: forcing(trust_above=float("nan")), "trust_above is nan; expected an accuracy"),
    "weight": (lambda: forcing(weight=-1.0), "weight is -1.0; expected a number of at least 0"),
    "endless": (lambda: forcing(weight=float("inf")), "weight is inf; expected a finite number"),
    "size": (lambda: objectives.Discriminator(layer_sizes=(3, 0)), r"layer_sizes\[1\] is 0"),
    "cell": (lambda: objectives.Discriminator(sj.GRU), "cell is .*; expected a cell"),
    "behaviour": (
        lambda: objectives.behaviours(
            lambda carry, tokens: (carry, jnp.zeros((2, 3))),
            (),
            jnp.zeros((2, 3), int),
            bos=0,
            key=jax.random.key(0),
            behaviour=lambda carry, logits: logits[0],
        ),
        r"behaviour returned float32\[3\]; expected floats \[B, N\]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
