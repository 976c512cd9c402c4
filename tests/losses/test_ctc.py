"""The loss of connectionist temporal classification, beside sums over all paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from support.alignments import collapse, ctc_probabilities

import seqjax as sj

T, V, N = 6, 3, 3
RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.normal(size=(T, V))

loss = jax.jit(sj.losses.ctc_loss, static_argnames="blank")
loss_and_grad = jax.jit(
    jax.value_and_grad(lambda *args, **how: sj.losses.ctc_loss(*args, **how).sum()),
    static_argnames="blank",
)


@pytest.mark.parametrize("blank", [0, 2])
def test_is_the_sum_over_all_paths(x64, blank):
    names = [v for v in range(V) if v != blank]
    whole = [y for n in range(N + 1) for y in itertools.product(names, repeat=n)]
    labels = np.array([(*y, *[blank] * (N - len(y))) for y in whole])
    logits = np.broadcast_to(LOGITS, (len(whole), T, V))
    sizes = np.array([len(y) for y in whole])
    losses = loss(logits, labels, label_lengths=sizes, blank=blank)
    found = ctc_probabilities(LOGITS, blank)
    assert (1, 1) in found or (0, 0) in found  # repeated labels are among them
    expected = [-np.log(found[y]) for y in whole]
    np.testing.assert_allclose(losses, expected, rtol=1e-10)


def test_the_gradient_is_the_softmax_less_the_posterior(x64):
    # Graves et al. 2006, equation 15: the posterior of label v at frame t, by enumeration.
    y = (1, 1)
    log_p = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    posterior = np.zeros((T, V))
    for path in itertools.product(range(V), repeat=T):
        if collapse(path) == y:
            p = np.exp(sum(log_p[t, v] for t, v in enumerate(path)))
            posterior[range(T), path] += p
    posterior /= posterior.sum(-1, keepdims=True)
    _, grad = loss_and_grad(
        jnp.asarray(LOGITS)[None], np.array([[*y, 0]]), label_lengths=np.array([2])
    )
    np.testing.assert_allclose(grad[0], np.exp(log_p) - posterior, atol=1e-10)


RAGGED = {
    "lengths": np.array([6, 4, 3, 0]),
    "label_lengths": np.array([3, 2, 0, 0]),
}
LABELS = np.array([[1, 2, 1], [2, 2, 0], [0, 0, 0], [0, 0, 0]])


def test_each_row_has_its_lengths_and_padding_is_not_read():
    logits = RNG.normal(size=(4, T, V)).astype(np.float32)
    real = np.arange(T) < RAGGED["lengths"][:, None]
    real_labels = np.arange(N) < RAGGED["label_lengths"][:, None]
    value, grad = loss_and_grad(np.where(real[..., None], logits, 0), LABELS, **RAGGED)
    apart = [
        -np.log(ctc_probabilities(logits[b, :n])[tuple(LABELS[b, :m])])
        for b, (n, m) in enumerate(zip(*RAGGED.values(), strict=True))
    ]
    assert apart[3] == 0  # no frame has one path, the empty one
    np.testing.assert_allclose(value, sum(apart), rtol=1e-5)
    for garbage, filler in itertools.product([np.nan, np.inf], [-7, V, 2**31 - 1]):
        dirty = np.where(real[..., None], logits, garbage), np.where(real_labels, LABELS, filler)
        other, other_grad = loss_and_grad(*dirty, **RAGGED)
        np.testing.assert_array_equal(other, value)
        np.testing.assert_array_equal(other_grad, grad)
    assert not np.any(np.asarray(grad)[~real]) and np.all(np.any(grad[:3], axis=(1, 2)))


def test_what_cannot_be_emitted_is_infinite_and_has_no_gradient():
    logits = RNG.normal(size=(4, T, V)).astype(np.float32)
    labels = np.array([[1, 2, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0]])
    short = {"lengths": np.array([2, 2, 3, 0]), "label_lengths": np.array([3, 2, 2, 1])}
    losses = loss(logits, labels, **short)
    assert np.isposinf(losses).tolist() == [True, True, False, True]
    _, grad = loss_and_grad(logits, labels, **short)
    assert np.isfinite(grad).all() and np.any(grad, axis=(1, 2)).tolist() == [0, 0, 1, 0]
    checked = jax.jit(checkify.checkify(lambda *a: sj.losses.ctc_loss(*a, **short)))
    assert "need more frames" in checked(logits, labels)[0].get()


def test_logits_of_minus_infinity_rule_a_label_out(x64):
    logits = np.where(np.arange(V) == 2, -np.inf, LOGITS)[None]
    args = logits.repeat(2, axis=0), np.array([[1, 1, 0], [1, 2, 0]])
    losses = loss(*args, label_lengths=np.array([2, 2]))
    without = ctc_probabilities(LOGITS[:, :2])
    np.testing.assert_allclose(losses[0], -np.log(without[1, 1]), rtol=1e-10)
    assert np.isposinf(losses[1])
    _, grad = loss_and_grad(*args, label_lengths=np.array([2, 2]))
    assert np.isfinite(grad).all() and not np.any(grad[1]) and np.any(grad[0])


def test_ids_out_of_range_and_blanks_among_labels_are_nan_inside_jit():
    logits = np.broadcast_to(LOGITS, (4, T, V)).astype(np.float32)
    losses = loss(logits, np.array([[1, -1], [V, 1], [0, 1], [2, 1]]))
    assert np.isnan(losses).tolist() == [True, True, True, False]


def test_losses_of_sure_models_are_not_negative_and_half_precision_is_widened():
    logits = jnp.array([[[0.0, 17.0], [0.0, 17.0]]])
    value, grad = loss_and_grad(logits, jnp.array([[1]]))
    assert value >= 0 and np.isfinite(grad).all()
    half = loss(jnp.asarray(LOGITS, jnp.bfloat16)[None], jnp.array([[1, 2]]))
    full = loss(jnp.asarray(LOGITS, jnp.bfloat16).astype(jnp.float32)[None], jnp.array([[1, 2]]))
    assert half.dtype == jnp.float32
    np.testing.assert_array_equal(half, full)


def test_no_labels_and_no_frames_have_empty_axes():
    logits = LOGITS.astype(np.float32)[None]
    blanks = -np.log(ctc_probabilities(logits[0])[()])
    one = np.array([1])  # padding is no repeat, for which a blank would be needed
    losses = sj.losses.ctc_loss(logits, np.array([[1, 0, 0]]), lengths=one, label_lengths=one)
    assert np.isfinite(losses[0])
    np.testing.assert_allclose(
        sj.losses.ctc_loss(logits, np.zeros((1, 0), int)), [blanks], rtol=1e-5
    )
    assert sj.losses.ctc_loss(np.zeros((1, 0, V), np.float32), np.zeros((1, 0), int)).tolist() == [
        0
    ]


def test_inside_of_shard_map():
    mesh, rows = jax.sharding.Mesh(jax.devices()[:1], ("rows",)), jax.sharding.PartitionSpec("rows")
    logits = RNG.normal(size=(4, T, V)).astype(np.float32)
    local = lambda x, y, n, m: sj.losses.ctc_loss(x, y, lengths=n, label_lengths=m)
    split = jax.shard_map(local, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=True)
    total = lambda x: jnp.sum(split(x, LABELS, *RAGGED.values()))
    value, grad = jax.jit(jax.value_and_grad(total))(logits)
    expected = loss_and_grad(logits, LABELS, **RAGGED)
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(grad, expected[1], atol=1e-6)


def test_second_derivatives(x64):
    from jax.test_util import check_grads

    run = lambda x: sj.losses.ctc_loss(x[None], np.array([[1, 1, 2]])).sum()
    check_grads(jax.jit(run), (jnp.asarray(LOGITS),), order=2)
