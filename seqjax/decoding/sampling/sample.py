"""Sampling from a step function: it reads its own draws."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal.checks import positive_int
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry
from seqjax.core.noise import Noise, fold_in_rows
from seqjax.decoding.engine.logits import Adapted, Processor, adapt
from seqjax.decoding.engine.start import Start, Step, as_sequences, start
from seqjax.decoding.processors.settings import Sampling, chosen
from seqjax.decoding.sampling.drawing import Plan, Rows, Samples, advance, first_rows


@own_ranks
def sample(
    step: Step,
    carry: Carry,
    *,
    bos: Any,
    eos: int | Sequence[int],
    max_len: int,
    key: jax.Array,
    temperature: Any = 1.0,
    top_k: Any = None,
    top_p: Any = None,
    min_p: Any = None,
    how: Sampling | None = None,
    processors: Sequence[Processor] = (),
    stop: Sequence[Sequence[int]] = (),
    prompt: Any = None,
    prompt_lengths: Any = None,
    num_samples: int | None = None,
) -> Samples:
    """Draws a sequence a row from a step function, until it ends or has max_len tokens.

        carry, logits = step(carry, yₜ₋₁);    yₜ ~ truncate(process(logits) / temperature)

    Processors come first, then temperature, top-k, top-p and min-p, each on what the one before
    left (`Sampling` has the whole order). Row b's draws depend on its key, its inputs and the
    step's number: not on the other rows, the prompt's padding or max_len. Every call traces the
    step; under `jax.jit` it is compiled once, and traced settings do not compile it again. The
    loop ends when every row has ended.

    Args:
      step: step(carry, tokens [B]) -> (carry, logits [B, V]); row-wise. It closes over parameters
        and memory. Logits of any float dtype; a row that is all -inf allows eos alone.
      carry: any pytree whose leaves lead with the batch axis (integers and typed keys included).
      bos: the first token to read, an integer or [B]; [B] is needed where the carry has no leaf.
      eos: the token that ends a sequence, 0 <= eos < V, or a tuple of several. The one that ended a
        row repeats; a row that allows nothing is left with the first.
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
      how: a `Sampling`, which has these four settings and more; they are not given beside it.
      processors: functions (logits [B, V], tokens [B, L], length) -> logits [B, V], or objects
        with a state (`StatefulProcessor`), applied in order to the model's unnormalised logits
        (float32 or wider). tokens are what was drawn, of which the first `length` (a scalar)
        count and the rest is eos; the prompt is left out.
      stop: sequences of tokens, of any lengths, that end a row when it has drawn one of them
        whole. It stays in the sample and lengths count it; the first eos fills the rest and is not
        counted. What a prompt ends with does not begin one.
      prompt: [B, P] integers, padded on the right, read after bos. An eos in it is an ordinary
        token.
      prompt_lengths: [B], 0..P; None means all P.
      num_samples: n samples of every row, whose prompt is read once; sample i uses fold_in of the
        row's key and i. None draws one, without the axis.

    Returns:
      Samples: tokens [B, L] int32, log_probs [B], lengths [B] int32, law_log_probs [B]; with
      num_samples, [B, n, L] and [B, n]. log_probs sum the log-softmax of the model's own logits,
      before processors, temperature and truncation, and law_log_probs that of the distribution
      drawn from, in float32 (float64 for float64 logits).

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
      the Heat: Min-p Sampling, 2024. Maddison, Tarlow and Minka, A* Sampling, 2014, for drawing by
      the Gumbel-max trick.
    """
    how = chosen(how, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    length, chain = positive_int("max_len", max_len), adapt("processors", processors)
    begin = start(step, carry, bos, eos, prompt, prompt_lengths)
    plan, keys, how, rows = prepare(begin, step, chain, stop, key, how, length, num_samples)

    body = lambda loop: (loop[0] + 1, advance(plan, keys, how, *loop))
    running = lambda loop: (loop[0] < length) & ~jnp.all(loop[1].done)
    rows = lax.while_loop(running, body, (jnp.int32(0), rows))[1]
    return by_prompt(rows.samples, num_samples)


def prepare(
    begin: Start,
    step: Step,
    processors: tuple[Adapted, ...],
    stop: Any,
    key: Any,
    how: Sampling,
    length: int,
    num_samples: Any,
) -> tuple[Plan, jax.Array, Sampling, Rows]:
    """Checks how to draw: the plan, and for every sample its key, its settings and its row."""
    batch, times = begin.tokens.shape[0], 1
    how = how.fit(batch, begin.vocab_size)
    keys = Noise.from_key(key, batch).key
    stop = as_sequences("stop", stop, begin.vocab_size)
    plan = Plan(step, processors, begin.ends, stop, begin.dtype, begin.rounding)
    if num_samples is not None:
        times = positive_int("num_samples", num_samples)
        keys, how = _each_sample(keys, times), how.repeat(times)
    return plan, keys, how, first_rows(begin, plan.processors, length, times)


def by_prompt(tree: Any, num_samples: int | None) -> Any:
    """Leaves [B * n, ...] as [B, n, ...]; None leaves them as they are."""
    if num_samples is None:
        return tree
    return jax.tree.map(lambda x: x.reshape(-1, num_samples, *x.shape[1:]), tree)


def _each_sample(keys: jax.Array, times: int) -> jax.Array:
    """Sample i of a row draws by fold_in(the row's key, i): keys [B] to [B * times]."""
    numbers = jnp.broadcast_to(jnp.arange(times), (keys.shape[0], times))
    return fold_in_rows(keys, numbers).reshape(-1)
