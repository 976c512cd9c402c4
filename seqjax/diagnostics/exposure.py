"""How much worse a model predicts when it reads its own draws."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry, Tokens, Tree
from seqjax.core.noise import Noise
from seqjax.decoding.processors.settings import Sampling
from seqjax.losses.tokens import token_losses
from seqjax.objectives.teacher_forcing import Step, check_arguments, numbers_before, run


class ExposureGap(NamedTuple):
    """Loss and error on the same targets with true inputs and with the model's own, by position.

    Fields:
      forced: [T] loss in nats when the inputs are true (teacher-forced), mean over rows.
      free: [T] loss in nats when the inputs are the model's own draws (free-running).
      forced_error: [T] share of rows whose most probable token is wrong, teacher-forced.
      free_error: [T] the same share, free-running.
      tokens: [T] int32, how many rows are real at each position; the means are 0 where none is.
    """

    forced: jax.Array
    free: jax.Array
    forced_error: jax.Array
    free_error: jax.Array
    tokens: jax.Array

    @property
    def nats(self) -> jax.Array:
        """[T] free - forced, in nats a token."""
        return self.free - self.forced

    @property
    def error(self) -> jax.Array:
        """[T] free_error - forced_error."""
        return self.free_error - self.forced_error


@own_ranks
def exposure_gap(
    step: Step,
    carry: Carry,
    targets: Tokens,
    *,
    bos: int | Tokens,
    key: jax.Array,
    context: int = 0,
    temperature: ArrayLike = 1.0,
    mask: jax.Array | None = None,
    xs: Tree = None,
) -> ExposureGap:
    """Compares loss and error with true inputs against those with the model's own draws.

        gapₜ = E[-log p(yₜ | y₁ … y_c, ŷ_c₊₁ … ŷₜ₋₁)] - E[-log p(yₜ | y₁ … yₜ₋₁)],   c the context

    Both runs start from the same carry and read the same xs and the same first c true tokens. Up to
    position c (counted from 0) the gap is exactly 0. Bengio et al. 2015 describe the problem;
    Ranzato et al. 2016 named it exposure bias.

    A gap is a fault only where xs decide the targets (labels of a signal, translation). Where
    several continuations are right, a good model that writes another one than the data's has a gap
    too. Each row is drawn once; repeat rows for more draws.

    Args:
      step: step(carry, tokens [B]) -> (carry, logits [B, V]), or step(carry, tokens, x) with xs.
      carry: any pytree whose leaves lead with the batch axis.
      targets: [B, T] integers, the ground truth.
      bos: the first token that is read, an integer or [B].
      key: a typed key, or typed keys [B], one a row; `seqjax.sample` draws the same with it.
      context: c, how many true tokens each row reads before its own; at least 0.
      temperature: temperature of the draws, >= 0, a number or [B]; 0 is the exact argmax.
      mask: [B, T] bool, True = real; None means that every step is real.
      xs: what else the step reads, leaves [B, T, ...]; None if nothing.

    Returns:
      An `ExposureGap`, with arrays [T] by position.

    Raises:
      ValueError: as `seqjax.objectives.scheduled_sampling`, or if context is not an integer >= 0.

    Example:
      >>> step = lambda carry, tokens: (carry, 5 * jnp.eye(3)[tokens])  # repeats what it reads
      >>> targets = jnp.array([[1, 1, 2, 2]])
      >>> how = dict(bos=0, key=jax.random.key(0), temperature=0)
      >>> exposure_gap(step, (), targets, context=1, **how).error.tolist()
      [0.0, 0.0, 0.0, 1.0]

    References:
      Bengio, Vinyals, Jaitly and Shazeer, Scheduled Sampling for Sequence Prediction with Recurrent
      Neural Networks, 2015. Ranzato, Chopra, Auli and Zaremba, Sequence Level Training with
      Recurrent Neural Networks, 2016.
    """
    is_count = checks.is_number(context) and context >= 0 and int(context) == context
    checks.require(is_count, f"context is {context!r}; expected a number of tokens, at least 0.")
    arguments = check_arguments(step, carry, targets, bos, mask, xs)
    batch, length = arguments.targets.shape
    how = Sampling(temperature).fit(batch, arguments.vocab_size)
    keys = Noise.from_key(key, batch).key
    given = numbers_before(arguments.mask, (batch, length)) <= int(context)
    read = lambda carry, logits: logits
    real = jnp.ones((batch, length), bool) if arguments.mask is None else arguments.mask
    tokens = jnp.sum(real, axis=0, dtype=jnp.int32)

    def means(logits):
        nats = token_losses(logits, arguments.targets, mask=arguments.mask)
        wrong = real & (jnp.argmax(logits, axis=-1).astype(jnp.int32) != arguments.targets)
        count = jnp.maximum(tokens, 1).astype(nats.dtype)
        return nats.sum(axis=0) / count, wrong.astype(nats.dtype).sum(axis=0) / count

    _, (forced, _) = run(arguments, None, None, None, read)
    _, (free, _) = run(arguments, given, keys, how, read)
    (forced, forced_error), (free, free_error) = means(forced), means(free)
    return ExposureGap(forced, free, forced_error, free_error, tokens)
