"""A population of weighted sequences: how it grows by a token, and how it is resampled."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.checks import require
from seqjax._internal.types import Carry, Logits
from seqjax.decoding.engine.candidates import is_end
from seqjax.decoding.engine.logits import (
    Adapted,
    apply,
    as_logits,
    initial_states,
    process,
    update_states,
)
from seqjax.decoding.engine.rows import at, pick, repeat_end, repeat_rows, take_beams
from seqjax.decoding.engine.start import Start
from seqjax.decoding.particles.resampling import Resampler, effective_sample_size
from seqjax.decoding.processors.settings import Sampling


class Particles(NamedTuple):
    """M weighted sequences a row. With γ the unnormalised target, for any function f of a sequence

        Σ_y γ(y) f(y) ≈ Σₘ exp(log_weights[:, m]) f(yₘ)       unbiased; of f = 1 it is Z
        E[f(y)]       ≈ Σₘ softmax(log_weights)[:, m] f(yₘ)   under γ / Z; consistent as M grows

    Fields:
      tokens: [B, M, L] int32, without bos and prompt; the eos that ends a sequence repeats.
      log_weights: [B, M] floats, in nats; -inf for a particle that the target excludes.
      log_z: [B] floats, log of the estimate of Z = Σ_y γ(y), in nats.
      log_probs: [B, M] floats, log p of the tokens under the model itself, in nats.
      lengths: [B, M] int32, in tokens, eos counted.
      ess: [B, L] floats in 0..M, the effective sample size after each step, before resampling;
        once a row has ended the last one repeats.
      ancestors: [B, L, M] int32; particle m at step t continues particle ancestors[:, t, m] of
        step t - 1: m itself where nothing was resampled.
    """

    tokens: jax.Array
    log_weights: jax.Array
    log_z: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    ess: jax.Array
    ancestors: jax.Array


class Moves(NamedTuple):
    """What makes a step's logits into the target's factors and into what is drawn from."""

    how: Sampling
    processors: tuple[Adapted, ...]
    potentials: tuple[Adapted, ...]
    twists: tuple[Adapted, ...]
    proposal: tuple[Adapted, ...] | None

    @property
    def groups(self) -> tuple[tuple[Adapted, ...], ...]:
        """The processors of each kind."""
        return self.processors, self.potentials, self.twists, self.proposal or ()


class Population(NamedTuple):
    """What the loop carries; every leaf leads with the batch B, or with B * M."""

    carry: Carry  # leaves [B * M, ...]
    states: Any  # of each group of processors, leaves [B * M, ...]
    last: jax.Array  # [B, M]: the token to read next
    twist: jax.Array  # [B, M]: log ψ of the tokens so far
    ended: jax.Array  # [B, M]: by an eos, or by a weight of zero
    particles: Particles  # log_weights since the last resampling, log_z until then


def populate(begin: Start, moves: Moves, size: int, length: int) -> Population:
    """M equal particles a row that have drawn nothing."""
    batch = begin.tokens.shape[0]
    states = tuple(initial_states(group, batch) for group in moves.groups)
    zeros = jnp.zeros((batch, size), begin.dtype)
    selves = jnp.arange(size, dtype=jnp.int32)
    particles = Particles(
        tokens=jnp.full((batch, size, length), begin.eos, jnp.int32),
        log_weights=zeros,
        log_z=jnp.zeros((batch,), begin.dtype),
        log_probs=zeros,
        lengths=jnp.zeros((batch, size), jnp.int32),
        ess=jnp.full((batch, length), size, begin.dtype),
        ancestors=jnp.broadcast_to(selves, (batch, length, size)),
    )
    last = repeat_rows(begin.tokens, size).reshape(batch, size)
    carry, states = repeat_rows((begin.carry, states), size)
    return Population(carry, states, last, zeros, jnp.zeros((batch, size), bool), particles)


def wants_resampling(population: Population, threshold: Any) -> jax.Array:
    """Which rows [B] have an effective sample size below threshold * M, and continue."""
    weights = population.particles.log_weights
    # Weights that differ by rounding alone are equal, whatever the threshold.
    enough = (jnp.asarray(threshold, weights.dtype) - 1e-4) * weights.shape[1]
    alive = jnp.isfinite(jnp.max(weights, axis=1)) & ~jnp.all(population.ended, axis=1)
    return (effective_sample_size(weights) < enough) & alive


def resampled(
    population: Population, needy: jax.Array, t, keys: jax.Array, resample: Resampler
) -> Population:
    """Replaces the particles of the rows `needy` [B] by copies of equal weight, before step t."""
    old = population.particles
    batch, size = old.log_weights.shape
    ancestors = jax.vmap(resample)(keys, old.log_weights)
    require(
        ancestors.shape == (batch, size) and jnp.issubdtype(ancestors.dtype, jnp.integer),
        f"resample returned {ancestors.dtype}{list(ancestors.shape[1:])} for {size} particles; "
        f"expected their ancestors, integers [M] = [{size}].",
    )
    selves = jnp.arange(size, dtype=jnp.int32)
    drawn = jnp.clip(ancestors.astype(jnp.int32), 0, size - 1)
    ancestors = jnp.where(needy[:, None], drawn, selves)
    carry, states = take_beams((population.carry, population.states), ancestors)
    mean = jax.nn.logsumexp(old.log_weights, axis=1) - math.log(size)
    particles = old._replace(
        tokens=pick(old.tokens, ancestors),
        log_weights=jnp.where(needy[:, None], 0, old.log_weights),
        log_z=jnp.where(needy, old.log_z + mean, old.log_z),
        log_probs=pick(old.log_probs, ancestors),
        lengths=pick(old.lengths, ancestors),
        ancestors=old.ancestors.at[:, t].set(ancestors),
    )
    last, twist, ended = pick((population.last, population.twist, population.ended), ancestors)
    return Population(carry, states, last, twist, ended, particles)


def advance(
    population: Population, t, logits: Logits, noise: jax.Array, moves: Moves, begin: Start
) -> Population:
    """Draws a token for every particle that continues, given logits [B * M, V], and weighs it."""
    old, ended = population.particles, population.ended
    batch, size, length = old.tokens.shape
    target, twist, proposed = _factors(population, t, logits, moves, begin)
    log_q = jax.nn.log_softmax(as_logits(proposed, begin.dtype, begin.eos))
    drawn = jnp.argmax(log_q + noise.reshape(log_q.shape), axis=-1).astype(jnp.int32)
    here = lambda values: at(values, drawn).reshape(batch, size)

    twists = here(twist)
    gain = here(target) + twists - population.twist - here(log_q)
    weights = old.log_weights + jnp.where(ended, 0, gain)
    last = jnp.where(ended, population.last, drawn.reshape(batch, size))
    since = jnp.arange(length, dtype=jnp.int32) >= t
    particles = old._replace(
        tokens=lax.dynamic_update_slice_in_dim(old.tokens, last[..., None], t, axis=2),
        log_weights=weights,
        log_probs=old.log_probs + jnp.where(ended, 0, here(jax.nn.log_softmax(logits))),
        lengths=jnp.where(ended, old.lengths, t + 1),
        ess=jnp.where(since, effective_sample_size(weights)[:, None], old.ess),
    )
    groups = zip(moves.groups, population.states, strict=True)
    states = tuple(update_states(group, state, last.reshape(-1)) for group, state in groups)
    twists = jnp.where(ended, population.twist, twists)
    # A weight of zero stays zero: nothing that such a particle draws matters.
    ended = ended | is_end(last, begin.ends) | (weights == -jnp.inf)
    return Population(population.carry, states, last, twists, ended, particles)


def _factors(population: Population, t, logits, moves: Moves, begin: Start):
    """log p G, log ψ and the logits to draw from, each [B * M, V]."""
    tokens = population.particles.tokens
    tokens = tokens.reshape(-1, tokens.shape[2])
    *states, twist_states, proposal_states = population.states
    processed = process(moves.processors, states[0], logits, tokens, t, begin.eos)
    log_p = jax.nn.log_softmax(moves.how.apply(processed, begin.rounding))
    # Not `process`, for which a row that forbids everything allows eos: here it has no weight.
    each = lambda processors, states, log_p: functools.reduce(
        lambda out, pair: apply(*pair, out, tokens, t),
        zip(processors, states, strict=True),
        log_p,
    )
    target = each(moves.potentials, states[1], log_p)
    twist = each(moves.twists, twist_states, target) - target
    # A whole sequence has no rest to guess, so that all twists cancel in its weight.
    whole = is_end(jnp.arange(target.shape[1]), begin.ends) | (
        t == population.particles.tokens.shape[2] - 1
    )
    twist = jnp.where(whole | (target == -jnp.inf), 0, twist)
    if moves.proposal is None:
        return target, twist, target + twist
    return target, twist, process(moves.proposal, proposal_states, log_p, tokens, t, begin.eos)


def weighted(population: Population) -> Particles:
    """The particles with the weights of all that they have come through."""
    old = population.particles
    shift = old.log_z[:, None] - math.log(old.log_weights.shape[1])
    weights = old.log_weights + shift
    return old._replace(
        tokens=repeat_end(old.tokens, old.lengths),
        log_weights=weights,
        log_z=jax.nn.logsumexp(weights, axis=1),
    )
