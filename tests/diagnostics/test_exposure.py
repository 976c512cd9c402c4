"""The exposure gap: the same targets with true inputs and with own draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.diagnostics import exposure_gap

VOCAB, BATCH, LENGTH, BOS = 4, 5, 6, 3


def counter(carry, tokens):
    """A model of no carry but a count: the token read, and how many there were, decide."""
    table = jnp.sin(jnp.arange(1.0, 1 + VOCAB * VOCAB * 9)).reshape(9, VOCAB, VOCAB)
    return carry + 1, 3 * table[carry, tokens]


def by_hand(row, key, context, greedy):
    """Losses and errors of one row, token by token: teacher-forced and free."""
    free_inputs = [BOS, *row[:context]]
    while len(free_inputs) < LENGTH:
        t = len(free_inputs) - 1
        logits = np.asarray(counter(jnp.array([t]), jnp.array([free_inputs[-1]]))[1][0])
        noise = jax.random.gumbel(jax.random.fold_in(key, t), (VOCAB,), jnp.float32)
        free_inputs.append(int(np.argmax(logits if greedy else logits + np.asarray(noise))))
    found = []
    for inputs in ([BOS, *row[:-1]], free_inputs[:LENGTH]):
        logits = np.stack([counter(t, jnp.int32(i))[1] for t, i in enumerate(inputs)])
        nats = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(LENGTH), row]
        found += [nats, np.argmax(logits, axis=1) != row]
    return found


@pytest.mark.parametrize(("context", "greedy"), [(0, False), (2, False), (1, True)])
def test_gap_is_that_of_a_loop_over_rows_and_tokens(context, greedy):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, VOCAB, (BATCH, LENGTH))
    keys = jax.random.split(jax.random.key(1), BATCH)
    lengths = np.array([6, 4, 5, 2, 4])
    mask = np.arange(LENGTH) < lengths[:, None]
    found = exposure_gap(
        counter,
        jnp.zeros(BATCH, jnp.int32),
        jnp.asarray(targets),
        bos=BOS,
        key=keys,
        context=context,
        temperature=0.0 if greedy else 1.0,
        mask=jnp.asarray(mask),
    )
    rows = [by_hand(targets[b], keys[b], context, greedy) for b in range(BATCH)]
    expected = [np.stack(kind) for kind in zip(*rows, strict=True)]
    mean = lambda kind: np.where(mask, kind, 0).sum(axis=0) / mask.sum(axis=0)
    forced, forced_error, free, free_error = map(mean, expected)
    np.testing.assert_allclose(found.forced, forced, rtol=1e-5)
    np.testing.assert_allclose(found.free, free, rtol=1e-5)
    np.testing.assert_allclose(found.forced_error, forced_error, rtol=1e-6)
    np.testing.assert_allclose(found.free_error, free_error, rtol=1e-6)
    np.testing.assert_array_equal(found.tokens, mask.sum(axis=0))
    np.testing.assert_allclose(found.nats, free - forced, atol=1e-5)
    np.testing.assert_allclose(found.error, free_error - forced_error, atol=1e-6)
    assert not np.any(found.nats[: context + 1]) and np.any(found.nats[context + 1 :])


def test_a_position_without_tokens_has_none():
    mask = jnp.array([[True, False]])
    how = {"bos": 0, "key": jax.random.key(0), "mask": mask}
    found = exposure_gap(counter, jnp.zeros(1, jnp.int32), jnp.zeros((1, 2), int), **how)
    assert found.tokens.tolist() == [1, 0]
    assert found.forced[1] == found.free[1] == found.free_error[1] == 0


@pytest.mark.parametrize("context", [-1, 1.5])
def test_bad_contexts_are_refused(context):
    with pytest.raises(ValueError, match=f"context is {context}; expected a number of tokens"):
        exposure_gap(
            counter, (), jnp.zeros((1, 2), int), bos=0, key=jax.random.key(0), context=context
        )
