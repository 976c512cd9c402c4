"""Training a model on inputs that are partly its own draws."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax.core.noise import Noise, draw_rows, fold_in_rows
from seqjax.decoding.engine.rows import ASIDE
from seqjax.decoding.processors.settings import Sampling
from seqjax.losses.tokens import cross_entropy_sum
from seqjax.objectives.teacher_forcing import (
    ForcedRun,
    Step,
    check_arguments,
    check_targets,
    draw,
    forced_run,
    numbers_before,
    run,
    tokens_before,
)


@own_ranks
def scheduled_sampling(
    step: Step,
    carry: Any,
    targets: Any,
    *,
    bos: Any,
    truth_probability: Any,
    key: jax.Array,
    temperature: Any = 1.0,
    mask: Any = None,
    xs: Any = None,
) -> ForcedRun:
    """Reads the true token before each target by a coin, else what the model drew there.

        x̃ₜ = yₜ₋₁ with probability ε, else ŷₜ₋₁ ~ p(· | x̃₁ … x̃ₜ₋₁),   a coin a token
        L(θ) = -E Σₜ log p(yₜ | x̃₁ … x̃ₜ; θ)

    The target is the ground truth whatever was read. The gradient takes the inputs x̃ as given and
    passes through no draw. It is therefore a biased estimate of the gradient of L, whose inputs
    depend on θ. Coins and draws add noise to that of the data. ε = 1 is exactly teacher forcing,
    ε = 0 free running, with the draws of `seqjax.sample` for the same key.

    Do not use it where the model's distribution matters: below ε = 1 its optimum is not the data's
    (Huszár 2015). At ε = 0 a model of yₜ given yₜ₋₁ learns the marginal. It helps where one answer
    is right and the past is a weak hint at it, such as labels of a signal.

    Args:
      step: step(carry, tokens [B]) -> (carry, logits [B, V]), or step(carry, tokens, x) with xs;
        row-wise. It closes over parameters and memory.
      carry: any pytree whose leaves lead with the batch axis.
      targets: [B, T] integers, the ground truth.
      bos: what is read first, an integer or [B].
      truth_probability: ε, a number or [B], may be traced: one compilation for a whole schedule,
        such as `InverseSigmoidDecay`. It is 1 - sampling_probability of TensorFlow Addons.
        A traced value below 0 or NaN counts as 0, above 1 as 1.
      key: a typed key (row b uses fold_in(key, b)), or typed keys [B]. Row b's coins and draws
        depend only on its key and its number of real steps.
      temperature: of the draws, >= 0, a number or [B]; 0 is the exact argmax.
      mask: [B, T] bool, True = real; None means that every step is. A masked step holds the carry
        and what was drawn, and takes no coin.
      xs: what else the step reads, leaves [B, T, ...]; None if nothing.

    Returns:
      `ForcedRun`; its `loss.mean` is the objective in nats a token.

    Raises:
      ValueError: if a probability is outside [0, 1] or a temperature negative and its value is
        known, arguments do not fit one another, or step changes its carry or returns no logits.

    Example:
      >>> step = lambda carry, tokens: (carry, 4 * jnp.eye(3)[(tokens + 1) % 3])
      >>> how = dict(bos=0, key=jax.random.key(0), temperature=0)
      >>> targets = jnp.array([[2, 2, 2, 2]])
      >>> scheduled_sampling(step, (), targets, truth_probability=1.0, **how).inputs.tolist()
      [[0, 2, 2, 2]]
      >>> scheduled_sampling(step, (), targets, truth_probability=0.0, **how).inputs.tolist()
      [[0, 1, 2, 0]]

    References:
      Bengio, Vinyals, Jaitly and Shazeer, Scheduled Sampling for Sequence Prediction with Recurrent
      Neural Networks, 2015. Huszár, How (not) to Train your Generative Model, 2015.
    """
    given = check_arguments(step, carry, targets, bos, mask, xs)
    shape = given.targets.shape
    keys = Noise.from_key(key, shape[0]).key
    how = Sampling(temperature).fit(shape[0], given.vocab_size)
    truthful = coins(keys, truth_probability, numbers_before(given.mask, shape))
    read = lambda carry, logits: logits
    carry, (logits, inputs) = run(given, truthful, keys, how, read)
    return forced_run(given, carry, logits, inputs)


@own_ranks
def parallel_scheduled_sampling(
    forward: Any,
    targets: Any,
    *,
    bos: Any,
    truth_probability: Any,
    key: jax.Array,
    temperature: Any = 1.0,
    mask: Any = None,
    passes: int = 1,
) -> ForcedRun:
    """Scheduled sampling's two-pass approximation: all draws at once, from a first pass's logits.

        ŷₜ ~ p(· | y₁ … yₜ₋₁)  for all t,   x̃ mixed by a coin a token,   L = -Σₜ log p(yₜ | x̃)

    An approximation, not `scheduled_sampling`: draws follow true pasts, not mixed ones, so that
    errors do not feed on errors. Each further pass draws again from the logits of mixed inputs,
    with the same coins and noise: Jacobi's iteration for the sequential run, whose first n inputs
    are exact after n passes; all are with passes = T.

    For models that take all steps at once: attention, linear recurrences, `seqjax.unroll` with its
    products hoisted. Where a step is all that there is, `scheduled_sampling` is exact and cheaper.
    Gradient and objective as there: only the last pass is differentiated.

    Args:
      forward: forward(inputs [B, T]) -> (carry, logits [B, T, V]), causal; mask and parameters are
        closed over. `unroll`'s order, the carry first.
      targets: [B, T] integers, the ground truth.
      bos: what is read first, an integer or [B].
      truth_probability: ε, a number or [B], may be traced.
      key: a typed key, or typed keys [B]; used as in `scheduled_sampling`.
      temperature: of the draws, >= 0, a number or [B]; 0 is the exact argmax.
      mask: [B, T] bool, True = real; None means that every step is.
      passes: how many times to draw, at least 1; forward runs once more than that.

    Returns:
      `ForcedRun`, carry as forward returned it last.

    Raises:
      ValueError: as `scheduled_sampling`, or if passes is not a positive integer.

    Example:
      >>> forward = lambda inputs: ((), 4 * jnp.eye(3)[(inputs + 1) % 3])
      >>> how = dict(bos=0, truth_probability=0.0, key=jax.random.key(0), temperature=0)
      >>> targets = jnp.array([[2, 2, 2, 2]])
      >>> parallel_scheduled_sampling(forward, targets, **how).inputs.tolist()
      [[0, 1, 0, 0]]
      >>> parallel_scheduled_sampling(forward, targets, **how, passes=3).inputs.tolist()
      [[0, 1, 2, 0]]

    References:
      Mihaylova and Martins, Scheduled Sampling for Transformers, 2019. Duckworth, Neelakantan,
      Goodrich, Kaiser and Bengio, Parallel Scheduled Sampling, 2019, for several passes.
    """
    targets, bos, mask = check_targets(targets, bos, mask)
    batch, length = targets.shape
    passes = checks.positive_int("passes", passes)
    truths, numbers = tokens_before(targets, bos, mask), numbers_before(mask, targets.shape)
    vocab_size = _check_forward(forward, truths)
    keys = Noise.from_key(key, batch).key
    how = Sampling(temperature).fit(batch, vocab_size).repeat(length)
    truthful = coins(keys, truth_probability, numbers)
    each = jnp.repeat(keys, length)

    def mix(_, inputs):
        logits = forward(inputs)[1].reshape(batch * length, vocab_size)
        drawn = draw(each, numbers.reshape(-1), logits, how).reshape(batch, length)
        return jnp.where(truthful, truths, tokens_before(drawn, bos, mask))

    inputs = jax.lax.fori_loop(0, passes, mix, truths)
    carry, logits = forward(inputs)
    return ForcedRun(cross_entropy_sum(logits, targets, mask=mask), logits, inputs, carry)


def coins(keys: jax.Array, probability: Any, numbers: jax.Array) -> jax.Array:
    """A coin for each of the row's steps by number [B, T]: True with the probability, a row's own.

    Raises:
      ValueError: if a probability is known and not in [0, 1], or is neither a number nor [B].
    """
    known = checks.concrete(probability)
    checks.require(
        known is None or bool(np.all((known >= 0) & (known <= 1))),
        f"truth_probability is {probability!r}; expected a probability in [0, 1].",
    )
    checks.require(
        np.shape(probability) in ((), keys.shape),
        f"truth_probability has shape {np.shape(probability)}; expected a number, or one a row "
        f"[B] = {keys.shape}.",
    )
    aside = fold_in_rows(keys, jnp.full(keys.shape, ASIDE, jnp.int32))
    uniform = draw_rows(
        lambda key: jax.random.uniform(key, (), jnp.float32), fold_in_rows(aside, numbers)
    )
    return uniform < jnp.asarray(probability, jnp.float32).reshape(-1, 1)


def _check_forward(forward: Any, inputs: jax.Array) -> int:
    """Traces forward once, and returns V."""
    out = jax.eval_shape(forward, inputs)
    checks.require(
        isinstance(out, tuple) and len(out) == 2,
        f"forward returned a {type(out).__name__}; expected the pair (carry, logits).",
    )
    shape: Any = getattr(out[1], "shape", ())
    checks.require(
        len(shape) == 3 and shape[:2] == inputs.shape,
        f"forward returned logits of shape {shape} for inputs {inputs.shape}; expected [B, T, V].",
    )
    return shape[2]
