import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import checkify

import seqjax as sj
from seqjax.losses import (
    LossSum,
    bits_per_character,
    cross_entropy,
    cross_entropy_sum,
    perplexity,
    token_losses,
)

B, T, V = 3, 5, 7


def example(seed=0, dtype="float32"):
    """Random logits [B, T, V], targets [B, T] and a ragged mask [B, T]."""
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(2.0 * rng.normal(size=(B, T, V)), dtype)
    targets = jnp.asarray(rng.integers(0, V, size=(B, T)))
    mask = jnp.asarray(np.arange(T) < np.array([[5], [2], [0]]))
    return logits, targets, mask


def numpy_losses(logits, targets, epsilon=0.0):
    x = np.asarray(logits, np.float64)
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    q = (1 - epsilon) * np.eye(V)[np.asarray(targets)] + epsilon / V
    return -(q * log_p).sum(-1)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_equals_the_definition(x64, epsilon):
    logits, targets, mask = example(dtype="float64")
    expected = numpy_losses(logits, targets, epsilon)
    got = token_losses(logits, targets, label_smoothing=epsilon)
    assert got.dtype == jnp.float64
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    mean = cross_entropy(logits, targets, mask=mask, label_smoothing=epsilon)
    np.testing.assert_allclose(mean, expected[mask].mean(), rtol=1e-12)


