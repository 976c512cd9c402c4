"""Sampling on the host, token by token, as for a reader who watches."""

import functools
from collections.abc import Generator, Sequence
from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import positive_int
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Carry
from seqjax.decoding.engine.logits import Processor, adapt
from seqjax.decoding.engine.start import Step, prime, start
from seqjax.decoding.processors.settings import MODEL, Sampling, chosen
from seqjax.decoding.sampling.drawing import Plan, Rows, Samples, advance
from seqjax.decoding.sampling.sample import by_prompt, prepare


@own_ranks
def stream(
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
) -> Generator[np.ndarray, None, Samples]:
    """Yields the tokens of `sample` as they are drawn, draw for draw the same.

        carry, logits = step(carry, yₜ₋₁);    yield yₜ

    A generator on the host, so not for use inside `jax.jit`: each next() runs one compiled step
    whose carry is donated (overwritten in place). Calls with the same step function (the same
    object), processors and shapes share one compilation. A new lambda for every call does not: put
    the parameters into the carry, or keep the closure.

    Args:
      step, carry, bos, eos, max_len, key, temperature, top_k, top_p, min_p, how, processors, stop,
        prompt, prompt_lengths, num_samples: as in `sample`. The step and the processors must be
        hashable. The caller's carry is copied, never donated.

    Yields:
      Tokens [B] int32, with num_samples [B, n], a NumPy array: place t of `Samples.tokens`. It
      ends when every row has.

    Returns:
      The generator's value, what `yield from` gives, is the `Samples` that `sample` returns.

    Raises:
      ValueError: at the call, for all that `sample` refuses, and for an unhashable step.

    Example:
      >>> chain = jnp.log(jnp.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]))
      >>> step = lambda carry, tokens: (carry, chain[tokens])
      >>> how = dict(bos=jnp.array([0]), eos=2, max_len=9, key=jax.random.key(4))
      >>> for tokens in stream(step, (), **how):
      ...     print(tokens)
      [1]
      [2]
    """
    how = chosen(how, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    length, chain = positive_int("max_len", max_len), adapt("processors", processors)
    _check_hashable(step, chain)
    begin = start(step, carry, bos, eos, prompt, prompt_lengths, prime=_prime)
    plan, keys, how, rows = prepare(begin, step, chain, stop, key, how, length, num_samples)
    return _run(plan, keys, how, jax.tree.map(jnp.copy, rows), length, num_samples)


def _run(plan: Plan, keys, how: Sampling, rows: Rows, length: int, num_samples: int | None):
    # A Python number is part of the program, as it is in `sample`; an array is data.
    settings = {field.name: getattr(how, field.name) for field in fields(how)}
    arrays = {n: x for n, x in settings.items() if not isinstance(x, (int, float, type(None)))}
    numbers = replace(how, **{name: getattr(MODEL, name) for name in arrays})
    for t in range(length):
        rows, tokens, done = _advance(plan, numbers, arrays, keys, np.int32(t), rows)
        yield by_prompt(np.asarray(tokens), num_samples)
        if done:
            break
    return by_prompt(rows.samples, num_samples)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=5)
@own_ranks
def _advance(plan: Plan, numbers: Sampling, arrays: dict[str, jax.Array], keys, t, rows: Rows):
    rows = advance(plan, keys, replace(numbers, **arrays), t, rows)
    return rows, rows.samples.tokens[:, t], jnp.all(rows.done)


_prime = jax.jit(own_ranks(prime), static_argnums=0)


def _check_hashable(*static: Any) -> None:
    try:
        hash(static)
    except TypeError as error:
        raise ValueError(
            f"step and processors must be hashable to be compiled once, but: {error}. Pass a plain "
            "function or a frozen dataclass, and put arrays into the carry."
        ) from error
