"""Any cell with any attention: against plain loops, over time, and under beams."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.attending import DECODERS, Attending

import seqjax as sj
from seqjax.testing import check_cell

B, T, D, S, M, H, A = 2, 4, 2, 3, 3, 4, 5
RANDOM = np.random.default_rng(0)
XS = RANDOM.normal(size=(B, T, D))
MEMORY = RANDOM.normal(size=(B, S, M))
MASK = np.array([[True, False, True], [True, True, True]])


def drawn(decoder, seed=0):
    random = np.random.default_rng(seed)
    params = decoder.init(jax.random.key(0), D, M)
    return jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape) * 0.7), params)


def bound(decoder, params):
    return decoder.bind(params, jnp.asarray(MEMORY), jnp.asarray(MASK))


@pytest.mark.parametrize("name", DECODERS)
def test_keeps_the_contract(name):
    check_cell(Attending(DECODERS[name]), length=4)


def elman(p, x, h):
    return np.tanh(x @ p.w_x + h @ p.w_h + p.b)


def look(p, q, b):
    powers = np.exp([p.v @ np.tanh(q @ p.w_q + m @ p.w_k) for m in MEMORY[b]]) * MASK[b]
    return powers / powers.sum(), powers / powers.sum() @ MEMORY[b]


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("query", ["previous", "current"])
def test_decoder_equals_a_plain_loop(x64, query, feeding):
    how: dict[str, Any] = dict(
        query=query, input_feeding=feeding, attentional_size=A if feeding else None
    )
    decoder = sj.AttentionDecoder(sj.Elman(H), sj.attention.AdditiveAttention(6), **how)
    params = drawn(decoder)
    carry, ys = sj.unroll(decoder, bound(decoder, params), jnp.asarray(XS))
    p = jax.tree.map(np.asarray, params)
    for b in range(B):
        h, fed = np.zeros(H), np.zeros(A)
        for t in range(T):
            x = XS[b, t]
            weights, context = look(p.attention, h, b)
            if query == "previous":
                x = np.concatenate([x, context])
            if feeding:
                x = np.concatenate([x, fed])
            h = elman(p.cell, x, h)
            if query == "current":
                weights, context = look(p.attention, h, b)
            if feeding:
                fed = np.tanh(np.concatenate([context, h]) @ p.w_c)
            np.testing.assert_allclose(ys.output[b, t], fed if feeding else h, rtol=1e-11)
            np.testing.assert_allclose(ys.context[b, t], context, rtol=1e-11)
            np.testing.assert_allclose(ys.alignment[b, t], weights, rtol=1e-11)
        np.testing.assert_allclose(carry.cell[b], h, rtol=1e-11)


def test_a_cell_whose_carry_does_not_tell_starts_from_a_learned_output(x64):
    decoder = sj.AttentionDecoder(sj.Stack((sj.Elman(H),)), sj.attention.AdditiveAttention(6))
    params = drawn(decoder)
    assert params.start.shape == (H,)
    _, ys = sj.unroll(decoder, bound(decoder, params), jnp.asarray(XS))
    p, q = jax.tree.map(np.asarray, params), np.asarray(params.start)
    for t in range(T):
        weights, context = look(p.attention, q, 0)
        h = np.zeros(H) if t == 0 else q
        q = elman(p.cell[0], np.concatenate([XS[0, t], context]), h)
        np.testing.assert_allclose(ys.output[0, t], q, rtol=1e-11)
        np.testing.assert_allclose(ys.alignment[0, t], weights, rtol=1e-11)


def test_the_first_glimpse_follows_from_the_state_that_is_started_from(x64):
    decoder = sj.AttentionDecoder(sj.LSTM(H), sj.attention.AdditiveAttention(6))
    params = drawn(decoder)
    ready = bound(decoder, params)
    h = jnp.asarray(RANDOM.normal(size=(B, H)))
    carry = decoder.initial_carry(ready, B)._replace(cell=sj.LSTMCarry(h, h))
    _, out = decoder.step(ready, carry, jnp.asarray(XS[:, 0]))
    p = jax.tree.map(np.asarray, params)
    for b in range(B):
        np.testing.assert_allclose(out.alignment[b], look(p.attention, h[b], b)[0], rtol=1e-11)


@pytest.mark.parametrize(
    "name, remat",
    [("noisy", 2), ("at_once", sj.core.binomial_schedule(T, 2))],
    ids=["noisy", "at_once"],
)
def test_remat_and_truncation_with_a_row_of_memory_for_each_row(x64, name, remat):
    decoder = DECODERS[name]
    params, key = drawn(decoder), jax.random.key(1)
    lengths, reset = jnp.array([4, 3]), jnp.zeros((B, T), bool).at[:, 1].set(True)
    xs, memory, mask = map(jnp.asarray, (XS, MEMORY, MASK))

    def total(point, **how):
        params, memory = point
        ready = decoder.bind(params, memory, mask)
        options: dict[str, Any] = dict(key=key, lengths=lengths, reset=reset) | how
        carry, ys = sj.unroll(decoder, ready, xs, **options)
        return sum(jnp.sum(jnp.sin(1 + leaf)) for leaf in jax.tree.leaves(ys))

    def windows(point):
        params, memory = point
        ready, carry, whole = decoder.bind(params, memory, mask), None, 0.0
        for begin in (0, 2):
            part = slice(begin, begin + 2)
            start: dict[str, Any] = dict(key=key) if carry is None else dict(carry=carry)
            how: dict[str, Any] = (
                dict(lengths=jnp.clip(lengths - begin, 0, 2), reset=reset[:, part]) | start
            )
            carry, ys = sj.unroll(decoder, ready, xs[:, part], **how)
            carry = jax.lax.stop_gradient(carry)
            whole += sum(jnp.sum(jnp.sin(1 + leaf)) for leaf in jax.tree.leaves(ys))
        return whole

    grad = lambda **how: jax.jit(jax.value_and_grad(lambda p: total(p, **how)))((params, memory))
    plain = grad()
    assert plain[1][1][mask].any() and not plain[1][1][~mask].any()
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    jax.tree.map(close, grad(remat=remat), plain)
    jax.tree.map(close, grad(truncate=2), jax.jit(jax.value_and_grad(windows))((params, memory)))


def test_a_key_starts_the_noise_of_cell_and_attention_apart():
    decoder = DECODERS["noisy"]
    ready = decoder.bind(decoder.init(jax.random.key(0), D, M), jnp.ones((B, S, M)))
    carry = decoder.initial_carry(ready, B, jax.random.key(0))
    keys = [jax.random.key_data(noise.key) for noise in (carry.cell.noise, carry.attention.noise)]
    assert (keys[0] != keys[1]).any(axis=1).all()
    quiet = decoder.initial_carry(ready, B)
    assert quiet.cell.noise is None and quiet.attention.noise is None


@pytest.mark.parametrize("name", ["bahdanau", "coverage"])
def test_beams_share_their_row_of_the_memory(x64, name):
    decoder = DECODERS[name]
    params = drawn(decoder)
    w = jnp.asarray(np.random.default_rng(5).normal(size=(params.cell.w_h.shape[0], 5)))
    w = w if decoder.attentional_size is None else w[: decoder.attentional_size]
    embed = jnp.asarray(np.random.default_rng(6).normal(size=(5, D)))

    @jax.jit
    def search(memory, mask):
        ready = decoder.bind(params, memory, mask)

        def step(carry, tokens):
            carry, out = decoder.step(ready, carry, embed[tokens])
            return carry, out.output @ w, out.alignment

        carry = decoder.initial_carry(ready, memory.shape[0])
        return sj.beam_search(step, carry, bos=0, eos=1, beam_size=3, max_len=4)

    memory, mask = jnp.asarray(MEMORY), jnp.asarray(MASK)
    beams = search(memory, mask)
    assert beams.outputs.shape == (B, 3, 4, S)
    for b in range(B):
        alone = search(memory[b : b + 1], mask[b : b + 1])
        np.testing.assert_array_equal(alone.tokens[0], beams.tokens[b])
        np.testing.assert_allclose(alone.outputs[0], beams.outputs[b], rtol=1e-11, atol=1e-14)
    tokens = jnp.pad(beams.tokens[..., :-1], ((0, 0), (0, 0), (1, 0)))
    ready = decoder.bind(params, memory, mask)
    xs, lengths = embed[tokens.reshape(B * 3, -1)], beams.lengths.reshape(-1)
    carry = decoder.initial_carry(ready, B * 3)
    _, ys = sj.unroll(decoder, ready, xs, carry=carry, lengths=lengths)
    expected = ys.alignment.reshape(beams.outputs.shape)
    np.testing.assert_allclose(beams.outputs, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", DECODERS)
def test_no_step_copies_the_memory_for_each_beam(name):
    decoder = DECODERS[name]
    ready = decoder.bind(decoder.init(jax.random.key(0), D, 9), jnp.ones((2, 7, 9)))
    carry = decoder.initial_carry(ready, 10)
    text = str(jax.make_jaxpr(decoder.step)(ready, carry, jnp.ones((10, D))))
    assert "f32[10,7]" in text and "[10,7,9]" not in text and "[2,5,7,9]" not in text


def test_gradients_reach_the_encoder_through_the_memory():
    encoder, decoder = sj.Bidirectional(sj.GRU(2)), DECODERS["bahdanau"]
    key = jax.random.key(0)
    params = encoder.init(key, D), decoder.init(key, D, 4)

    def loss(params):
        xs = jnp.asarray(XS, jnp.float32)
        _, memory = sj.unroll(encoder, params[0], xs, lengths=jnp.array([4, 0]))
        mask = jnp.arange(T) < jnp.array([[4], [0]])
        _, ys = sj.unroll(decoder, decoder.bind(params[1], memory, mask), xs)
        return jnp.sum(ys.output**2)

    grads = jax.jit(jax.grad(loss))(params)
    for leaf in jax.tree.leaves(grads):
        assert jnp.isfinite(leaf).all()
    assert grads[0].forward.w_h.any() and grads[1].attention.w_k.any()


ADDITIVE = sj.attention.AdditiveAttention(4)


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("expected one such as AdditiveAttention(64).", lambda: (sj.GRU(3), sj.attention.Attended)),
        ("cell is 3; expected a cell: an object with init", lambda: (3, ADDITIVE)),
        ("Let the encoder make the memory.", lambda: (sj.Bidirectional(sj.GRU(3)), ADDITIVE)),
    ],
)
def test_a_decoder_is_made_of_a_cell_and_an_attention(message, make):
    with pytest.raises(ValueError) as caught:
        sj.AttentionDecoder(*make())
    assert message in str(caught.value)


def test_options_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="query is 'next'; expected one of 'previous', 'current'"):
        sj.AttentionDecoder(sj.GRU(3), ADDITIVE, query="next")
    with pytest.raises(ValueError, match="attentional_size is None; expected the size of"):
        sj.AttentionDecoder(sj.GRU(3), ADDITIVE, input_feeding=True)


def test_a_decoder_runs_with_what_it_was_bound_to():
    decoder = sj.AttentionDecoder(sj.GRU(3), ADDITIVE)
    params = decoder.init(jax.random.key(0), 2, 2)
    with pytest.raises(ValueError, match=r"Make it with bind\(params, memory, memory_mask\)"):
        sj.unroll(decoder, params, jnp.ones((2, 3, 2)))
    ready = decoder.bind(params, jnp.ones((2, 5, 2)))
    with pytest.raises(ValueError, match="batch_size has 3 rows but memory has 2"):
        sj.unroll(decoder, ready, jnp.ones((3, 4, 2)))
    with pytest.raises(ValueError, match="xs has dtype int32; .* Embed or one-hot tokens first"):
        sj.unroll(decoder, ready, jnp.ones((2, 4, 2), int))
