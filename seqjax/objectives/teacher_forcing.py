"""A step function over a sequence whose inputs are the truth, its own draws, or some of each.

At each step a token goes in and logits of the next one come out. Teacher forcing, scheduled
sampling and free running differ only in which token goes in; the target is always the ground truth.
Keys, draws and masks are those of `seqjax.sample` and `seqjax.scan`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry, Logits, Tokens, Tree
from seqjax.core.ids import as_ids
from seqjax.core.products import accumulator
from seqjax.core.scan import check_batch, check_flags, check_xs, scan, strong
from seqjax.decoding.engine.rows import gumbel_rows
from seqjax.decoding.engine.start import check_step
from seqjax.decoding.processors.settings import Sampling
from seqjax.losses.tokens import LossSum, cross_entropy_sum

Step = Callable[..., tuple[Carry, Logits]]  # with xs it takes a third argument


class ForcedRun(NamedTuple):
    """A model's run over a sequence: what it read and what it predicted.

    Fields:
      loss: `LossSum` of the ground truth, in nats: take `loss.mean`, or add windows first.
      logits: [B, T, V] of each target, given the inputs up to its own; 0 where masked.
      inputs: [B, T] int32, the tokens that were read; 0 where masked.
      carry: after the last real step, leaves [B, ...].
    """

    loss: LossSum
    logits: Logits
    inputs: Tokens
    carry: Carry


class Arguments(NamedTuple):
    """The checked arguments of a run over targets [B, T]."""

    step: Step  # (carry, tokens [B], x) -> (carry, logits [B, V])
    carry: Carry
    bos: Tokens  # [B]
    targets: Tokens  # [B, T]
    mask: jax.Array | None
    xs: Tree
    vocab_size: int


@own_ranks
def teacher_forcing(
    step: Step, carry: Carry, targets: Any, *, bos: Any, mask: Any = None, xs: Tree = None
) -> ForcedRun:
    """Maximum likelihood: every input is the true token before its target.

        L(θ) = -Σₜ log p(yₜ | y₁ … yₜ₋₁; θ)

    The gradient is exactly that of the data's log-likelihood, without noise. Williams and Zipser
    1989. By itself it may not be enough where a model later reads its own predictions and errors
    feed on errors: `seqjax.diagnostics.exposure_gap` measures that. A single cell is faster in
    `seqjax.unroll`, which needs no step.

    Args:
      step: step(carry, tokens [B]) -> (carry, logits [B, V]), or step(carry, tokens, x) with xs.
      carry: any pytree whose leaves lead with the batch axis.
      targets: [B, T] integers, the ground truth.
      bos: what is read first, an integer or [B].
      mask: [B, T] bool, True = real; None means that every step is. A masked step holds the carry,
        and the next real step reads the last real target.
      xs: what else the step reads, leaves [B, T, ...]; None if nothing.

    Returns:
      `ForcedRun`.

    Raises:
      ValueError: if arguments do not fit one another, or step changes its carry or returns no
        logits [B, V].

    Example:
      >>> step = lambda carry, tokens: (carry, jnp.eye(3)[tokens])
      >>> run = teacher_forcing(step, (), jnp.array([[1, 1, 2]]), bos=0)
      >>> run.inputs.tolist(), round(float(run.loss.mean), 3)
      ([[0, 1, 1]], 1.218)
    """
    given = check_arguments(step, carry, targets, bos, mask, xs)
    read = lambda carry, logits: logits
    carry, (logits, inputs) = run(given, None, None, None, read)
    return forced_run(given, carry, logits, inputs)


def check_arguments(
    step: Step, carry: Carry, targets: Any, bos: Any, mask: Any, xs: Tree
) -> Arguments:
    """Checks the arguments of every run; without xs, step is called with two arguments."""
    targets, bos, mask = check_targets(targets, bos, mask)
    carry = strong(carry)
    check_batch("carry", carry, targets.shape[0])
    full = step if xs is not None else lambda carry, tokens, x: step(carry, tokens)
    if xs is not None:
        xs = jax.tree.map(jnp.asarray, xs)
        checks.require(
            check_xs(xs) == targets.shape,
            f"xs has leaves of shapes {checks.describe(xs)}; expected [B, T, ...] with [B, T] = "
            f"{targets.shape}, the shape of targets.",
        )
    x = jax.tree.map(lambda x: jnp.zeros(x.shape[:1] + x.shape[2:], x.dtype), xs)
    logits, _ = check_step(lambda carry, tokens: full(carry, tokens, x), carry, bos, False)
    return Arguments(full, carry, bos, targets, mask, xs, logits.shape[1])


def check_targets(targets: Any, bos: Any, mask: Any):
    """Targets [B, T] and bos [B] as int32, and the mask [B, T] or None."""
    targets, bos = as_ids("targets", targets), as_ids("bos", bos)
    checks.require(
        targets.ndim == 2,
        f"targets has shape {targets.shape}; expected [B, T], one row a sequence.",
    )
    checks.require(
        bos.shape in ((), targets.shape[:1]),
        f"bos has shape {bos.shape}; expected an integer or integers [B], B = {targets.shape[0]}.",
    )
    bos = jnp.broadcast_to(bos, targets.shape[:1])
    return targets, bos, check_flags("mask", mask, *targets.shape)


def tokens_before(tokens: jax.Array, bos: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The real token before each of tokens [B, T]; bos [B] before the first."""
    shifted = jnp.concatenate([bos[:, None], tokens], axis=1)[:, :-1]
    if mask is None or not tokens.shape[1]:
        return shifted
    places = jnp.where(mask, jnp.arange(1, tokens.shape[1] + 1, dtype=jnp.int32), 0)
    last = jax.lax.cummax(places, axis=1)  # of the real ones so far, counted from 1
    last = jnp.concatenate([jnp.zeros_like(last[:, :1]), last[:, :-1]], axis=1)
    return jnp.take_along_axis(jnp.concatenate([bos[:, None], tokens], axis=1), last, axis=1)