def test_equals_optax(x64):
    logits, targets, _ = example(1, dtype="float64")
    plain = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    np.testing.assert_allclose(token_losses(logits, targets), plain, rtol=1e-12)
    smooth = optax.smooth_labels(jax.nn.one_hot(targets, V), 0.2)
    np.testing.assert_allclose(
        token_losses(logits, targets, label_smoothing=0.2),
        optax.softmax_cross_entropy(logits, smooth),
        rtol=1e-12,
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_gradient_is_softmax_minus_labels(x64, epsilon):
    logits, targets, mask = example(2, dtype="float64")

    def total(logits):
        return cross_entropy_sum(logits, targets, mask=mask, label_smoothing=epsilon).total

    labels = (1 - epsilon) * jax.nn.one_hot(targets, V) + epsilon / V
    expected = jnp.where(mask[..., None], jax.nn.softmax(logits) - labels, 0.0)
    np.testing.assert_allclose(jax.grad(total)(logits), expected, atol=1e-14)


def test_mean_is_divided_once_and_by_the_real_tokens(x64):
    logits, targets, mask = example(3, dtype="float64")
    total = jax.grad(lambda x: cross_entropy_sum(x, targets, mask=mask).total)(logits)
    mean = jax.grad(lambda x: cross_entropy(x, targets, mask=mask))(logits)
    real = int(mask.sum())
    assert real == 7 and real != B * T
    np.testing.assert_allclose(mean * real, total, atol=1e-15)


def test_windows_combine_by_adding_sums():
    logits, targets, mask = example(4)
    parts = [
        cross_entropy_sum(logits[:, cut], targets[:, cut], mask=mask[:, cut])
        for cut in (slice(0, 2), slice(2, T))
    ]
    whole = LossSum(*jax.tree.map(jnp.add, *parts))
    np.testing.assert_allclose(whole.mean, cross_entropy(logits, targets, mask=mask), rtol=1e-6)
    means = [part.mean for part in parts]
    assert abs(sum(means) / 2 - whole.mean) > 1e-3  # the mean of means is another number


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_padding_changes_nothing(garbage, epsilon):
    logits, targets, mask = example(5)
    dirty_logits = jnp.where(mask[..., None], logits, garbage)

    def loss(logits, targets):
        return cross_entropy(logits, targets, mask=mask, label_smoothing=epsilon)

    run = jax.jit(jax.value_and_grad(loss))
    value, grad = run(logits, targets)
    for filler in (-1, V, 2**31 - 1, -(2**31)):
        dirty_targets = jnp.where(mask, targets, filler)
        other_value, other_grad = run(dirty_logits, dirty_targets)
        np.testing.assert_array_equal(other_value, value)
        np.testing.assert_array_equal(other_grad, grad)
    eager, _ = jax.value_and_grad(loss)(dirty_logits, jnp.where(mask, targets, -1))
    np.testing.assert_allclose(eager, value, rtol=1e-6)
    assert not np.any(np.asarray(grad)[~np.asarray(mask)])


def test_nothing_real_is_zero():
    logits, targets, _ = example(6)
    none = jnp.zeros((B, T), bool)
    value, grad = jax.value_and_grad(lambda x: cross_entropy(x, targets, mask=none))(
        jnp.full_like(logits, jnp.nan)
    )
    assert value == 0 and not np.any(grad)
    assert cross_entropy(jnp.zeros((0, T, V)), jnp.zeros((0, T), int)) == 0


def test_half_precision_accumulates_in_float32():
    n = 4096  # in bfloat16 the sum of equal terms stops growing at 256 of them
    logits, targets = jnp.zeros((n, 4), jnp.bfloat16), jnp.zeros(n, int)
    summed = cross_entropy_sum(logits, targets)
    assert summed.total.dtype == jnp.float32 and summed.tokens == n
    np.testing.assert_allclose(summed.mean, math.log(4), rtol=1e-5)
    assert jax.grad(lambda x: cross_entropy(x, targets))(logits).dtype == jnp.bfloat16
    assert cross_entropy(logits.astype(jnp.float16), targets).dtype == jnp.float32


def test_classes_ruled_out_and_large_logits():
    logits = jnp.array([[0.0, -jnp.inf, 0.0], [1e4, 0.0, -1e4]])
    value, grad = jax.value_and_grad(lambda x: cross_entropy(x, jnp.array([0, 0])))(logits)
    np.testing.assert_allclose(value, math.log(2) / 2, rtol=1e-6)
    assert np.all(np.isfinite(grad)) and grad[0, 1] == 0


def test_units():
    np.testing.assert_allclose(perplexity(jnp.log(jnp.array([2.0, 50.0]))), [2, 50], rtol=1e-6)
    np.testing.assert_allclose(bits_per_character(1.0), 1 / math.log(2), rtol=1e-6)
    uniform = cross_entropy(jnp.zeros((9, 8)), jnp.arange(9) % 8)
    np.testing.assert_allclose([perplexity(uniform), bits_per_character(uniform)], [8, 3], 1e-6)


@pytest.mark.parametrize("bad", [-1, V])
def test_targets_out_of_range(bad):
    logits, targets, mask = example(7)
    targets = targets.at[0, 1].set(bad)
    with pytest.raises(ValueError, match=f"targets holds {bad}; expected ids in 0..6"):
        cross_entropy(logits, targets, mask=mask)
    loss = jax.jit(lambda x, y: cross_entropy(x, y, mask=mask))
    assert np.isnan(loss(logits, targets))  # loud, where an index of -1 would mean the last class
    error, _ = checkify.checkify(loss)(logits, targets)
    with pytest.raises(checkify.JaxRuntimeError, match="targets holds an id out of range"):
        error.throw()
    error, _ = checkify.checkify(loss)(logits, targets.at[0, 1].set(0))
    error.throw()


def test_vmap_and_scan():
    logits, targets, mask = example(8)
    loss = lambda x, y, m: cross_entropy(x, y, mask=m)
    rows = jax.vmap(loss)(logits, targets, mask)
    np.testing.assert_allclose(rows[1], loss(logits[1], targets[1], mask[1]), rtol=1e-6)
    _, scanned = jax.lax.scan(lambda c, row: (c, loss(*row)), 0, (logits, targets, mask))
    np.testing.assert_allclose(scanned, rows, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"logits": jnp.zeros((B, T, V), int)}, "logits is int32[3, 5, 7]; expected floats"),
        ({"targets": jnp.zeros((B, T))}, "targets is float32; expected integer ids"),
        ({"targets": jnp.zeros((T, B), int)}, "targets has shape (5, 3) but logits has shape"),
        ({"mask": jnp.ones((B, T))}, "mask is float32; expected bool"),
        ({"mask": jnp.ones((B,), bool)}, "mask has shape (3,) but targets has shape (3, 5)"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; expected"),
    ],
)
def test_errors(change, text):
    logits, targets, mask = example()
    arguments = {"logits": logits, "targets": targets, "mask": mask, **change}
    with pytest.raises(ValueError) as caught:
        cross_entropy(arguments.pop("logits"), arguments.pop("targets"), **arguments)
    assert text in str(caught.value)


