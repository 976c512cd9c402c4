"""Sampling from a step function: it reads its own draws."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._checks import positive_int
from seqjax.decoding.logits import Processor, as_logits, initial_states, process, update_states
from seqjax.decoding.start import Step, start
from seqjax.decoding.truncation import Law, check_law, is_cold
from seqjax.noise import Noise, fold_in_rows
from seqjax.scan import where_rows


class Samples(NamedTuple):
    """One sampled sequence a row.

    Fields:
      tokens: [B, L] int32, without bos and prompt; eos repeats after the first.
      log_probs: [B] floats, log p of tokens[:lengths] under the model's own law, in nats.
      lengths: [B] int32, in tokens, eos counted.
    """

    tokens: jax.Array
    log_probs: jax.Array
    lengths: jax.Array


class _Rows(NamedTuple):
    """What the loop carries; every leaf leads with the batch."""

    carry: Any
    states: Any  # of the processors
    last: jax.Array  # [B]: the token to read next
    samples: Samples
    done: jax.Array  # [B]


def sample(
    step: Step,
    carry: Any,
    *,
    bos: Any,
    eos: int,
    max_len: int,
    key: jax.Array,
    temperature: Any = 1.0,
    top_k: Any = None,
    top_p: Any = None,
    min_p: Any = None,
    processors: Sequence[Processor] = (),
    prompt: Any = None,
    prompt_lengths: Any = None,
) -> Samples:
    """Draws one sequence a row from a step function, until eos or max_len.

        carry, logits = step(carry, yₜ₋₁);    yₜ ~ truncate(process(logits) / temperature)

    Processors come first, then temperature, top-k, top-p and min-p, each on what the one before
    left. Row b's draws depend on its key, its inputs and the step's number: not on the other rows,
    the prompt's padding or max_len. Every call traces the step; under `jax.jit` it is compiled
    once, and traced settings do not compile it again. The loop ends when every row has ended.

    Args:
      step: step(carry, tokens [B]) -> (carry, logits [B, V]); row-wise. It closes over parameters
        and memory. Logits of any float dtype; a row that is all -inf allows eos alone.
      carry: any pytree whose leaves lead with the batch axis (integers and typed keys included).
      bos: the first token to read, an integer or [B]; [B] is needed where the carry has no leaf.
      eos: the token that ends a sequence, 0 <= eos < V.
      max_len: L, the largest number of tokens to draw.
      key: a typed key, of which row b uses fold_in(key, b), or typed keys [B], one a row. Step t
        uses fold_in of the row's key and t.
      temperature: >= 0, a number or [B]. 0 is the exact argmax, ties to the lowest id.
      top_k: keep the k most probable tokens, exactly k, ties to the lowest ids; 1..V, an integer
        or [B].
      top_p: keep the smallest set of most probable tokens whose sum reaches p, at least one; in
        (0, 1], a number or [B].
      min_p: keep tokens at least min_p times as probable as the best one; in [0, 1], a number or
        [B].
      processors: functions (logits [B, V], tokens [B, L], length) -> logits [B, V], or objects
        with a state (`StatefulProcessor`), applied in order to the model's unnormalised logits
        (float32 or wider). tokens holds what was drawn, of which the first `length` (a scalar)
        count and the rest is eos; the prompt is left out.
      prompt: [B, P] integers, padded on the right, read after bos. An eos in it is an ordinary
        token.
      prompt_lengths: [B], 0..P; None means all P.

    Returns:
      Samples: tokens [B, L] int32, log_probs [B], lengths [B] int32. log_probs sum the
      log-softmax of the model's own logits, before processors, temperature and truncation, in
      float32 (float64 for float64 logits).

    Raises:
      ValueError: for a setting out of range, a carry leaf without the batch axis, a step that
        changes its carry or returns logits that are not [B, V], a key that is not typed.

    Example:
      >>> chain = jnp.log(jnp.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]))
      >>> step = lambda carry, tokens: (carry, chain[tokens])
      >>> key = jax.random.key(0)
      >>> bos = jnp.array([0, 1])
      >>> samples = sample(step, (), bos=bos, eos=2, max_len=4, key=key, temperature=0.0)
      >>> samples.tokens.tolist()
      [[1, 0, 1, 0], [0, 1, 0, 1]]
      >>> print(jnp.exp(samples.log_probs))
      [0.25 0.25]

    References:
      Fan, Lewis and Dauphin, Hierarchical Neural Story Generation, 2018, for top-k. Holtzman et
      al., The Curious Case of Neural Text Degeneration, 2020, for top-p. Nguyen et al., Turning Up
      the Heat: Min-p Sampling, 2024. Maddison, Tarlow and Minka, A* Sampling, 2014, for drawing
      by the Gumbel-max trick.
    """
    length = positive_int("max_len", max_len)
    begin = start(step, carry, bos, eos, prompt, prompt_lengths)
    batch = begin.tokens.shape[0]
    law = check_law(Law(temperature, top_k, top_p, min_p), batch, begin.vocab_size)
    keys = Noise.from_key(key, batch).key

    def body(loop):
        t, rows = loop
        carry, logits = step(rows.carry, rows.last)
        logits = as_logits(logits, begin.dtype, begin.eos)
        tokens = rows.samples.tokens
        processed = process(processors, rows.states, logits, tokens, t, begin.eos)
        token = _draw(keys, t, processed, law)
        states = update_states(processors, rows.states, token)
        samples = _extend(rows.samples, t, token, logits)
        new = _Rows(carry, states, token, samples, token == begin.eos)
        return t + 1, where_rows(rows.done, rows, new)

    samples = Samples(
        jnp.full((batch, length), begin.eos, jnp.int32),
        jnp.zeros((batch,), begin.dtype),
        jnp.zeros((batch,), jnp.int32),
    )
    states = initial_states(processors, batch)
    rows = _Rows(begin.carry, states, begin.tokens, samples, jnp.zeros((batch,), bool))
    running = lambda loop: (loop[0] < length) & ~jnp.all(loop[1].done)
    return lax.while_loop(running, body, (jnp.int32(0), rows))[1].samples


def _extend(samples: Samples, t, token, logits) -> Samples:
    """Writes token [B] at position t and adds its log-probability under logits [B, V]."""
    log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=1)[:, 0]
    return Samples(
        samples.tokens.at[:, t].set(token), samples.log_probs + log_probs, samples.lengths + 1
    )


def _draw(keys: jax.Array, t: jax.Array, logits: jax.Array, law: Law) -> jax.Array:
    """Tokens [B] drawn from logits [B, V] by the Gumbel-max trick, the argmax where T is 0."""
    greedy = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    if isinstance(law.temperature, (int, float)) and law.temperature == 0:
        return greedy  # known when traced: no noise, no sort
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:], logits.dtype))(
        fold_in_rows(keys, jnp.broadcast_to(t, keys.shape))
    )
    drawn = jnp.argmax(law.apply(logits) + noise, axis=-1).astype(jnp.int32)
    return jnp.where(is_cold(law.temperature, logits.dtype), greedy, drawn)
