"""One draw after the other: what `sample` loops over on the device and `stream` on the host."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax._internal.types import Carry, Logits
from seqjax.core.steps import where_rows
from seqjax.decoding.engine.candidates import is_end
from seqjax.decoding.engine.logits import (
    Adapted,
    as_logits,
    initial_states,
    process,
    update_states,
)
from seqjax.decoding.engine.rows import ends_with, gumbel_rows, repeat_rows
from seqjax.decoding.engine.start import Start, Step, check_rows
from seqjax.decoding.processors.settings import Sampling


class Samples(NamedTuple):
    """Sampled sequences, one a row, or n a row where num_samples = n.

    Fields:
      tokens: [B, L] or [B, n, L] int32, without bos and prompt; the eos that ends a row repeats.
      log_probs: [B] or [B, n] floats, log p of tokens[:lengths] under the model itself, in nats.
      lengths: [B] or [B, n] int32, in tokens, eos or the stop sequence counted.
      law_log_probs: [B] or [B, n] floats, log q of the same under the distribution
        drawn from: processed, tempered, truncated. log_probs - law_log_probs are the log of
        importance weights.
    """

    tokens: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    law_log_probs: jax.Array


class Plan(NamedTuple):
    """What every draw shares; hashable where the step and the processors are."""

    step: Step
    processors: tuple[Adapted, ...]
    ends: tuple[int, ...]
    stop: tuple[tuple[int, ...], ...]
    dtype: Any
    rounding: float  # of the step's logits


class Rows(NamedTuple):
    """What the draws change; every leaf leads with the batch."""

    carry: Carry
    states: Any  # of the processors
    last: jax.Array  # [N]: the token to read next
    samples: Samples
    done: jax.Array  # [N]


def first_rows(begin: Start, processors: tuple[Adapted, ...], length: int, times: int) -> Rows:
    """Rows that have drawn nothing, each row of the batch `times` times, side by side."""
    batch = begin.tokens.shape[0]
    repeat = lambda tree: repeat_rows(tree, times) if times > 1 else tree
    states = initial_states(processors, batch)
    size = batch * times
    nothing = jnp.zeros((size,), begin.dtype)
    samples = Samples(
        tokens=jnp.full((size, length), begin.eos, jnp.int32),
        log_probs=nothing,
        lengths=jnp.zeros((size,), jnp.int32),
        law_log_probs=nothing,
    )
    done = jnp.zeros((size,), bool)
    return Rows(repeat(begin.carry), repeat(states), repeat(begin.tokens), samples, done)


def advance(plan: Plan, keys: jax.Array, how: Sampling, t: jax.Array, rows: Rows) -> Rows:
    """Draws token t of every row that has not ended."""
    carry, logits = plan.step(rows.carry, rows.last)
    check_rows(logits, rows.last)
    logits = as_logits(logits, plan.dtype, plan.ends[0])
    tokens = rows.samples.tokens
    processed = process(plan.processors, rows.states, logits, tokens, t, plan.ends[0])
    law_logits = how.apply(processed, plan.rounding)
    token = _draw(keys, t, law_logits, how)
    ended = is_end(token, plan.ends)
    samples = _extend(rows.samples, t, token, ended, logits, law_logits)
    done = ended | jnp.any(ends_with(samples.tokens, t + 1, plan.stop), axis=1)
    states = update_states(plan.processors, rows.states, token)
    return where_rows(rows.done, rows, Rows(carry, states, token, samples, done))


def _draw(keys: jax.Array, t: jax.Array, logits: Logits, how: Sampling) -> jax.Array:
    """Tokens [N] drawn by logits [N, V] with the Gumbel-max trick."""
    if not how.is_greedy:
        logits = logits + gumbel_rows(keys, t, logits.shape[1:], logits.dtype)
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def _extend(samples: Samples, t, token, ended, logits, law_logits) -> Samples:
    """Writes token [N] at position t (to the end if it `ended`) and adds its log-probabilities."""
    places = jnp.arange(samples.tokens.shape[1], dtype=jnp.int32)
    written = (places == t) | (ended[:, None] & (places > t))
    chosen = lambda x: jnp.take_along_axis(jax.nn.log_softmax(x), token[:, None], axis=1)[:, 0]
    return Samples(
        jnp.where(written, token[:, None], samples.tokens),
        samples.log_probs + chosen(logits),
        samples.lengths + 1,
        samples.law_log_probs + chosen(law_logits),
    )