def test_reward_augmented_likelihood_is_the_divergence_from_the_payoff_to_the_model(x64):
    """RAML minimises KL(q || p), not KL(p || q): one optimum, two gradients (Norouzi et al. 2016).

    q is the softened payoff over all outputs; the loss of RAML is cross-entropy under draws of q.
    """
    rewards, logits = jnp.array([1.0, 0.2, -0.5, 0.0]), jnp.array([0.3, -1.0, 0.8, 0.1])
    q = jax.nn.softmax(rewards / 0.7)
    classes = jnp.arange(4)

    def raml(logits):
        losses = jax.vmap(lambda y: cross_entropy(logits[None], y[None]))(classes)
        return jnp.sum(q * losses)

    def divergence(a, log_a, log_b):
        return jnp.sum(a * (log_a - log_b))

    def forward(logits):
        return divergence(q, jnp.log(q), jax.nn.log_softmax(logits))

    def backward(logits):
        log_p = jax.nn.log_softmax(logits)
        return divergence(jnp.exp(log_p), log_p, jnp.log(q))

    entropy = -jnp.sum(q * jnp.log(q))
    np.testing.assert_allclose(raml(logits), forward(logits) + entropy, rtol=1e-12)
    got = jax.grad(raml)(logits)
    np.testing.assert_allclose(got, jax.grad(forward)(logits), atol=1e-12)
    np.testing.assert_allclose(got, jax.nn.softmax(logits) - q, atol=1e-12)
    assert jnp.abs(got - jax.grad(backward)(logits)).max() > 0.05
    for loss in (raml, forward, backward):  # the same optimum: the model is the payoff
        np.testing.assert_allclose(jax.grad(loss)(jnp.log(q) + 3), 0, atol=1e-12)


def test_teacher_forced_losses_are_the_chain_of_steps():
    """-log p of a document adds up over steps, each of which reads the token before, bos first."""
    cell, bos, documents = sj.Elman(6), 0, [[3, 1, 4, 1, 5], [2, 5]]
    params = jax.tree.map(lambda a: 2 * a, cell.init(jax.random.key(0), 6))
    step = jax.jit(lambda carry, x: cell.step(params, carry, jax.nn.one_hot(x, 6)))
    chain = []
    for document in documents:
        carry, last = cell.initial_carry(params, 1), bos
        for token in [*document, bos]:
            carry, logits = step(carry, jnp.array([last]))
            chain.append(-float(jax.nn.log_softmax(logits)[0, token]))
            last = token
    (batch,) = sj.Corpus.from_documents(
        [np.array(document) for document in documents], bos=bos, eos=bos, batch_size=1, window=9
    )
    xs = jax.nn.one_hot(batch.inputs, 6)
    logits = jax.jit(lambda xs: sj.unroll(cell, params, xs, reset=batch.reset)[1])(xs)
    np.testing.assert_allclose(token_losses(logits, batch.targets)[0], chain, rtol=1e-5)
    loss = cross_entropy_sum(logits, batch.targets, mask=batch.mask)
    assert loss.tokens == 9
    np.testing.assert_allclose(loss.total, sum(chain), rtol=1e-5)
    np.testing.assert_allclose(loss.mean, sum(chain) / 9, rtol=1e-5)
