"""Stochastic beam search: sampling sequences without replacement."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.checks import positive_int
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry
from seqjax.core.noise import Noise
from seqjax.decoding.engine.candidates import is_end
from seqjax.decoding.engine.logits import (
    Processor,
    adapt,
    as_logits,
    initial_states,
    process,
    update_states,
)
from seqjax.decoding.engine.rows import (
    ASIDE,
    gumbel_rows,
    pick,
    repeat_end,
    repeat_rows,
    take_beams,
)
from seqjax.decoding.engine.start import Start, Step, check_rows, start
from seqjax.decoding.processors.settings import MODEL, Sampling, chosen


class StochasticBeams(NamedTuple):
    """K different sequences a row, drawn without replacement, by descending perturbed log p.

    The first is a sample of the model itself. For any function f of a sequence

        E[f(y)] ≈ Σₖ exp(log_weights[:, k]) f(yₖ)         unbiased
        E[f(y)] ≈ Σₖ softmax(log_weights)[:, k] f(yₖ)     normalised: biased by a little, but right
                                                          for constants, and of less variance
                                                          where p is spread over many sequences

    Fields:
      tokens: [B, K, L] int32, without bos and prompt; the eos that ends a sequence repeats.
      log_probs: [B, K] floats φ, log p under the distribution drawn from, in nats.
      perturbed: [B, K] floats G = φ + Gumbel noise, descending.
      threshold: [B] floats κ, the largest G among all sequences left out; -inf if there are none.
      log_weights: [B, K] floats, log p(y) - log P(G > κ), in nats.
      lengths: [B, K] int32, in tokens, eos counted.
    """

    tokens: jax.Array
    log_probs: jax.Array
    perturbed: jax.Array
    threshold: jax.Array
    log_weights: jax.Array
    lengths: jax.Array


class _Search(NamedTuple):
    """What the loop carries: K prefixes or whole sequences, by descending G."""

    carry: Carry  # leaves [B * K, ...]
    states: Any  # of the processors, leaves [B * K, ...]
    last: jax.Array  # [B, K]: the token to read next
    tokens: jax.Array  # [B, K, L]
    log_probs: jax.Array  # [B, K]
    perturbed: jax.Array  # [B, K]: -inf where there is no such prefix
    threshold: jax.Array  # [B]
    lengths: jax.Array  # [B, K]
    ended: jax.Array  # [B, K]


@own_ranks
def stochastic_beam_search(
    step: Step,
    carry: Carry,
    *,
    bos: Any,
    eos: Any,
    beam_size: int,
    max_len: int,
    key: jax.Array,
    how: Sampling = MODEL,
    processors: Sequence[Processor] = (),
    prompt: Any = None,
    prompt_lengths: Any = None,
) -> StochasticBeams:
    """Draws K different sequences a row: sampling without replacement.

        the K sequences of the largest G(y) = log p(y) + Gumbel(0)     (Gumbel-top-k)

    They come as if drawn one after the other, each from what is left. A prefix has the largest G
    of the sequences that begin with it; its extensions' G are drawn given that their largest is
    just that one, so a beam search by G finds the K largest of all while it looks at K prefixes a
    step. Row b's draws depend on its key, its inputs and K: not on the other rows or max_len.
    Every call traces the step; wrap it in `jax.jit` to compile once.

    Args:
      step: step(carry, tokens [N]) -> (carry, logits [N, V]); row-wise, for N = B (the prompt) and
        for N = B K, row b's sequences side by side. Logits that are all -inf allow eos alone.
      carry: any pytree whose leaves lead with the batch axis B (integers and typed keys
        included). It is repeated and gathered here.
      bos: the first token to read, an integer or [B]; [B] is needed where the carry has no leaf.
      eos: the token that ends a sequence, 0 <= eos < V, or a tuple of several.
      beam_size: K, the number of sequences to draw.
      max_len: L, the largest number of tokens; a sequence cut off there counts as a whole one.
      key: a typed key, of which row b uses fold_in(key, b), or typed keys [B], one a row.
      how: temperature and truncations; all numbers here are of the distribution that they leave,
        renormalised token by token.
      processors: as in `sample`, on [N, V].
      prompt: [B, P] integers, padded on the right, read after bos. An eos in it is an ordinary
        token.
      prompt_lengths: [B], 0..P; None means all P.

    Returns:
      StochasticBeams: tokens [B, K, L] int32; log_probs, perturbed and log_weights [B, K];
      threshold [B]; lengths [B, K] int32. Floats are float32 (float64 for float64 logits). Where a
      row has fewer than K sequences of positive probability, the last places have -inf, length 0
      and tokens that are all eos.

    Raises:
      ValueError: for a setting out of range, a carry leaf without the batch axis, a step that
        changes its carry or returns logits that are not [N, V], a key that is not typed.

    Example:
      >>> chain = jnp.log(jnp.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]))
      >>> step = lambda carry, tokens: (carry, chain[tokens])
      >>> how = dict(bos=jnp.array([0]), eos=2, beam_size=4, max_len=3, key=jax.random.key(0))
      >>> beams = stochastic_beam_search(step, (), **how)
      >>> sorted(beams.tokens[0].tolist())  # all there are, each of them once
      [[1, 0, 1], [1, 0, 2], [1, 2, 2], [2, 2, 2]]
      >>> print(jnp.exp(beams.log_weights).sum(), beams.threshold)
      1.0 [-inf]

    References:
      Kool, van Hoof and Welling, Stochastic Beams and Where to Find Them, 2019: section 4 for the
      search and the estimators, appendix B for the stable form.
    """
    size = positive_int("beam_size", beam_size)
    length, chain = positive_int("max_len", max_len), adapt("processors", processors)
    begin = start(step, carry, bos, eos, prompt, prompt_lengths)
    batch = begin.tokens.shape[0]
    how = chosen(how).fit(batch, begin.vocab_size).repeat(size)
    keys = Noise.from_key(key, batch).key

    def body(loop):
        t, search = loop
        last = search.last.reshape(-1)
        carry, logits = step(search.carry, last)
        check_rows(logits, last)
        logits = as_logits(logits, begin.dtype, begin.eos)
        tokens = search.tokens.reshape(-1, length)
        logits = process(chain, search.states, logits, tokens, t, begin.eos)
        log_probs = jax.nn.log_softmax(how.apply(logits, begin.rounding)).reshape(batch, size, -1)
        noise = gumbel_rows(keys, t, log_probs.shape[1:], begin.dtype)
        search = _advance(search._replace(carry=carry), t, log_probs, noise, begin.ends)
        states = update_states(chain, search.states, search.last.reshape(-1))
        return t + 1, search._replace(states=states)

    running = lambda loop: (loop[0] < length) & ~jnp.all(loop[1].ended)
    first = _first(begin, initial_states(chain, batch), keys, size, length)
    return _result(lax.while_loop(running, body, (jnp.int32(0), first))[1], begin.eos)


def _first(begin: Start, states: Any, keys: jax.Array, size: int, length: int) -> _Search:
    batch = begin.tokens.shape[0]
    first = jnp.arange(size) == 0  # all start equal: one counts
    # Kool et al. start from G = 0; the weights are unbiased if the largest G is drawn as well.
    root = gumbel_rows(keys, ASIDE, (1,), begin.dtype)
    return _Search(
        carry=repeat_rows(begin.carry, size),
        states=repeat_rows(states, size),
        last=repeat_rows(begin.tokens, size).reshape(batch, size),
        tokens=jnp.full((batch, size, length), begin.eos, jnp.int32),
        log_probs=jnp.broadcast_to(jnp.where(first, 0, -jnp.inf), (batch, size)).astype(
            begin.dtype
        ),
        perturbed=jnp.where(first, root, -jnp.inf),
        threshold=jnp.full((batch,), -jnp.inf, begin.dtype),
        lengths=jnp.zeros((batch, size), jnp.int32),
        ended=jnp.broadcast_to(~first, (batch, size)),
    )


def _advance(search: _Search, t, log_probs, noise, ends: tuple[int, ...]) -> _Search:
    """Extends every prefix by a token, given log p and Gumbel noise [B, K, V]; ended ones stay."""
    batch, size, vocab = log_probs.shape
    offers = min(size + 1, vocab)  # K to keep, and the best one left out
    noisy, tokens = lax.top_k(log_probs + noise, offers)  # [B, K, M], relative to the prefix
    totals = search.log_probs[..., None] + jnp.take_along_axis(log_probs, tokens, axis=-1)
    perturbed = _given_largest(search.perturbed, search.log_probs, noisy)
    ended, itself = search.ended[..., None], jnp.arange(offers) == 0
    kept_g = jnp.where(itself, search.perturbed[..., None], -jnp.inf)
    perturbed = jnp.where(ended, kept_g, perturbed).reshape(batch, -1)
    perturbed = jnp.where(jnp.isnan(perturbed), jnp.nan, perturbed)  # sorts first, not by its sign
    tokens = jnp.where(ended, search.last[..., None], tokens).reshape(batch, -1)
    totals = jnp.where(ended, search.log_probs[..., None], totals).reshape(batch, -1)

    nothing = jnp.full((batch, 1), -jnp.inf, noise.dtype)  # where K + 1 candidates do not exist
    best, order = lax.top_k(jnp.concatenate([perturbed, nothing], axis=1), size + 1)
    order, kept = order[:, :size], best[:, :size]  # [B, K]
    parents, last = lax.div(order, jnp.int32(offers)), pick(tokens, order)
    tokens = lax.dynamic_update_slice_in_dim(
        pick(search.tokens, parents), last[..., None], t, axis=2
    )
    ended, lengths = pick(search.ended, parents), pick(search.lengths, parents)
    carry, states = take_beams((search.carry, search.states), parents)
    return _Search(
        carry,
        states,
        last,
        tokens,
        pick(totals, order),
        kept,
        # What is dropped has the largest G of all sequences that begin with it.
        jnp.maximum(search.threshold, best[:, size]),
        jnp.where(ended, lengths, t + 1),
        ended | is_end(last, ends) | (kept == -jnp.inf),
    )


def _given_largest(largest: jax.Array, log_probs: jax.Array, noisy: jax.Array) -> jax.Array:
    """Gumbel variables given their maximum: [B, K, M] from unconditional ones, best first.

        G = -log(exp(-T) - exp(-Z) + exp(-g)),    T the given maximum, Z = max g

    noisy is g - log_probs; largest T and log_probs are [B, K]. Neither exponential overflows:
    G = T - max(v, 0) - log1p(exp(-|v|)) with v = T - g + log1mexp(g - Z).
    """
    largest, log_probs = largest[..., None], log_probs[..., None]
    v = largest - log_probs - noisy + log1mexp(noisy - noisy[..., :1])
    out = largest - jnp.maximum(v, 0) - jnp.log1p(jnp.exp(-jnp.abs(v)))
    return jnp.where(largest == -jnp.inf, -jnp.inf, out)


def log1mexp(x: jax.Array) -> jax.Array:
    """log(1 - exp(x)) for x <= 0."""
    return jnp.where(x > -0.6931472, jnp.log(-jnp.expm1(x)), jnp.log1p(-jnp.exp(x)))


def log_inclusion(above: jax.Array) -> jax.Array:
    """log P(G > κ) = log(1 - exp(-exp(φ - κ))) of φ - κ; about φ - κ where that is very low."""
    return jnp.where(above < -20, above, log1mexp(-jnp.exp(jnp.maximum(above, -20))))


def _result(search: _Search, eos: int) -> StochasticBeams:
    nothing = search.perturbed == -jnp.inf
    weights = search.log_probs - log_inclusion(search.log_probs - search.threshold[:, None])
    return StochasticBeams(
        jnp.where(nothing[..., None], eos, repeat_end(search.tokens, search.lengths)),
        jnp.where(nothing, -jnp.inf, search.log_probs),
        search.perturbed,
        search.threshold,
        jnp.where(nothing, -jnp.inf, weights),
        jnp.where(nothing, 0, search.lengths),
    )
