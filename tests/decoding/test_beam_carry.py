"""What a step carries and what it closes over, under beam_search."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from support import decoding_models as models
from support.examples import examples

from seqjax import GRU, LSTM, Dropout, Stack, Zoneout
from seqjax.decoding import beam_search

EOS = 1

ALL_KINDS = [{"k": ("key", ()), "i": ("int", (2,))}, [("bool", ()), ("half", (1, 3))]]


@examples(3)
@example(ALL_KINDS)
@given(
    st.recursive(
        st.tuples(st.sampled_from(sorted(models.LEAVES)), st.sampled_from([(), (2,), (1, 3)])),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3),
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
        ),
        max_leaves=4,
    )
)
def test_everything_in_the_carry_is_gathered(spec):
    """Logits depend on what every leaf remembers: a leaf left behind changes a score."""
    is_leaf = lambda node: isinstance(node, tuple)
    carry = jax.tree.map(lambda leaf: models.LEAVES[leaf[0]](leaf[1]), spec, is_leaf=is_leaf)
    bos = np.array([0, 2], np.int32)
    how: dict[str, Any] = dict(bos=bos, eos=EOS, beam_size=9, max_len=3)
    beams = jax.jit(lambda c: beam_search(models.history_step, c, **how))(carry)
    tokens, _, log_probs = models.hypotheses(models.history_step, carry, bos, 3, 3, EOS)
    best = -np.sort(-log_probs, axis=1)[:, :9]
    np.testing.assert_allclose(beams.scores, best, atol=1e-4)
    known = {tuple(row): i for i, row in enumerate(tokens.tolist())}
    for b in range(2):
        index = [known[tuple(row)] for row in beams.tokens[b].tolist()]
        assert len(set(index)) == 9
        np.testing.assert_allclose(beams.log_probs[b], log_probs[b, index], atol=1e-4)


def test_memory_closed_over_equals_memory_carried():
    memory = jax.random.normal(jax.random.key(0), (3, 4, 5))  # [B, S, V]

    def logits(weights, memory):
        return jnp.sum(weights[..., None] * memory, axis=-2)

    def weigh(tokens, n):
        grid = jnp.arange(4.0) * (tokens + n)[..., None].astype(jnp.float32)
        return jax.nn.softmax(jnp.sin(grid), axis=-1)

    def closed(n, tokens):
        weights = weigh(tokens, n).reshape(3, -1, 4)  # [B, K, S]: works for B rows as for B K
        return n + 1, logits(weights, memory[:, None]).reshape(-1, 5)

    def carried(carry, tokens):
        n, memory = carry
        return (n + 1, memory), logits(weigh(tokens, n), memory)

    n, prompt = jnp.zeros(3, jnp.int32), np.array([[1], [2], [3]])
    beams = beam_search(closed, n, bos=0, eos=4, beam_size=3, max_len=5, prompt=prompt)
    tokens = np.concatenate([np.repeat(prompt[:, None], 3, axis=1), beams.tokens], axis=2)
    each = models.token_log_probs(carried, (n, memory), np.zeros(3, np.int32), tokens)[..., 1:]
    total = models.sum_to(each, np.asarray(beams.lengths))
    np.testing.assert_allclose(beams.log_probs, total, atol=1e-5)


def test_streams_of_noise_ride_along():
    """A cell that draws: a hypothesis scores the same when its tokens are read back."""
    cell = Stack((LSTM(3), Dropout(0.5), Zoneout(GRU(4), 0.5)))
    params = jax.tree.map(lambda x: 3 * x, cell.init(jax.random.key(0), 4))

    def step(carry, tokens):
        carry, y = cell.step(params, carry, jax.nn.one_hot(tokens, 4))
        return carry, 4 * y

    carry = cell.initial_carry(params, 2, key=jax.random.key(1))
    beams = beam_search(step, carry, bos=0, eos=EOS, beam_size=3, max_len=5)
    each = models.token_log_probs(step, carry, np.zeros(2, np.int32), np.asarray(beams.tokens))
    total = models.sum_to(each, np.asarray(beams.lengths))
    np.testing.assert_allclose(beams.log_probs, total, atol=1e-4)
    quiet = cell.initial_carry(params, 2)
    each = models.token_log_probs(step, quiet, np.zeros(2, np.int32), np.asarray(beams.tokens))
    assert not np.allclose(beams.log_probs, models.sum_to(each, np.asarray(beams.lengths)))
