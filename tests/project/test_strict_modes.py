"""Everything public under JAX's strict settings, as a careful user has them on all day.

No rank is promoted without a word, no dtype changes where 64 bits are on, and nothing computes NaN.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.attending import DECODERS, Attending
from support.zoo import CELLS

import seqjax as sj
from seqjax import decoding, gradients, losses, metrics, objectives, training
from seqjax.core.cell import is_encoder

KEY = jax.random.key(0)
B, T, D, V = 2, 5, 3, 4
LENGTHS = np.array([T, 2])
MASK = np.arange(T) < LENGTHS[:, None]
RESET = np.arange(T) == np.array([[3], [1]])
TOKENS = np.array([[2, 3, 1, 0, 2], [3, 2, 0, 0, 0]])
ELMAN = sj.Elman(D)


def strictly(run: Callable[[], Any]) -> Any:
    """A call under these settings, beside those of all tests: no warning, no dtype promoted."""
    with jax.numpy_rank_promotion("raise"), jax.debug_nans(True):
        return run()


def inputs(*shape: int) -> jax.Array:
    return jax.random.normal(KEY, shape)  # in float64 where 64 bits are on


def total(tree: Any):
    """A number in which every float of a tree counts."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum(jnp.sum(jnp.sin(leaf).astype(jnp.float32)) for leaf in floats)


def cell_of(name):
    return CELLS[name] if name in CELLS else Attending(DECODERS[name])


def unrolled(cell, params, xs):
    """A sequence with everything in it, and a step more of what can be stepped."""
    how: dict[str, Any] = dict(mask=MASK, reset=RESET, lengths=LENGTHS)
    carry, ys = sj.unroll(cell, params, xs, key=KEY, **how)
    last = () if is_encoder(cell) else cell.step(params, carry, xs[:, 0])
    return total((carry, ys, last))


