"""Bad calls of the structured losses and their decoders, and the exact text of their errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax import decoding, losses, metrics

x = jnp.zeros((2, 4, 3))
y = np.array([[1, 2], [2, 1]])
f, g = jnp.zeros((2, 4, 3)), jnp.zeros((2, 3, 3))
crf = losses.CRFParams.zeros(3)
emissions, paths = jnp.zeros((2, 4, 3)), np.zeros((2, 4), int)
key = jax.random.key(0)
hidden, weights = jnp.zeros((2, 3)), jnp.zeros((5, 3))
proposal = losses.make_proposal(np.ones(5))
adaptive = sj.losses.AdaptiveSoftmax((2, 5))


def language(step=lambda c, t: (c, jnp.zeros((*t.shape, 3))), carry=(), **how):
    return decoding.LanguageModel(step, carry, **({"bos": 0} | how))


def search(model=None, **how):
    return decoding.ctc_beam_search(x, **({"beam_size": 2, "language": model} | how))


def network(carry, tokens):
    return carry, jnp.zeros((*tokens.shape, 3))


def greedy(**how):
    given = {"joint": jnp.add, "encoded": f, "step": network, "carry": jnp.zeros(2), "bos": 0}
    return decoding.transducer_greedy(**(given | {"max_len": 2} | how))


def sampled(w=weights, t=paths[:, 0], **how):
    return sj.losses.sampled_softmax_losses(
        hidden, w, t, proposal, **({"key": key, "num_samples": 2} | how)
    )


BAD = {
    "ctc_rank": (
        lambda: sj.losses.ctc_loss(x[0], y),
        "logits is float32[4, 3]; expected floats [B, T, V].",
    ),
    "ctc_integers": (
        lambda: sj.losses.ctc_loss(x.astype(int), y),
        "logits is int32[2, 4, 3]; expected floats [B, T, V].",
    ),
    "ctc_labels_dtype": (
        lambda: sj.losses.ctc_loss(x, jnp.zeros((2, 2))),
        "labels is float32; expected integer ids, not one-hot rows or probabilities.",
    ),
    "ctc_labels_rows": (
        lambda: sj.losses.ctc_loss(x, y[:1]),
        "labels has shape (1, 2) but logits has batch size 2; expected [B, N], padded on the right.",
    ),
    "ctc_blank": (
        lambda: sj.losses.ctc_loss(x, y, blank=3),
        "blank is 3; expected an integer with 0 <= blank < 3, the last axis of logits.",
    ),
    "ctc_blank_negative": (
        lambda: sj.losses.ctc_loss(x, y, blank=-1),
        "blank is -1; expected an integer with 0 <= blank < 3, the last axis of logits.",
    ),
    "ctc_blank_kind": (
        lambda: sj.losses.ctc_loss(x, y, blank=0.5),
        "blank is 0.5; expected an integer with 0 <= blank < 3, the last axis of logits.",
    ),
    "ctc_label_high": (
        lambda: sj.losses.ctc_loss(x, np.array([[1, 2], [3, 1]])),
        "labels holds 3; expected ids in 0..2 other than blank.",
    ),
    "ctc_label_blank": (
        lambda: sj.losses.ctc_loss(x, np.array([[1, 2], [0, 1]])),
        "labels holds 0; expected ids in 0..2 other than blank.",
    ),
    "ctc_lengths_beyond": (
        lambda: sj.losses.ctc_loss(x, y, lengths=np.array([4, 5])),
        "lengths has values from 4 to 5; expected 0 <= lengths <= T = 4, the size of axis 1 of logits.",
    ),
    "ctc_lengths_dtype": (
        lambda: sj.losses.ctc_loss(x, y, lengths=np.array([4.0, 4.0], np.float32)),
        "lengths has dtype float32; expected integers [B].",
    ),
    "ctc_label_lengths": (
        lambda: sj.losses.ctc_loss(x, y, label_lengths=np.array([1])),
        "label_lengths has shape (1,) but labels has batch size 2 (labels is [B, T] = (2, 2)); is labels time-major? seqjax is batch-major.",
    ),
    "ctc_too_long": (
        lambda: sj.losses.ctc_loss(x, y, lengths=np.array([4, 1])),
        "labels of row 1 need 2 frames but its length is 1; expected one a label and one for a blank between equal neighbours. Leave such rows out, or reduce the frames by less.",
    ),
    "ctc_repeats_too_long": (
        lambda: sj.losses.ctc_loss(x, np.array([[1, 1], [1, 2]]), lengths=np.array([2, 2])),
        "labels of row 0 need 3 frames but its length is 2; expected one a label and one for a blank between equal neighbours. Leave such rows out, or reduce the frames by less.",
    ),
    "collapse_rank": (
        lambda: decoding.ctc_collapse(y[0]),
        "paths has shape (2,); expected [B, T] integers.",
    ),
    "collapse_floats": (
        lambda: decoding.ctc_collapse(np.ones((2, 2), np.float32)),
        "paths is float32; expected integer ids, not one-hot rows or probabilities.",
    ),
    "greedy_blank": (
        lambda: decoding.ctc_greedy(x, blank=7),
        "blank is 7; expected an integer with 0 <= blank < 3, the last axis of logits.",
    ),
    "beam_size": (
        lambda: search(beam_size=0),
        "beam_size is 0; expected an integer of at least 1.",
    ),
    "beam_max_len": (
        lambda: search(max_len=0),
        "max_len is 0; expected an integer of at least 1.",
    ),
    "language_vocabulary": (
        lambda: search(language(lambda c, t: (c, jnp.zeros((*t.shape, 2))))),
        "language.step returned 2 logits for a search over 3 ids; expected at least as many: labels have the same ids in both.",
    ),
    "language_weight": (
        lambda: search(language(weight=-0.5)),
        "language.weight is -0.5; expected a number of at least 0.",
    ),
    "language_rows": (
        lambda: search(language(bos=np.array([0, 0, 0]))),
        "language has batch size 3 but the search has 2 rows; expected bos and carry to lead with the same B.",
    ),
    "language_eos": (
        lambda: search(language(eos=3)),
        "eos is 3; expected an integer with 0 <= eos < 3, the vocabulary size (the last axis of the step's logits), or a tuple of different ones.",
    ),
    "transducer_encoded": (
        lambda: sj.losses.transducer_loss(jnp.add, f[0], g, y),
        "encoded is float32[4, 3]; expected floats [B, steps, features].",
    ),
    "transducer_predicted": (
        lambda: sj.losses.transducer_loss(jnp.add, f, g[:, 1:], y),
        "predicted has shape (2, 2, 3); expected [B, U + 1, E] with B, U + 1 = (2, 3): one output before any label and one after each. Feed the prediction network a start token and then the labels.",
    ),
    "transducer_joint": (
        lambda: sj.losses.transducer_loss(lambda a, b: (a + b).sum(-1), f, g, y),
        "joint returned ShapeDtypeStruct(shape=(2, 1, 3), dtype=float32) for one frame; expected float logits [B, 1, U + 1, V] = (2, 1, 3, V). It must broadcast over its leading axes.",
    ),
    "transducer_blank": (
        lambda: sj.losses.transducer_loss(jnp.add, f, g, y, blank=3),
        "blank is 3; expected an integer with 0 <= blank < 3, the last axis of logits.",
    ),
    "transducer_label": (
        lambda: sj.losses.transducer_loss(jnp.add, f, g, np.array([[1, 2], [1, -1]])),
        "labels holds -1; expected ids in 0..2 other than blank.",
    ),
    "transducer_chunk": (
        lambda: sj.losses.transducer_loss(jnp.add, f, g, y, chunk_size=0),
        "chunk_size is 0; expected an integer of at least 1.",
    ),
    "transducer_no_frames": (
        lambda: sj.losses.transducer_loss(jnp.add, f, g, y, lengths=np.array([4, 0])),
        "lengths is 0 where label_lengths is not; expected a frame at least, at which labels can go out. Leave such rows out.",
    ),
    "transducer_greedy_encoded": (
        lambda: greedy(encoded=f[0]),
        "encoded is float32[4, 3]; expected floats [B, T, D].",
    ),
    "transducer_greedy_rows": (
        lambda: greedy(carry=(), bos=np.array([0, 0, 0])),
        "carry has batch size 3 but encoded has 2; expected the same.",
    ),
    "transducer_greedy_joint": (
        lambda: greedy(joint=lambda a, b: a[0]),
        "joint returned ShapeDtypeStruct(shape=(3,), dtype=float32) for encoded [B, D] and predicted [B, E]; expected logits [B, V].",
    ),
    "transducer_greedy_max_len": (
        lambda: greedy(max_len=0),
        "max_len is 0; expected an integer of at least 1.",
    ),
    "crf_params": (
        lambda: sj.losses.crf_loss((crf.transitions,), emissions, paths),
        "params is tuple; expected CRFParams(transitions, start, end).",
    ),
    "crf_shapes": (
        lambda: sj.losses.crf_loss(losses.CRFParams.zeros(4), emissions, paths),
        "params has shapes ((4, 4), (4,), (4,)); expected [K, K], [K] and [K] with K = 3, the last axis of emissions.",
    ),
    "crf_zeros": (
        lambda: losses.CRFParams.zeros(0),
        "num_tags is 0; expected an integer of at least 1.",
    ),
    "crf_tag": (
        lambda: sj.losses.crf_loss(crf, emissions, paths + 3),
        "tags holds 3; expected ids in 0..2, the last axis of emissions.",
    ),
    "crf_tags_shape": (
        lambda: sj.losses.crf_loss(crf, emissions, paths[:, 1:]),
        "tags has shape (2, 3); expected (2, 4), that of emissions without its last axis.",
    ),
    "crf_mask": (
        lambda: losses.crf_log_partition(crf, emissions, mask=np.ones((2, 4), int)),
        "mask has dtype int32; expected bool [B, T]. Write mask > 0 or mask != 0, whichever you mean.",
    ),
    "crf_lengths": (
        lambda: losses.crf_marginals(crf, emissions, lengths=np.array([-1, 4])),
        "lengths has values from -1 to 4; expected 0 <= lengths <= T = 4, the size of axis 1 of emissions.",
    ),
    "crf_emissions": (
        lambda: decoding.crf_viterbi(crf, emissions[0]),
        "emissions is float32[4, 3]; expected floats [B, T, K].",
    ),
    "crf_key": (
        lambda: decoding.crf_sample(crf, emissions, key=3),
        "key is 3; expected a typed key. Make one with jax.random.key(seed), or wrap an old one with jax.random.wrap_key_data(key).",
    ),
    "tag_scheme": (
        lambda: metrics.tag_rules(["O"], scheme="IOB"),
        "scheme is 'IOB'; expected one of 'BIO', 'IOB1', 'IO', 'BIOES', 'BILOU'.",
    ),
    "tag_name": (
        lambda: metrics.tag_spans(["O", "E-X"]),
        "tag 'E-X' is not one of BIO; expected 'O' or one of B, I, alone or with '-' and a type, such as 'B-PER'.",
    ),
    "tag_type": (
        lambda: metrics.tag_rules(["O", "B-"], scheme="BIOES"),
        "tag 'B-' is not one of BIOES; expected 'O' or one of B, I, E, S, alone or with '-' and a type, such as 'B-PER'.",
    ),
    "tag_twice": (
        lambda: metrics.tag_rules(["O", "O"]),
        "names is ['O', 'O']; expected different ones.",
    ),
    "tag_none": (
        lambda: metrics.tag_rules([]),
        "names is empty; expected one name for each tag.",
    ),
    "tag_string": (
        lambda: metrics.tag_spans("BIO"),
        "tags is 'BIO'; expected a list of names such as ['B-PER', 'O'], one row.",
    ),
    "tag_rows": (
        lambda: metrics.tag_spans([["B-X"], ["O"]]),
        "tags is [['B-X'], ['O']]; expected a list of names such as ['B-PER', 'O'], one row.",
    ),
    "span_one": (
        lambda: metrics.span_tags(metrics.Span(0, 2, "X"), 3),
        "spans holds 0; expected a span (start, stop, type), such as (0, 2, 'PER').",
    ),
    "span_neighbours": (
        lambda: metrics.span_tags([(0, 1, "X"), (1, 2, "X")], 3, scheme="IO"),
        "spans holds Span(start=1, stop=2, type='X') right after another of its type; 'IO' cannot tell them apart. Choose scheme='BIO'.",
    ),
    "span_one_row": (
        lambda: metrics.span_scores([metrics.Span(0, 2, "X")], [metrics.Span(0, 2, "X")]),
        "expected is one row of spans; expected a list of rows, [[Span, ...], ...]. For one row pass [expected].",
    ),
    "span_one_row_of_tuples": (
        lambda: metrics.span_scores([[(0, 2, "X")]], [(0, 2, "X")]),
        "predicted[0] holds 0; expected a span (start, stop, type), such as (0, 2, 'PER').",
    ),
    "span_tags_scored": (
        lambda: metrics.span_scores([["B-X"]], [["B-X"]]),
        "expected[0] holds 'B-X'; expected a span (start, stop, type), such as (0, 2, 'PER').",
    ),
    "span_mean": (
        lambda: metrics.mean_scores(metrics.SpanScores(1, 1, 1)),
        "by_type is SpanScores(correct=1, predicted=1, expected=1); expected SpanScores by type, from span_scores_by_type.",
    ),
    "span_beyond": (
        lambda: metrics.span_tags([(1, 4, "X")], 3),
        "spans holds Span(start=1, stop=4, type='X'); expected 0 <= start < stop <= 3, the length of the row.",
    ),
    "span_overlap": (
        lambda: metrics.span_tags([(0, 2, "X"), (1, 3, "Y")], 3),
        "spans holds Span(start=1, stop=3, type='Y'), which overlaps another; expected spans apart.",
    ),
    "span_rows": (
        lambda: metrics.span_scores([[]], []),
        "expected has 1 rows but predicted has 0; expected as many.",
    ),
    "proposal_negative": (
        lambda: losses.make_proposal([1.0, -0.5]),
        "weights has values from -0.5 to 1.0; expected finite numbers of at least 0, not all 0.",
    ),
    "proposal_nan": (
        lambda: losses.make_proposal([1.0, np.nan]),
        "weights has values from nan to nan; expected finite numbers of at least 0, not all 0.",
    ),
    "proposal_zero": (
        lambda: losses.make_proposal([0, 0]),
        "weights has values from 0.0 to 0.0; expected finite numbers of at least 0, not all 0.",
    ),
    "proposal_shape": (
        lambda: losses.make_proposal(np.ones((2, 2))),
        "weights has shape (2, 2); expected one number a class, [V].",
    ),
    "sampled_width": (
        lambda: sampled(w=weights.T),
        "hidden has shape (2, 3) and weights (3, 5); expected [..., D] and [V, D], a row a class.",
    ),
    "sampled_classes": (
        lambda: sampled(w=weights[:4]),
        "proposal is over 5 classes but weights has 4 rows; expected as many.",
    ),
    "sampled_count": (
        lambda: sampled(num_samples=0),
        "num_samples is 0; expected an integer of at least 1.",
    ),
    "sampled_target": (
        lambda: sampled(t=np.array([0, 5])),
        "targets holds 5; expected ids in 0..4. Mask padding.",
    ),
    "sampled_targets_shape": (
        lambda: sampled(t=np.array([0])),
        "targets has shape (1,); expected (2,), that of hidden without its last axis.",
    ),
    "sampled_mask": (
        lambda: sampled(mask=np.array([1, 0])),
        "mask is int32[2]; expected bool[2], True = real, one entry a target.",
    ),
    "sampled_key": (
        lambda: sampled(key=jax.random.split(key)),
        "key has shape (2,); expected one key (shape ()).",
    ),
    "adaptive_empty": (
        lambda: sj.losses.AdaptiveSoftmax(()),
        "cutoffs is (); expected ascending integers, where each cluster of classes ends, the last one the size of the vocabulary.",
    ),
    "adaptive_order": (
        lambda: sj.losses.AdaptiveSoftmax((5, 5)),
        "cutoffs is (5, 5); expected ascending integers, where each cluster of classes ends, the last one the size of the vocabulary.",
    ),
    "adaptive_zero": (
        lambda: sj.losses.AdaptiveSoftmax((0, 5)),
        "cutoffs is (0, 5); expected ascending integers, where each cluster of classes ends, the last one the size of the vocabulary.",
    ),
    "adaptive_shrink": (
        lambda: sj.losses.AdaptiveSoftmax((2, 5), shrink=0.5),
        "shrink is 0.5; expected a number of at least 1.",
    ),
    "adaptive_target": (
        lambda: adaptive.losses(adaptive.init(key, 3), hidden, np.array([0, 5])),
        "targets holds 5; expected ids in 0..4. Mask padding.",
    ),
    "unlikelihood_candidates": (
        lambda: sj.losses.unlikelihood_losses(x, np.zeros((2, 4), int)),
        "candidates is int32[2, 4]; expected bool[2, 4, 3], the shape of logits.",
    ),
    "unlikelihood_single": (
        lambda: sj.losses.unlikelihood_losses(jnp.zeros((2, 1)), np.ones((2, 1), bool)),
        "logits is float32[2, 1]; expected floats [..., V], V at least 2.",
    ),
    "unlikelihood_mask": (
        lambda: sj.losses.unlikelihood_losses(
            x, np.ones(x.shape, bool), mask=np.ones((2, 3), bool)
        ),
        "mask is bool[2, 3]; expected bool[2, 4], True = real.",
    ),
    "previous_rank": (
        lambda: losses.previous_tokens(y[0], 3),
        "targets has shape (2,); expected [B, T] integers.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_message(name):
    call, message = BAD[name]
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
