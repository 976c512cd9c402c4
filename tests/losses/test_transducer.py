"""The loss of the RNN transducer, beside sums over lattice paths, and what it holds in memory."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.alignments import log_softmax, transducer_log_prob

import seqjax as sj

B, T, U, V, D = 4, 4, 3, 3, 5
RNG = np.random.default_rng(0)
F, G = RNG.normal(size=(B, T, D)), RNG.normal(size=(B, U + 1, D))
W = RNG.normal(size=(D, V))
LABELS = np.array([[1, 2, 1], [2, 2, 0], [0, 0, 0], [1, 1, 0]])
LENGTHS, SIZES = np.array([4, 3, 2, 1]), np.array([3, 2, 0, 2])


def joint_of(w):
    return lambda f, g: jnp.tanh(f + g) @ w


def loss_of(w, f, g, labels, **how):
    return sj.losses.transducer_loss(joint_of(w), f, g, labels, **how)


@jax.jit
def loss_and_grads(w, f, g, labels, lengths, sizes):
    def total(w, f, g):
        losses = loss_of(w, f, g, labels, lengths=lengths, label_lengths=sizes, chunk_size=3)
        return jnp.sum(jnp.where(jnp.isfinite(losses), losses, 0)), losses

    (_, losses), grads = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(w, f, g)
    return losses, grads


def lattice(b):
    """log-probabilities [T, U + 1, V] of a row, in NumPy."""
    return log_softmax(np.tanh(F[b, :, None] + G[b, None]) @ W)


def naive(w, f, g, labels, lengths, sizes):
    """The same losses from all logits at once, by a loop over the lattice."""
    log_p = jax.nn.log_softmax(jnp.tanh(f[:, :, None] + g[:, None]) @ w)
    losses = []
    for b, (n, m) in enumerate(zip(lengths, sizes, strict=True)):
        alpha = {(0, 0): jnp.zeros(())}
        for t, u in itertools.product(range(n), range(m + 1)):
            ways = []
            if t > 0:
                ways.append(alpha[t - 1, u] + log_p[b, t - 1, u, 0])
            if u > 0:
                ways.append(alpha[t, u - 1] + log_p[b, t, u - 1, labels[b, u - 1]])
            if ways:
                alpha[t, u] = jax.nn.logsumexp(jnp.stack(ways))
        losses.append(-(alpha[n - 1, m] + log_p[b, n - 1, m, 0]))
    return jnp.stack(losses)


def test_is_the_sum_over_all_lattice_paths(x64):
    losses, _ = loss_and_grads(W, F, G, LABELS, LENGTHS, SIZES)
    expected = [
        -transducer_log_prob(lattice(b)[:n, : m + 1], LABELS[b, :m])
        for b, (n, m) in enumerate(zip(LENGTHS, SIZES, strict=True))
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-10)


def test_gradients_are_those_of_the_naive_loss(x64):
    _, grads = loss_and_grads(W, F, G, LABELS, LENGTHS, SIZES)
    slow = jax.jit(
        jax.grad(lambda w, f, g: naive(w, f, g, LABELS, LENGTHS, SIZES).sum(), argnums=(0, 1, 2))
    )(W, F, G)
    for got, expected in zip(grads, slow, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)
        assert np.any(got)


def test_forward_mode_is_reverse_mode(x64):
    _, grads = loss_and_grads(W, F, G, LABELS, LENGTHS, SIZES)
    how = {"lengths": LENGTHS, "label_lengths": SIZES, "chunk_size": 3}
    total = lambda w: loss_of(w, F, G, LABELS, **how).sum()
    direction = RNG.normal(size=W.shape)
    _, slope = jax.jit(lambda w, v: jax.jvp(total, (w,), (v,)))(W, direction)
    np.testing.assert_allclose(slope, np.sum(grads[0] * direction), rtol=1e-10)


def test_padding_is_not_read():
    f, g, w = (x.astype(np.float32) for x in (F, G, W))
    real = (np.arange(T) < LENGTHS[:, None])[..., None]
    used = (np.arange(U + 1) <= SIZES[:, None])[..., None]
    told = np.arange(U) < SIZES[:, None]
    clean = loss_and_grads(w, f, g, LABELS, LENGTHS, SIZES)
    for garbage, filler in [(np.nan, -7), (np.inf, V)]:
        dirty = (
            np.where(real, f, garbage),
            np.where(used, g, garbage),
            np.where(told, LABELS, filler),
        )
        other = loss_and_grads(w, dirty[0], dirty[1], dirty[2], LENGTHS, SIZES)
        jax.tree.map(np.testing.assert_array_equal, other, clean)
    _, (_, df, dg) = clean
    assert not np.any(df[~real[..., 0]]) and not np.any(dg[~used[..., 0]])


def test_rows_without_frames_and_ids_out_of_range():
    f, g, w = (x.astype(np.float32) for x in (F, G, W))
    labels = np.array([[1, 2, 1], [2, 0, 1], [0, 0, 0], [1, V, 0]])
    losses, grads = loss_and_grads(w, f, g, labels, np.array([0, 4, 0, 4]), np.array([1, 2, 0, 2]))
    assert np.isposinf(losses[0]) and losses[2] == 0
    assert np.isnan(losses).tolist() == [False, True, False, True]  # a blank, and an id too large
    assert all(np.isfinite(grad).all() for grad in grads)
    nothing = sj.losses.transducer_loss(
        jnp.add, np.zeros((1, 0, V)), np.zeros((1, 1, V)), np.zeros((1, 0), int)
    )
    assert nothing.tolist() == [0]


def test_a_label_ruled_out_is_infinite_without_a_gradient():
    ruled = np.array([0, 0, -np.inf], np.float32)
    f, g = F.astype(np.float32) @ W, G.astype(np.float32) @ W

    def total(f):
        losses = sj.losses.transducer_loss(lambda a, b: a + b + ruled, f, g, LABELS)
        return jnp.sum(jnp.where(losses < jnp.inf, losses, 0)), losses

    grad, losses = jax.jit(jax.grad(total, has_aux=True))(f.astype(np.float32))
    assert np.isposinf(losses).tolist() == [True, True, False, False] or np.isnan(losses[2])
    assert np.isfinite(grad[:2]).all() and not np.any(grad[:2])


def test_inside_of_shard_map():
    mesh, rows = jax.sharding.Mesh(jax.devices()[:1], ("rows",)), jax.sharding.PartitionSpec("rows")
    f, g = F[..., :V].astype(np.float32), G[..., :V].astype(np.float32)

    def local(f, g, labels, lengths, sizes):
        return sj.losses.transducer_loss(
            jnp.add, f, g, labels, lengths=lengths, label_lengths=sizes
        )

    split = jax.shard_map(local, mesh=mesh, in_specs=rows, out_specs=rows)
    got, expected = (
        jax.jit(jax.value_and_grad(lambda f: jnp.sum(run(f, g, LABELS, LENGTHS, SIZES))))(f)  # noqa: B023
        for run in (split, local)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, expected)


def test_the_array_of_all_logits_is_never_made():
    rows, steps, size, vocab_size = 2, 64, 31, 256
    shape = jax.ShapeDtypeStruct
    w = shape((D, vocab_size), jnp.float32)
    f, g = shape((rows, steps, D), jnp.float32), shape((rows, size + 1, D), jnp.float32)
    labels = jnp.ones((rows, size), jnp.int32)
    run = jax.jit(
        jax.value_and_grad(lambda w, f, g: loss_of(w, f, g, labels).sum(), argnums=(0, 1, 2))
    )
    analysis = run.lower(w, f, g).compile().memory_analysis()
    whole = 4 * rows * steps * (size + 1) * vocab_size
    assert analysis is not None and analysis.temp_size_in_bytes < whole / 2


def test_losses_of_sure_models_are_not_negative():
    # The label goes out at frame 0 with probability p, or else at frame 1: together surely.
    p = np.random.default_rng(1).random(256).astype(np.float32)
    sure = np.stack([np.stack([1 - p, p], -1), np.stack([0 * p, 0 * p + 1], -1)], axis=1)
    done = np.broadcast_to(np.array([1, 0], np.float32), sure.shape)
    table = jnp.log(np.stack([sure, done], axis=2))  # [B, T, U + 1, V]
    index = jnp.broadcast_to(jnp.arange(2.0)[:, None], (256, 2, 1))

    def joint(t, u):
        pick = lambda rows, t, u: rows[t.astype(int), u.astype(int)]
        return jax.vmap(pick)(table, t[..., 0], u[..., 0])

    losses = jax.jit(
        lambda: sj.losses.transducer_loss(joint, index, index, np.ones((256, 1), int))
    )()
    assert np.all(losses >= 0) and np.all(losses < 1e-5)


@pytest.mark.parametrize("chunk_size", [1, 4, 9])
def test_chunks_change_nothing(chunk_size):
    f, g = F[:1, :, :V].astype(np.float32), G[:1, :, :V].astype(np.float32)
    whole = sj.losses.transducer_loss(jnp.add, f, g, LABELS[:1])
    part = sj.losses.transducer_loss(jnp.add, f, g, LABELS[:1], chunk_size=chunk_size)
    np.testing.assert_allclose(part, whole, rtol=1e-6)
