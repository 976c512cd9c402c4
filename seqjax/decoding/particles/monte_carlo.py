"""Sequential Monte Carlo over a step function: weighted sequences, resampled as they grow."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.checks import is_number, positive_int, require
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry
from seqjax.core.noise import Noise, fold_in_rows
from seqjax.decoding.engine.logits import Processor, adapt, as_logits
from seqjax.decoding.engine.rows import ASIDE, gumbel_rows
from seqjax.decoding.engine.start import Step, check_rows, start
from seqjax.decoding.particles.particles import (
    Moves,
    Particles,
    advance,
    populate,
    resampled,
    wants_resampling,
    weighted,
)
from seqjax.decoding.particles.resampling import Resampler, systematic_resampling
from seqjax.decoding.processors.settings import MODEL, Sampling, chosen


@own_ranks
def sequential_monte_carlo(
    step: Step,
    carry: Carry,
    *,
    bos: Any,
    eos: Any,
    num_particles: int,
    max_len: int,
    key: jax.Array,
    potentials: Sequence[Processor] = (),
    twists: Sequence[Processor] = (),
    proposal: Sequence[Processor] | None = None,
    resample: Resampler = systematic_resampling,
    threshold: Any = 0.5,
    how: Sampling = MODEL,
    processors: Sequence[Processor] = (),
    prompt: Any = None,
    prompt_lengths: Any = None,
) -> Particles:
    """Samples whole sequences from a distribution that a step function alone cannot draw from.

        γ(y) = Πₜ p(yₜ | y<ₜ) Gₜ(y≤ₜ)
        yₜ ~ q;    wₜ = wₜ₋₁ p Gₜ ψₜ / (q ψₜ₋₁);    resample where ESS < threshold M

    p is the step's distribution, G the potentials: a constraint, an observation, a reward. Where a
    constraint given to `sample` renormalises each token by itself, here the weights account for
    what it costs, so that the particles stand for p given the constraint. The estimate of Z is
    unbiased. Without potentials the particles are independent samples. Row b's draws depend on its
    key, its inputs and M. Every call traces the step; wrap it in `jax.jit` to compile once.

    Args:
      step: step(carry, tokens [N]) -> (carry, logits [N, V]); row-wise, for N = B (the prompt) and
        for N = B M, row b's particles side by side. Logits that are all -inf allow eos alone.
      carry: any pytree whose leaves lead with the batch axis B (integers and typed keys
        included). It is repeated and gathered here.
      bos: the first token to read, an integer or [B]; [B] is needed where the carry has no leaf.
      eos: the token that ends a sequence, 0 <= eos < V, or a tuple of several. An ended particle
        keeps its weight and is resampled like any other.
      num_particles: M, for each row.
      max_len: L, the largest number of tokens.
      key: a typed key, of which row b uses fold_in(key, b), or typed keys [B], one a row.
      potentials: processors (see `sample`), plain or with a state, that are given log p [N, V] of
        each next token and return log p + log G; -inf forbids. Any constraint for `sample` is a
        potential. The target is their product with p; nothing is renormalised.
      twists: processors that are given log p + log G and return it with log ψ added: a guess of
        how the rest will fare, as in `lookahead_infill`. They cancel in the weights of whole
        sequences and so change the variance alone, provided that ψ > 0 wherever γ can be.
      proposal: processors that turn log p into the logits of q; () draws from p itself (the
        bootstrap filter). None draws from p G ψ, which is locally optimal.
      resample: (key, log_weights [M]) -> ancestors [M]: `systematic_resampling` or another scheme.
      threshold: the ESS, as a share of M, below which a row is resampled; 0 never does, 1 does
        after every step with unequal weights. Nothing is resampled after the last step.
      how: temperature and truncations, which make p.
      processors: as in `sample`; they make p, renormalised token by token.
      prompt: [B, P] integers, padded on the right, read after bos. An eos in it is an ordinary
        token.
      prompt_lengths: [B], 0..P; None means all P.

    Returns:
      Particles: tokens [B, M, L] int32; log_weights and log_probs [B, M]; log_z [B]; lengths
      [B, M]; ess [B, L]; ancestors [B, L, M]. Where every particle died (no weight is positive)
      log_z and log_weights are -inf, ESS is 0 and the tokens mean nothing.

    Raises:
      ValueError: for a setting out of range, a carry leaf without the batch axis, a step that
        changes its carry or returns logits that are not [N, V], a key that is not typed, a
        resample that does not return [M] integers.

    Example:
      >>> chain = jnp.log(jnp.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
      >>> step = lambda carry, tokens: (carry, chain[tokens])
      >>> ends_in_1 = lambda log_p, tokens, t: jnp.where(
      ...     (t < 2) | (jnp.arange(3) == 1), log_p, -jnp.inf)
      >>> particles = sequential_monte_carlo(
      ...     step, (), bos=jnp.array([0]), eos=2, num_particles=1000, max_len=3,
      ...     key=jax.random.key(0), potentials=[ends_in_1])
      >>> print(particles.tokens[0, :, 2].min(), abs(jnp.exp(particles.log_z) - 0.156) < 0.03)
      1 [ True]

    References:
      Doucet and Johansen, A Tutorial on Particle Filtering and Smoothing, 2011, section 3. Lew,
      Zhi-Xuan, Grand and Mansinghka, Sequential Monte Carlo Steering of Large Language Models,
      2023. Guarniero, Johansen and Lee, The Iterated Auxiliary Particle Filter, 2017, for twists.
    """
    size = positive_int("num_particles", num_particles)
    length = positive_int("max_len", max_len)
    _check_threshold(threshold)
    begin = start(step, carry, bos, eos, prompt, prompt_lengths)
    batch = begin.tokens.shape[0]
    keys = Noise.from_key(key, batch).key
    aside = fold_in_rows(keys, jnp.full(keys.shape, ASIDE))
    moves = Moves(
        chosen(how).fit(batch, begin.vocab_size).repeat(size),
        adapt("processors", processors),
        adapt("potentials", potentials),
        adapt("twists", twists),
        None if proposal is None else adapt("proposal", proposal),
    )

    def body(loop):
        t, population = loop
        needy = wants_resampling(population, threshold)
        fresh = fold_in_rows(aside, jnp.broadcast_to(t, keys.shape))
        population = lax.cond(
            jnp.any(needy),
            lambda population: resampled(population, needy, t, fresh, resample),
            lambda population: population,
            population,
        )
        last = population.last.reshape(-1)
        carry, logits = step(population.carry, last)
        check_rows(logits, last)
        logits = as_logits(logits, begin.dtype, begin.eos)
        noise = gumbel_rows(keys, t, (size, begin.vocab_size), begin.dtype)
        return t + 1, advance(population._replace(carry=carry), t, logits, noise, moves, begin)

    running = lambda loop: (loop[0] < length) & ~jnp.all(loop[1].ended)
    first = populate(begin, moves, size, length)
    return weighted(lax.while_loop(running, body, (jnp.int32(0), first))[1])


def _check_threshold(threshold: Any) -> None:
    if not isinstance(threshold, jax.Array):
        require(
            is_number(threshold) and 0 <= threshold <= 1,
            f"threshold is {threshold!r}; expected a share of the particles in [0, 1].",
        )
