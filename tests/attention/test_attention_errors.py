"""Bad calls of attention and the exact text of their errors."""

import jax
import jax.numpy as jnp
import pytest

import seqjax as sj

key = jax.random.key(0)
additive = sj.attention.AdditiveAttention(4)
params = additive.init(key, 3, 2)
monotonic_params = sj.attention.MonotonicAttention(4).init(key, 3, 2)
memory = jnp.ones((2, 5, 2))
prepared = additive.prepare(params, memory)
query = jnp.ones((2, 3))
decoder = sj.AttentionDecoder(sj.GRU(3), additive)
grid = sj.attention.SpatialAttention(additive)
alignments = jnp.ones((2, 3, 5))


def copy(logits=None, gate=None, alignment=None, source=None, size=6, **how):
    given = (
        jnp.ones((2, 4)) if logits is None else logits,
        jnp.ones(2) if gate is None else gate,
        jnp.ones((2, 5)) if alignment is None else alignment,
        jnp.zeros((2, 5), int) if source is None else source,
    )
    return sj.attention.pointer_generator(*given, size, **how)


BAD = {
    "attention_size": (
        lambda: sj.attention.AdditiveAttention(0),
        "attention_size is 0; expected an integer of at least 1.",
    ),
    "memory_size": (
        lambda: additive.init(key, 3, 0),
        "memory_size is 0; expected an integer of at least 1.",
    ),
    "memory_rank": (
        lambda: additive.prepare(params, jnp.ones((2, 2))),
        "memory is float32[2, 2]; expected floats [B, S, M] with at least one place. For a grid [B, Y, X, M] use SpatialAttention.",
    ),
    "memory_empty": (
        lambda: additive.prepare(params, jnp.ones((2, 0, 2))),
        "memory is float32[2, 0, 2]; expected floats [B, S, M] with at least one place. For a grid [B, Y, X, M] use SpatialAttention.",
    ),
    "memory_integer": (
        lambda: sj.attention.DotAttention().prepare((), jnp.ones((2, 5, 2), int)),
        "memory is int32[2, 5, 2]; expected floats [B, S, M] with at least one place. For a grid [B, Y, X, M] use SpatialAttention.",
    ),
    "memory_width": (
        lambda: additive.prepare(params, jnp.ones((2, 5, 3))),
        "memory has width 3 but meets weights [2, 4]; expected width 2, the size that these params were initialised for.",
    ),
    "memory_mask_length": (
        lambda: additive.prepare(params, memory, jnp.ones((2, 4), bool)),
        "memory_mask has shape (2, 4) but memory is [2, 5, 2]; expected [B, S] = (2, 5).",
    ),
    "memory_mask_dtype": (
        lambda: additive.prepare(params, memory, jnp.ones((2, 5))),
        "memory_mask has dtype float32; expected bool [B, S]. Of lengths: jnp.arange(S) < lengths[:, None].",
    ),
    "query_rows": (
        lambda: additive.attend(params, prepared, jnp.ones((3, 3)), ()),
        "query has 3 rows but memory has 2; expected a multiple, K contiguous rows for each row of the memory.",
    ),
    "query_fewer_rows": (
        lambda: additive.attend(params, prepared, jnp.ones((1, 3)), ()),
        "query has 1 rows but memory has 2; expected a multiple, K contiguous rows for each row of the memory.",
    ),
    "query_width": (
        lambda: additive.attend(params, prepared, jnp.ones((2, 4)), ()),
        "query has width 4 but meets weights [3, 4]; expected width 3, the size that these params were initialised for.",
    ),
    "state_rows": (
        lambda: additive.initial_state(params, prepared, 3),
        "batch_size has 3 rows but memory has 2; expected a multiple, K contiguous rows for each row of the memory.",
    ),
    "dot_sizes": (
        lambda: sj.attention.DotAttention().init(key, 3, 2),
        "query_size is 3 but memory_size is 2; DotAttention needs them equal. Use GeneralAttention.",
    ),
    "dot_query": (
        lambda: sj.attention.DotAttention().attend((), prepared, jnp.ones((2, 3)), ()),
        "query is float32[2, 3]; expected floats [N, 4], the width of the keys.",
    ),
    "filter_even": (
        lambda: sj.attention.LocationAttention(4, filter_size=4),
        "filter_size is 4; expected an odd number, which has a centre.",
    ),
    "filters": (
        lambda: sj.attention.LocationAttention(4, num_filters=0),
        "num_filters is 0; expected an integer of at least 1.",
    ),
    "noise": (
        lambda: sj.attention.MonotonicAttention(4, noise=-1.0),
        "noise is -1.0; expected a standard deviation, at least 0.",
    ),
    "offset": (
        lambda: sj.attention.MonotonicAttention(4, offset=float("nan")),
        "offset is nan; expected a finite number.",
    ),
    "monotonic_key": (
        lambda: sj.attention.MonotonicAttention(4).initial_state(
            monotonic_params, prepared, 2, jax.random.split(key, 3)
        ),
        "key has shape (3,); expected one key (shape ()) or 2 keys, one a row.",
    ),
    "heads": (
        lambda: sj.attention.MultiHeadAttention(0, head_size=4),
        "num_heads is 0; expected an integer of at least 1.",
    ),
    "grid_rank": (
        lambda: grid.prepare(grid.init(key, 3, 2), memory),
        "memory has shape (2, 5, 2); expected a grid [B, Y, X, M]. A sequence [B, S, M] goes to a mechanism without SpatialAttention.",
    ),
    "grid_mask": (
        lambda: grid.prepare(grid.init(key, 3, 2), jnp.ones((2, 3, 4, 2)), jnp.ones((2, 12), bool)),
        "memory_mask has shape (2, 12) but memory is [2, 3, 4, 2]; expected [B, Y, X] = (2, 3, 4).",
    ),
    "spatial_attention": (
        lambda: sj.attention.SpatialAttention(sj.GRU(3)),
        "attention is GRU(hidden_size=3, reset='after', use_bias=True, w_x_init=GlorotUniform(), w_h_init=Orthogonal(scale=1.0)); expected one such as AdditiveAttention(64).",
    ),
    "decoder_attention": (
        lambda: sj.AttentionDecoder(sj.GRU(3), sj.attention.AdditiveAttention),
        "attention is <class 'seqjax.attention.additive.AdditiveAttention'>; expected one such as AdditiveAttention(64).",
    ),
    "decoder_cell": (
        lambda: sj.AttentionDecoder(3, additive),
        "cell is 3; expected a cell: an object with init, initial_carry and step.",
    ),
    "decoder_query": (
        lambda: sj.AttentionDecoder(sj.GRU(3), additive, query="next"),
        "query is 'next'; expected one of 'previous', 'current'.",
    ),
    "decoder_size": (
        lambda: sj.AttentionDecoder(sj.GRU(3), additive, attentional_size=0),
        "attentional_size is 0; expected an integer of at least 1.",
    ),
    "decoder_feeding": (
        lambda: sj.AttentionDecoder(sj.GRU(3), additive, input_feeding=True),
        "input_feeding is True but attentional_size is None, and it is the attentional vector that is fed; pass its size.",
    ),
    "decoder_unbound": (
        lambda: sj.unroll(decoder, decoder.init(key, 2, 2), jnp.ones((2, 3, 2))),
        "params is AttentionDecoderParams; expected what bind(params, memory, memory_mask) makes.",
    ),
    "decoder_batch": (
        lambda: sj.unroll(
            decoder, decoder.bind(decoder.init(key, 2, 2), memory), jnp.ones((3, 4, 2))
        ),
        "batch_size has 3 rows but memory has 2; expected a multiple, K contiguous rows for each row of the memory.",
    ),
    "decoder_tokens": (
        lambda: sj.unroll(
            decoder, decoder.bind(decoder.init(key, 2, 2), memory), jnp.ones((2, 4, 2), int)
        ),
        "xs has dtype int32; expected floating point. Embed or one-hot tokens first.",
    ),
    "coverage_rank": (
        lambda: sj.attention.coverage_loss(jnp.ones((2, 3))),
        "alignments is float32[2, 3]; expected floats [B, T, S].",
    ),
    "coverage_mask": (
        lambda: sj.attention.coverage_loss(alignments, mask=jnp.ones((3, 2), bool)),
        "mask is bool[3, 2] but alignments is [2, 3, 5]; expected bool [B, T] = [2, 3].",
    ),
    "doubly_memory_mask": (
        lambda: sj.attention.doubly_stochastic_loss(alignments, memory_mask=jnp.ones((2, 3), bool)),
        "memory_mask is bool[2, 3] but alignments is [2, 3, 5]; expected bool [B, S] = [2, 5].",
    ),
    "copy_logits": (
        lambda: copy(logits=jnp.ones((2, 4), int)),
        "logits is int32[2, 4]; expected floats [..., 4], logits being [2, 4].",
    ),
    "copy_gate": (
        lambda: copy(gate=jnp.ones((2, 1))),
        "gate is float32[2, 1]; expected floats [2], logits being [2, 4].",
    ),
    "copy_alignment": (
        lambda: copy(alignment=jnp.ones((3, 5))),
        "alignment is float32[3, 5]; expected floats [2, S], logits being [2, 4].",
    ),
    "copy_source": (
        lambda: copy(source=jnp.zeros((2, 4), int)),
        "source is int32[2, 4]; expected integer ids [..., S], to be repeated to the shape of alignment, [2, 5].",
    ),
    "copy_source_dtype": (
        lambda: copy(source=jnp.zeros((2, 5))),
        "source is float32[2, 5]; expected integer ids [..., S], to be repeated to the shape of alignment, [2, 5].",
    ),
    "copy_mask": (
        lambda: copy(source_mask=jnp.ones((2, 5))),
        "source_mask is float32[2, 5]; expected bool [..., S], to be repeated to the shape of alignment, [2, 5].",
    ),
    "copy_size": (
        lambda: copy(size=3),
        "extended_size is 3 but logits has V = 4; expected at least V.",
    ),
    "copy_id": (
        lambda: copy(source=jnp.full((2, 5), 6)),
        "source holds 6; expected ids in 0..5, the extended vocabulary. Mask padding.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_says_what_came_and_what_was_expected(name):
    call, message = BAD[name]
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


def test_an_encoder_is_no_decoder():
    with pytest.raises(ValueError, match="an encoder; expected a cell with a step"):
        sj.AttentionDecoder(sj.Bidirectional(sj.GRU(3)), additive)
