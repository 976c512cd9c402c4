"""Training a model to behave alike whether it reads the truth or its own draws."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry, Logits, Tree
from seqjax.core.noise import Noise
from seqjax.core.products import accumulator
from seqjax.decoding.processors.settings import Sampling
from seqjax.losses.tokens import LossSum, cross_entropy_sum
from seqjax.objectives.discriminator import Discriminator, DiscriminatorParams
from seqjax.objectives.teacher_forcing import Step, check_arguments, run


class ProfessorLosses(NamedTuple):
    """The losses of professor forcing, and what they are made of.

    Fields:
      generator: [] what the generator descends: nats a token plus its adversarial terms, gated.
      discriminator: [] what the discriminator descends, in nats, gated.
      likelihood: `LossSum` of teacher forcing.
      adversarial_free: [] C_f in nats, not gated.
      adversarial_forced: [] C_t in nats, not gated; in the generator's loss with pull_forced only.
      accuracy: [] of the discriminator on this batch.
    """

    generator: jax.Array
    discriminator: jax.Array
    likelihood: LossSum
    adversarial_free: jax.Array
    adversarial_forced: jax.Array
    accuracy: jax.Array


class Behaviours(NamedTuple):
    """One model's two ways through the same targets.

    Fields:
      forced: [B, T, N] while it reads the truth.
      free: [B, T, N] while it reads its own draws.
      likelihood: `LossSum` of the truth where it reads the truth.
      inputs: [B, T] int32, bos and what it drew.
      mask: [B, T] bool or None, shared by both ways, so the discriminator cannot tell
        them apart by length. Rows that are masked throughout do not count.
    """

    forced: jax.Array
    free: jax.Array
    likelihood: LossSum
    inputs: jax.Array
    mask: jax.Array | None


def carry_and_output(carry: Carry, logits: Logits) -> jax.Array:
    """A model's state and output: every float of its carry, and its softmax; [B, N].

    Lamb et al. 2016 take the states before their tanh, and the softmax.

    Example:
      >>> carry_and_output({"h": jnp.ones((2, 3)), "n": jnp.zeros(2, int)}, jnp.zeros((2, 4))).shape
      (2, 7)
    """
    probabilities = jax.nn.softmax(logits.astype(accumulator(logits.dtype)))
    leaves = [leaf for leaf in jax.tree.leaves(carry) if checks.is_float(leaf)]
    flat = [leaf.reshape(leaf.shape[0], -1).astype(probabilities.dtype) for leaf in leaves]
    return jnp.concatenate([*flat, probabilities], axis=1)


@own_ranks
def behaviours(
    step: Step,
    carry: Carry,
    targets: Any,
    *,
    bos: Any,
    key: jax.Array,
    temperature: Any = 1.0,
    mask: Any = None,
    xs: Tree = None,
    behaviour: Callable[[Carry, Logits], jax.Array] = carry_and_output,
) -> Behaviours:
    """Runs a step over the same targets with the truth as inputs, and with its own draws.

    Both start from the same carry, with the same mask and xs, and differ only in the tokens. Drawn
    tokens are constants (no straight-through estimate): gradients of `free` pass through states and
    outputs, not through draws. Lamb et al. 2016, section 2.

    Args:
      step: step(carry, tokens [B]) -> (carry, logits [B, V]), or step(carry, tokens, x) with xs.
      carry: any pytree whose leaves lead with the batch axis.
      targets: [B, T] integers, the ground truth.
      bos: what is read first, an integer or [B].
      key: a typed key, or typed keys [B], one a row; draws are those of `seqjax.sample` with it.
      temperature: of the draws, >= 0, a number or [B].
      mask: [B, T] bool, True = real; None means that every step is.
      xs: what else the step reads, leaves [B, T, ...]; None if nothing.
      behaviour: (carry, logits [B, V]) -> [B, N], what is shown of each step.

    Returns:
      `Behaviours`.

    Raises:
      ValueError: as `scheduled_sampling`, or if behaviour returns no floats [B, N].

    Example:
      >>> step = lambda carry, tokens: (carry + 1.0, jnp.eye(3)[tokens])
      >>> targets = jnp.array([[2, 2]])
      >>> both = behaviours(step, jnp.zeros((1, 1)), targets, bos=0, key=jax.random.key(0))
      >>> both.forced.shape, both.free.shape
      ((1, 2, 4), (1, 2, 4))
    """
    given = check_arguments(step, carry, targets, bos, mask, xs)
    batch = given.targets.shape[0]
    how = Sampling(temperature).fit(batch, given.vocab_size)
    keys = Noise.from_key(key, batch).key

    def read(carry, logits):
        shown = behaviour(carry, logits)
        checks.require(
            shown.ndim == 2 and shown.shape[0] == batch and checks.is_float(shown),
            f"behaviour returned {shown.dtype}{list(shown.shape)}; expected floats [B, N], B = "
            f"{batch}.",
        )
        return shown, logits

    _, ((forced, logits), _) = run(given, None, None, None, read)
    nobody = jnp.zeros(given.targets.shape, bool)
    _, ((free, _), inputs) = run(given, nobody, keys, how, read)
    likelihood = cross_entropy_sum(logits, given.targets, mask=given.mask)
    return Behaviours(forced, free, likelihood, inputs, given.mask)


@own_ranks
def professor_forcing(
    both: Behaviours,
    discriminator: Discriminator,
    params: DiscriminatorParams,
    *,
    weight: float = 1.0,
    pull_forced: bool = False,
    train_below: float = 0.99,
    trust_above: float = 0.75,
) -> ProfessorLosses:
    """The losses of generator and discriminator; each one's gradient reaches its own params alone.

        C_d(φ) = -E log D(b_forced) - E log(1 - D(b_free))         while accuracy < 0.99
        C_f(θ) = -E log D(b_free)                                  while accuracy > 0.75
        C_t(θ) = -E log(1 - D(b_forced))                           only with pull_forced, likewise
        generator: NLL(θ) + weight (C_f [+ C_t])

    θ are the generator's params, φ the discriminator's. C_d sees behaviour as a constant, C_f and
    C_t see φ as one, so that the gradient of generator + discriminator is both players' own.
    Without pull_forced only free-running behaviour is pulled, towards the teacher-forced one, which
    the likelihood alone moves (the paper's asymmetric variant, the default here).

    The gradient of the adversarial terms leaves out how draws depend on θ (see `behaviours`): a
    biased estimate of the gradient of their expectation, of high variance, and of a game without
    one objective. A closed gate makes a gradient exactly 0; an optimiser with momentum still moves.
    Do not use it to improve likelihood, which it may worsen, nor where free and forced runs behave
    alike already (`seqjax.diagnostics.exposure_gap`).

    Args:
      both: from `behaviours`.
      discriminator: how sequences of behaviour are judged.
      params: of the discriminator, φ.
      weight: of the adversarial terms relative to the likelihood, at least 0.
      pull_forced: adds C_t, which pulls teacher-forced behaviour towards the free-running one.
      train_below: the discriminator learns while its accuracy on this batch is below, in [0, 1].
      trust_above: the generator follows it while that accuracy is above, in [0, 1].

    Returns:
      `ProfessorLosses`.

    Raises:
      ValueError: if a number is out of range.

    Example:
      >>> step = lambda carry, tokens: (carry + 1.0, jnp.eye(3)[tokens])
      >>> start, targets = jnp.zeros((4, 1)), jnp.full((4, 6), 2)
      >>> from seqjax import GRU
      >>> judge = Discriminator(GRU(4), layer_sizes=(8,))
      >>> phi = judge.init(jax.random.key(0), input_size=4)
      >>> both = behaviours(step, start, targets, bos=0, key=jax.random.key(1))
      >>> losses = professor_forcing(both, judge, phi)
      >>> losses.generator.shape, losses.discriminator.shape  # [] and []
      ((), ())

    References:
      Lamb, Goyal, Zhang, Zhang, Courville and Bengio, Professor Forcing: A New Algorithm for
      Training Recurrent Networks, 2016, section 2.
    """
    for name, value in (("train_below", train_below), ("trust_above", trust_above)):
        ok = checks.is_number(value) and 0 <= value <= 1
        checks.require(ok, f"{name} is {value!r}; expected an accuracy in [0, 1].")
    checks.finite_number("weight", weight)
    checks.require(weight >= 0, f"weight is {weight!r}; expected a number of at least 0.")
    constant, mask, batch = jax.lax.stop_gradient, both.mask, both.free.shape[0]
    twice = None if mask is None else jnp.concatenate([mask, mask])
    real = jnp.ones(batch, bool) if mask is None else jnp.any(mask, axis=1)
    rows = jnp.concatenate([both.forced, both.free])  # [2B, T, N]: one pass of the discriminator
    forced, free = jnp.split(discriminator.logits(params, constant(rows), twice), 2)
    accuracy = (_mean(forced > 0, real) + _mean(free < 0, real)) / 2
    learning = _mean(jax.nn.softplus(-forced), real) + _mean(jax.nn.softplus(free), real)
    # The discriminator as the generator sees it: another pass, its params constants.
    shown = rows if pull_forced else both.free
    seen = discriminator.logits(constant(params), shown, twice if pull_forced else mask)
    adversarial_free = _mean(jax.nn.softplus(-seen[-batch:]), real)
    pulled = seen[:batch] if pull_forced else constant(forced)
    adversarial_forced = _mean(jax.nn.softplus(pulled), real)
    pulling = adversarial_free + adversarial_forced if pull_forced else adversarial_free
    return ProfessorLosses(
        generator=both.likelihood.mean + jnp.where(accuracy > trust_above, weight * pulling, 0),
        discriminator=jnp.where(accuracy < train_below, learning, 0),
        likelihood=both.likelihood,
        adversarial_free=adversarial_free,
        adversarial_forced=adversarial_forced,
        accuracy=accuracy,
    )


def _mean(values: jax.Array, real: jax.Array) -> jax.Array:
    """The mean of values [B] over the rows that have a real step; -log D = softplus(-log-odds)."""
    count = jnp.maximum(jnp.sum(real), 1).astype(float)
    return jnp.sum(jnp.where(real, values.astype(float), 0)) / count
