"""A round of speculative sampling: guess, check, keep what is accepted, set the carries back."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.types import Carry
from seqjax.core.steps import swap_time
from seqjax.decoding.engine.candidates import is_end
from seqjax.decoding.engine.logits import as_logits, process, update_states
from seqjax.decoding.engine.rows import ASIDE, at, gumbel_rows, pick, uniform_rows
from seqjax.decoding.engine.start import Start, Step
from seqjax.decoding.processors.settings import Sampling


class SpeculativeSamples(NamedTuple):
    """One sampled sequence a row, and how far the guesses carried.

    Fields:
      tokens: [B, L] int32, without bos and prompt; the eos that ends a sequence repeats.
      log_probs: [B] floats, log p of tokens[:lengths] under the step itself, in nats.
      lengths: [B] int32, in tokens, eos counted.
      rounds: [B] int32, how often the guesses were checked; lengths / rounds tokens each time.
      accepted: [B] int32, tokens of the sequence that the draft had guessed, of at most
        num_draft * rounds.
    """

    tokens: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    rounds: jax.Array
    accepted: jax.Array


class Rows(NamedTuple):
    """What the loop carries; every leaf leads with the batch."""

    carry: Carry  # has read all but `last`
    draft_carry: Carry
    states: Any  # of the processors
    last: jax.Array  # [B]: the token to read next
    samples: SpeculativeSamples
    done: jax.Array  # [B]


class Guess(NamedTuple):
    """What the draft leaves behind at each of its G + 1 steps, [B, G + 1, ...]."""

    read: jax.Array  # the tokens read: last, x₁ .. x_G
    carry: Carry  # the draft's, after reading
    states: Any  # the processors', before what follows is chosen
    tokens: jax.Array  # [B, G + 1, L]: so far, for the processors
    log_q: jax.Array  # of the next token, [B, G + 1, V]


def first_rows(begin: Start, draft_carry: Any, states: Any, length: int) -> Rows:
    """Rows that have drawn nothing."""
    batch = begin.tokens.shape[0]
    zeros = jnp.zeros((batch,), jnp.int32)
    tokens = jnp.full((batch, length), begin.eos, jnp.int32)
    log_probs = jnp.zeros((batch,), begin.dtype)
    samples = SpeculativeSamples(tokens, log_probs, zeros, zeros, zeros)
    done = jnp.zeros((batch,), bool)
    return Rows(begin.carry, draft_carry, states, begin.tokens, samples, done)


def guess_ahead(
    draft_step: Step, rows: Rows, guesses: int, keys, how: Sampling, processors, begin: Start
) -> Guess:
    """Runs the draft on its own draws, one step further than it guesses: it reads all of them."""
    row = jnp.arange(rows.last.shape[0])

    def body(loop, i):
        carry, states, tokens, last = loop
        new, logits = draft_step(carry, last)
        logits = as_logits(logits, begin.dtype, begin.eos)
        lengths = rows.samples.lengths + i
        processed = process(processors, states, logits, tokens, lengths, begin.eos)
        log_q = jax.nn.log_softmax(how.apply(processed, begin.rounding))
        noise = gumbel_rows(keys, i, log_q.shape[1:], begin.dtype)
        token = jnp.argmax(log_q + noise, axis=-1).astype(jnp.int32)
        after = tokens.at[row, lengths].set(token, mode="drop")
        going = (new, update_states(processors, states, token), after, token)
        return going, Guess(last, new, states, tokens, log_q)

    loop = (rows.draft_carry, rows.states, rows.samples.tokens, rows.last)
    _, guess = lax.scan(body, loop, jnp.arange(guesses + 1, dtype=jnp.int32))
    return swap_time(guess)


def process_each(processors, guess: Guess, logits, lengths, eos: int) -> jax.Array:
    """What processors make of logits [B * (G + 1), V], given the guesses before each."""
    count = guess.read.shape[1]
    lengths = (lengths[:, None] + jnp.arange(count, dtype=jnp.int32)).reshape(-1)
    return process(processors, flat(guess.states), logits, flat(guess.tokens), lengths, eos)


def choose(guess: Guess, log_p: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many guesses are kept [B], and the token that follows them [B]; log_p [B, G + 1, V]."""
    drawn, count = guess.read[:, 1:], guess.read.shape[1]
    ratio = at(log_p[:, :-1], drawn) - at(guess.log_q[:, :-1], drawn)  # [B, G]
    luck = uniform_rows(keys, ASIDE, (count - 1,), log_p.dtype)
    accepted = (jnp.log(luck) < ratio).astype(jnp.int32)
    kept = jnp.sum(jnp.cumprod(accepted, axis=1), axis=1, dtype=jnp.int32)
    log_p, log_q = _at_row((log_p, guess.log_q), kept)
    # After the last guess, and after one drawn from NaN, there is nothing to make up for.
    none = (kept[:, None] == count - 1) | jnp.isnan(log_q)
    rest = jnp.exp(log_p) - jnp.where(none, 0, jnp.exp(log_q))
    rest = jnp.maximum(rest, 0)
    nothing = jnp.sum(rest, axis=-1, keepdims=True) == 0  # p = q, refused by a rounding error
    noise = gumbel_rows(keys, count, rest.shape[1:], rest.dtype)
    following = jnp.argmax(jnp.where(nothing, log_p, jnp.log(rest)) + noise, axis=-1)
    return kept, following.astype(jnp.int32)


def commit(rows, guess, carries, log_probs, kept, following, processors, ends) -> Rows:
    """Appends the guesses kept and the token that follows, and sets the carries back to them."""
    old, (batch, count) = rows.samples, guess.read.shape
    place = jnp.arange(count, dtype=jnp.int32)
    drawn = jnp.concatenate([guess.read[:, 1:], following[:, None]], axis=1)
    block = jnp.where(place < kept[:, None], drawn, following[:, None])  # [B, G + 1]
    closes = is_end(block, ends)
    before = jnp.cumsum(closes.astype(jnp.int32), axis=1) - closes.astype(jnp.int32)
    length = old.tokens.shape[1]
    where = old.lengths[:, None] + place
    real = (place <= kept[:, None]) & (before == 0) & (where < length)
    added = jnp.sum(real, axis=1, dtype=jnp.int32)
    samples = SpeculativeSamples(
        old.tokens.at[jnp.arange(batch)[:, None], jnp.where(real, where, length)].set(
            block, mode="drop"
        ),
        old.log_probs + jnp.sum(jnp.where(real, at(log_probs, block), 0), axis=1),
        old.lengths + added,
        old.rounds + 1,
        old.accepted + jnp.minimum(added, kept),
    )
    done = jnp.any(real & closes, axis=1) | (samples.lengths == length)
    carry, draft_carry, states = _at_row((carries, guess.carry, guess.states), kept)
    states = update_states(processors, states, following)
    return Rows(carry, draft_carry, states, following, samples, done)


def flat(tree: Any) -> Any:
    """[B, N, ...] to [B * N, ...] in every leaf."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)


def _at_row(tree: Any, index: jax.Array) -> Any:
    """Leaves [B, N, ...] at index [B]: [B, ...]."""
    return jax.tree.map(lambda leaf: pick(leaf, index[:, None])[:, 0], tree)