def numbers_before(mask: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    """How many real steps there are before each, [B, T] int32: the numbers of the draws."""
    if mask is None:
        return jnp.broadcast_to(jnp.arange(shape[1], dtype=jnp.int32), shape)
    return jnp.cumsum(mask, axis=1, dtype=jnp.int32) - mask.astype(jnp.int32)


def run(given: Arguments, truthful: Any, keys: Any, how: Sampling | None, read: Callable) -> Any:
    """Runs the step: the carry, and (read(carry, logits) [B, T, ...], inputs [B, T]).

    truthful [B, T] says which inputs are the truth; `how` draws the others from keys [B]. With
    how=None all are the truth, and nothing is drawn.
    """
    shape = given.targets.shape
    truths = tokens_before(given.targets, given.bos, given.mask)
    numbers = numbers_before(given.mask, shape)

    def body(state, inputs):
        carry, drawn = state
        truth, is_truth, number, x = inputs
        token = truth if how is None else jnp.where(is_truth, truth, drawn)
        carry, logits = given.step(carry, token, x)
        drawn = drawn if how is None else draw(keys, number, logits, how)
        return (carry, drawn), (read(carry, logits), token)

    flags = jnp.ones(shape, bool) if truthful is None else truthful
    xs = (truths, flags, numbers, given.xs)
    (carry, _), ys = scan(body, (given.carry, given.bos), xs, mask=given.mask)
    return carry, ys


def draw(keys: jax.Array, numbers: jax.Array, logits: jax.Array, how: Sampling) -> jax.Array:
    """Tokens [N] drawn from logits [N, V] by keys and numbers [N]; no gradient gets through."""
    logits = how.apply(jax.lax.stop_gradient(logits).astype(accumulator(logits.dtype)))
    if not how.is_greedy:
        logits = logits + gumbel_rows(keys, numbers, logits.shape[1:], logits.dtype)
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def forced_run(given: Arguments, carry: Any, logits: jax.Array, inputs: jax.Array) -> ForcedRun:
    """The run with the loss of the ground truth."""
    loss = cross_entropy_sum(logits, given.targets, mask=given.mask)
    return ForcedRun(loss, logits, inputs, carry)