def forms(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize(
    ("wide", "dtype"),
    [
        (True, "float32"),
        pytest.param(True, "float64", marks=pytest.mark.exhaustive),
        pytest.param(False, "float32", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize("name", [*CELLS, *DECODERS])
def test_cells_promote_no_rank_and_keep_their_dtypes(name, wide, dtype):
    """Float32 stays where 64 bits are on. Traced, not run."""
    cell = cell_of(name)

    def run(params, xs):
        return jax.value_and_grad(functools.partial(unrolled, cell), (0, 1))(params, xs)

    with jax.enable_x64(wide):
        drawn = jax.eval_shape(lambda: cell.init(KEY, D))
        params = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype), drawn)
        xs = jax.ShapeDtypeStruct((B, T, D), dtype)
        _, grads = strictly(lambda: jax.eval_shape(run, params, xs))
        assert forms(grads) == forms((params, xs))


@pytest.mark.exhaustive
@pytest.mark.parametrize("wide", [False, True], ids=["x32", "x64"])
@pytest.mark.parametrize("name", [*CELLS, *DECODERS])
def test_cells_make_no_nan(name, wide):
    cell = cell_of(name)
    run = jax.value_and_grad(functools.partial(unrolled, cell), (0, 1))
    with jax.enable_x64(wide):
        params = cell.init(KEY, D)
        value, grads = strictly(lambda: run(params, inputs(B, T, D)))
        assert np.isfinite(value) and training.global_norm(grads) > 0


def model(carry: Any, tokens: jax.Array):
    """A step whose logits depend on what came before; a token may be impossible."""
    carry = jnp.sin(carry + tokens[:, None].astype(carry.dtype))
    return carry, jnp.where(jnp.arange(V)[None] == 2, -jnp.inf, carry)


def finite(carry: Any, tokens: jax.Array):
    carry = jnp.sin(carry + tokens[:, None].astype(carry.dtype))
    return carry, carry


def window_loss(params, carry, batch, key):
    carry, ys = sj.unroll(ELMAN, params, batch, carry=carry)
    return jnp.mean(ys**2), carry


def weights():
    return ELMAN.init(KEY, D)


def start():
    return ELMAN.initial_carry(weights(), B)


def trained():
    optimizer = optax.adam(0.1)
    step = sj.make_train_step(window_loss, optimizer, max_norm=1.0)
    return step(sj.init_train_state(weights(), optimizer, key=KEY, carry=start()), inputs(B, T, D))


def differentiated(loss: Callable[..., Any], *args: Any):
    return jax.value_and_grad(lambda *args: total(loss(*args)), tuple(range(len(args))))(*args)


LENGTH: dict[str, Any] = dict(bos=0, eos=1, max_len=4)
HOW = decoding.Sampling(temperature=0.7, top_k=3, top_p=0.9, min_p=0.01, typical_p=0.95)
PROCESSORS = (
    decoding.RepetitionPenalty(1.2, normalise=True),
    decoding.PresencePenalty(0.1),
    decoding.FrequencyPenalty(0.1),
    decoding.NoRepeatNGram(2),
    decoding.MinLength(2, 1),
    decoding.SequenceBias(((2, 3),), 0.5),
    decoding.ExponentialLengthDecay(2, 1.1, 1),
    decoding.ForcedEnd(4, 1),
)
RULES = decoding.BeamRules(groups=2, diversity=0.5, min_len=2)
LOGITS = functools.partial(inputs, B, T, V)
CALLS: dict[str, Callable[[], Any]] = {
    "linear_scan": lambda: differentiated(
        lambda a, b: sj.linear_scan(jax.nn.sigmoid(a), b, mask=MASK, reset=RESET),
        inputs(B, T, D),
        inputs(B, T, D),
    ),
    "newton": lambda: differentiated(
        lambda p, xs: sj.newton.unroll(ELMAN, p, xs, lengths=LENGTHS, reset=RESET)[:2],
        weights(),
        inputs(B, T, D),
    ),
    "sample": lambda: sj.sample(model, inputs(B, V), key=KEY, how=HOW, **LENGTH),
    "processors": lambda: sj.sample(
        finite, inputs(B, V), key=KEY, processors=PROCESSORS, prompt=TOKENS[:, :2], **LENGTH
    ),
    "stream": lambda: list(sj.stream(finite, inputs(B, V), key=KEY, **LENGTH)),
    "beam_search": lambda: sj.beam_search(
        model,
        inputs(B, V),
        beam_size=4,
        rules=RULES,
        length_penalty=decoding.GNMTLengthPenalty(),
        **LENGTH,
    ),
    "beam_processors": lambda: sj.beam_search(
        finite, inputs(B, V), beam_size=3, processors=PROCESSORS, **LENGTH
    ),
    "stochastic_beam_search": lambda: decoding.stochastic_beam_search(
        model, inputs(B, V), beam_size=3, key=KEY, **LENGTH
    ),
    "sequential_monte_carlo": lambda: decoding.sequential_monte_carlo(
        model, inputs(B, V), num_particles=3, key=KEY, **LENGTH
    ),
    "speculative_sample": lambda: decoding.speculative_sample(
        model, inputs(B, V), finite, inputs(B, V), num_draft=2, key=KEY, **LENGTH
    ),
    "ctc_greedy": lambda: decoding.ctc_greedy(LOGITS(), lengths=LENGTHS),
    "ctc_beam_search": lambda: decoding.ctc_beam_search(LOGITS(), beam_size=3, lengths=LENGTHS),
    "transducer_greedy": lambda: decoding.transducer_greedy(
        jnp.add, LOGITS(), finite, inputs(B, V), bos=0, max_len=3, lengths=LENGTHS
    ),
    "transducer_beam_search": lambda: decoding.transducer_beam_search(
        jnp.add, LOGITS(), finite, inputs(B, V), bos=0, max_len=3, beam_size=2, lengths=LENGTHS
    ),
    "crf_viterbi": lambda: decoding.crf_viterbi(crf_params(), LOGITS(), lengths=LENGTHS),
    "crf_n_best": lambda: decoding.crf_n_best(crf_params(), LOGITS(), n=2, lengths=LENGTHS),
    "crf_sample": lambda: decoding.crf_sample(crf_params(), LOGITS(), key=KEY, mask=MASK),
    "resampling": lambda: decoding.systematic_resampling(KEY, jnp.log(jnp.linspace(0.0, 1.0, V))),
    "teacher_forcing": lambda: objectives.teacher_forcing(
        finite, inputs(B, V), TOKENS, bos=0, mask=MASK
    ),
    "scheduled_sampling": lambda: objectives.scheduled_sampling(
        finite, inputs(B, V), TOKENS, bos=0, truth_probability=0.5, key=KEY, mask=MASK
    ),
    "minimum_risk": lambda: differentiated(
        lambda x: objectives.minimum_risk(x, inputs(B, T), mask=MASK), inputs(B, T)
    ),
    "reinforce": lambda: differentiated(
        lambda x: objectives.reinforce_losses(x, inputs(B, T)), inputs(B, T)
    ),
    "sample_edits": lambda: objectives.sample_edits(
        KEY, TOKENS, LENGTHS, vocab_size=V, temperature=0.8, max_len=T + 1
    ),
    "sample_hamming": lambda: objectives.sample_hamming(
        KEY, TOKENS, LENGTHS, vocab_size=V, temperature=0.8
    ),
    "train_step": trained,
    "truncated": lambda: sj.truncated_value_and_grad(window_loss, 2)(
        weights(), start(), inputs(B, T, D)
    ),
    "rtrl": lambda: gradients.rtrl(window_loss)(
        weights(), gradients.init_rtrl_state(weights(), start()), inputs(B, T, D)
    ),
    "uoro": lambda: gradients.uoro(window_loss)(
        weights(), gradients.init_uoro_state(weights(), start()), inputs(B, T, D), KEY
    ),
    "dynamic_evaluation": lambda: training.dynamic_evaluation(
        window_loss, optax.sgd(0.1), weights(), start(), inputs(2, B, T, D), key=KEY
    ),
    "penalties": lambda: differentiated(
        lambda ys: (
            training.activation_penalty(ys, MASK),
            training.temporal_penalty(ys, MASK, RESET),
        ),
        inputs(B, T, D),
    ),
    "drop_weights": lambda: training.drop_weights(weights(), KEY, 0.5),
    "edit_distance": lambda: metrics.edit_distance(TOKENS, TOKENS[:, ::-1], LENGTHS, LENGTHS),
    "edit_counts": lambda: metrics.edit_counts(TOKENS, TOKENS[:, ::-1], LENGTHS, LENGTHS),
    "over_time": lambda: differentiated(
        lambda xs: (
            sj.data.mean_over_time(xs, MASK),
            sj.data.max_over_time(xs, MASK),
            sj.data.last_over_time(xs, MASK),
        ),
        inputs(B, T, D),
    ),
    "gradient_flow": lambda: sj.diagnostics.gradient_flow(ELMAN, weights(), inputs(B, T, D)),
    "gate_saturation": lambda: sj.diagnostics.gate_saturation(
        sj.GRU(D), sj.GRU(D).init(KEY, D), inputs(B, T, D)
    ),
    "lyapunov": lambda: sj.diagnostics.lyapunov_exponents(
        ELMAN, weights(), inputs(B, T, D), count=2
    ),
    "exposure": lambda: sj.diagnostics.exposure_gap(
        finite, inputs(B, V), jnp.asarray(TOKENS), bos=0, key=KEY, mask=jnp.asarray(MASK)
    ),
    "discriminator": lambda: objectives.Discriminator(ELMAN, layer_sizes=(4,)).logits(
        objectives.Discriminator(ELMAN, layer_sizes=(4,)).init(KEY, D), inputs(B, T, D), MASK
    ),
}


def crf_params():
    return losses.CRFParams.zeros(V, jnp.zeros(()).dtype)


@pytest.mark.parametrize(
    "wide", [True, pytest.param(False, marks=pytest.mark.exhaustive)], ids=["x64", "x32"]
)
@pytest.mark.parametrize("name", CALLS)
def test_functions_under_all_settings(name, wide):
    with jax.enable_x64(wide):
        jax.block_until_ready(jax.tree.leaves(strictly(CALLS[name])))
