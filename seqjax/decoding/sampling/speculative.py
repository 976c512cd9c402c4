"""Speculative sampling: a cheap step guesses some tokens ahead, the step itself checks them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.checks import positive_int, require, same_structure
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry
from seqjax.core.noise import Noise, fold_in_rows
from seqjax.core.steps import swap_time, where_rows
from seqjax.decoding.engine.logits import Processor, adapt, as_logits, initial_states
from seqjax.decoding.engine.rows import repeat_end
from seqjax.decoding.engine.start import Start, Step, start
from seqjax.decoding.processors.settings import MODEL, Sampling, chosen
from seqjax.decoding.sampling.drafts import (
    SpeculativeSamples,
    choose,
    commit,
    first_rows,
    flat,
    guess_ahead,
    process_each,
)

Verify = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


@own_ranks
def speculative_sample(
    step: Step,
    carry: Carry,
    draft_step: Step,
    draft_carry: Carry,
    *,
    bos: Any,
    eos: Any,
    num_draft: int,
    max_len: int,
    key: jax.Array,
    verify: Verify | None = None,
    how: Sampling = MODEL,
    processors: Sequence[Processor] = (),
    prompt: Any = None,
    prompt_lengths: Any = None,
) -> SpeculativeSamples:
    """Draws one sequence a row, several tokens a round where a cheap draft guesses well.

        x₁ .. x_G ~ q;    xᵢ is kept with probability min(1, p(xᵢ) / q(xᵢ)), up to the first refused
        the next token ~ max(p - q, 0) / Σ max(p - q, 0) after a refusal, p after none

    The draws are distributed as those of `sample`, whatever the draft q: a bad one only costs time,
    and at temperature 0 the result is greedy decoding's. Both carries are set back to the last
    token kept, row by row. It pays where checking G + 1 tokens at once is cheaper than as many
    steps: give `verify` for that. Row b's draws depend on its key and inputs. Every call traces
    the steps; wrap it in `jax.jit` to compile once.

    Args:
      step: step(carry, tokens [B]) -> (carry, logits [B, V]), which is sampled; row-wise.
        Logits that are all -inf allow eos alone.
      carry: its carry, any pytree whose leaves lead with the batch axis (integers and typed keys
        included).
      draft_step: a cheaper step over the same tokens.
      draft_carry: its carry; it reads bos and prompt too.
      bos: the first token to read, an integer or [B]; [B] is needed where a carry has no leaf.
      eos: the token that ends a sequence, 0 <= eos < V, or a tuple of several.
      num_draft: G, the tokens guessed in a round.
      max_len: L, the largest number of tokens to draw.
      key: a typed key, of which row b uses fold_in(key, b), or typed keys [B], one a row.
      verify: verify(carry, tokens [B, G + 1]) -> (carries [B, G + 1, ...], logits [B, G + 1, V]):
        the step over several tokens at once, with the carry after each of them. None scans step.
      how: temperature and truncations, of both steps.
      processors: as in `sample`, of both steps; functions of the tokens are called row by row.
      prompt: [B, P] integers, padded on the right, read after bos. An eos in it is an ordinary
        token.
      prompt_lengths: [B], 0..P; None means all P.

    Returns:
      SpeculativeSamples: tokens [B, L] int32, log_probs [B] as in `Samples`, lengths, rounds and
      accepted [B] int32.

    Raises:
      ValueError: for a setting out of range, a carry leaf without the batch axis, a step that
        changes its carry or returns logits that are not [B, V], a draft of another vocabulary, a
        verify whose result is not of the shapes above, a key that is not typed.

    Example:
      >>> chain = jnp.log(jnp.array([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.0, 0.0, 1.0]]))
      >>> step = lambda carry, tokens: (carry, chain[tokens])
      >>> samples = speculative_sample(
      ...     step, (), step, (), bos=jnp.array([0]), eos=2, num_draft=3, max_len=8,
      ...     key=jax.random.key(0), how=Sampling(temperature=0.0))
      >>> samples.tokens.tolist(), samples.rounds.tolist(), samples.accepted.tolist()
      ([[1, 0, 1, 0, 1, 0, 1, 0]], [2], [6])

    References:
      Leviathan, Kalman and Matias, Fast Inference from Transformers via Speculative Decoding,
      2023, algorithm 1. Chen et al., Accelerating Large Language Model Decoding with Speculative
      Sampling, 2023, algorithm 2.
    """
    guesses, length = positive_int("num_draft", num_draft), positive_int("max_len", max_len)
    chain = adapt("processors", processors)
    begin = start(step, carry, bos, eos, prompt, prompt_lengths)
    batch = begin.tokens.shape[0]
    draft = _start_draft(draft_step, draft_carry, begin, bos, eos, prompt, prompt_lengths)
    how = chosen(how).fit(batch, begin.vocab_size)
    each = how.repeat(guesses + 1)
    keys = Noise.from_key(key, batch).key
    check = verify or _scanned(step)
    _check_verify(check, begin, guesses + 1)

    def body(loop):
        t, rows = loop
        fresh = fold_in_rows(keys, jnp.broadcast_to(t, keys.shape))
        guess = guess_ahead(draft_step, rows, guesses, fresh, how, chain, begin)
        carries, logits = check(rows.carry, guess.read)
        logits = as_logits(flat(logits), begin.dtype, begin.eos)
        processed = process_each(chain, guess, logits, rows.samples.lengths, begin.eos)
        log_p = jax.nn.log_softmax(each.apply(processed, begin.rounding)).reshape(guess.log_q.shape)
        kept, following = choose(guess, log_p, fresh)
        own = jax.nn.log_softmax(logits).reshape(log_p.shape)
        new = commit(rows, guess, carries, own, kept, following, chain, begin.ends)
        return t + 1, where_rows(rows.done, rows, new)

    rows = first_rows(begin, draft.carry, initial_states(chain, batch), length)
    rows = lax.while_loop(lambda loop: ~jnp.all(loop[1].done), body, (jnp.int32(0), rows))[1]
    samples = rows.samples
    return samples._replace(tokens=repeat_end(samples.tokens, samples.lengths))


def _start_draft(draft_step, draft_carry, begin: Start, bos, eos, prompt, lengths) -> Start:
    bos = jnp.broadcast_to(jnp.asarray(bos), begin.tokens.shape)
    try:
        draft = start(draft_step, draft_carry, bos, eos, prompt, lengths)
    except ValueError as error:
        raise ValueError(f"draft_step and draft_carry: {error}") from error
    require(
        draft.vocab_size == begin.vocab_size,
        f"draft_step has a vocabulary of {draft.vocab_size} tokens but step has "
        f"{begin.vocab_size}; expected the same one.",
    )
    return draft


def _scanned(step: Step) -> Verify:
    """The step over several tokens, one after the other."""

    def verify(carry, tokens):
        def body(carry, token):
            carry, logits = step(carry, token)
            return carry, (carry, logits)

        return swap_time(lax.scan(body, carry, tokens.T)[1])

    return verify


def _check_verify(verify: Verify, begin: Start, count: int) -> None:
    batch = begin.tokens.shape[0]
    shape = jax.ShapeDtypeStruct((batch, count), jnp.int32)
    out = jax.eval_shape(verify, begin.carry, shape)
    widen = lambda leaf: jax.ShapeDtypeStruct((batch, count, *leaf.shape[1:]), leaf.dtype)
    require(
        isinstance(out, tuple) and len(out) == 2,
        f"verify returned a {type(out).__name__}; expected the pair (carries, logits).",
    )
    carries = jax.tree.map(widen, begin.carry)
    same_structure("verify's carries", out[0], carries, "carry is after each of the G + 1 tokens")
    expected = (batch, count, begin.vocab_size)
    require(
        jnp.shape(out[1]) == expected,
        f"verify returned logits of shape {jnp.shape(out[1])}; expected [B, G + 1, V] = "
        f"{expected}.",
    )
