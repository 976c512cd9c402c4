"""Where a decoder starts: checks of the step function, and priming with a prompt."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._checks import concrete, require
from seqjax.decoding.carries import batch_size
from seqjax.scan import scan, strong

Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


class Start(NamedTuple):
    """A carry that has read bos and the prompt except the last token, and that token."""

    carry: Any
    tokens: jax.Array  # [B]
    eos: int
    vocab_size: int
    dtype: Any  # of every log-probability


def start(step: Step, carry: Any, bos, eos, prompt, prompt_lengths) -> Start:
    """Checks what every decoder is given and reads the prompt."""
    bos = _integers("bos", bos)
    require(bos.ndim <= 1, f"bos has shape {bos.shape}; expected an integer or integers [B].")
    carry = strong(carry)
    tokens = jnp.broadcast_to(bos, (batch_size(carry, bos),))
    logits = _check_step(step, carry, tokens)
    eos = _check_eos(eos, logits.shape[1])
    if prompt is None:
        require(
            prompt_lengths is None,
            "prompt_lengths was given without a prompt; expected both. Pass prompt [B, P].",
        )
    else:
        prompt, lengths = _check_prompt(prompt, prompt_lengths, tokens.shape[0])
        if prompt.shape[1]:
            carry, tokens = _prime(step, carry, tokens, prompt, lengths)
    dtype = jnp.float64 if logits.dtype == jnp.float64 else jnp.float32
    return Start(carry, tokens, eos, logits.shape[1], dtype)


def _prime(step: Step, carry, bos, prompt, lengths):
    """Feeds bos and all prompt tokens but the last; a row past its own prompt holds its carry."""
    fed = jnp.concatenate([bos[:, None], prompt[:, :-1]], axis=1)  # [B, P]
    real = jnp.arange(prompt.shape[1], dtype=jnp.int32) < lengths[:, None]  # [B, P]

    carry, _ = scan(lambda carry, x: (step(carry, x)[0], ()), carry, fed, mask=real)
    last = jnp.take_along_axis(prompt, jnp.maximum(lengths - 1, 0)[:, None], axis=1)[:, 0]
    return carry, jnp.where(lengths > 0, last, bos)


def _integers(name: str, value: Any) -> jax.Array:
    """An int32 array of tokens or lengths."""
    array = jnp.asarray(value)
    require(
        jnp.issubdtype(array.dtype, jnp.integer),
        f"{name} has dtype {array.dtype}; expected integers. Cast it with .astype(jnp.int32).",
    )
    return array.astype(jnp.int32)


def _check_eos(eos: Any, vocab_size: int) -> int:
    try:
        number = -1 if isinstance(eos, (bool, np.bool_)) else operator.index(eos)
    except TypeError:
        number = -1
    require(
        0 <= number < vocab_size,
        f"eos is {eos!r}; expected an integer with 0 <= eos < {vocab_size}, the vocabulary size "
        "(the last axis of the step's logits).",
    )
    return number


def _check_prompt(prompt, lengths, batch: int):
    prompt = _integers("prompt", prompt)
    require(
        prompt.ndim == 2 and prompt.shape[0] == batch,
        f"prompt has shape {prompt.shape}; expected [B, P] with batch size B = {batch}. "
        "Pad shorter prompts on the right and pass prompt_lengths.",
    )
    width = prompt.shape[1]
    lengths = _integers("prompt_lengths", np.full(batch, width) if lengths is None else lengths)
    require(
        lengths.shape == (batch,),
        f"prompt_lengths has shape {lengths.shape} but the batch size is {batch}; expected one "
        "length a row, [B].",
    )
    known = concrete(lengths)
    require(
        known is None or bool(np.all((known >= 0) & (known <= width))),
        f"prompt_lengths is {known}; expected 0 <= prompt_lengths <= {width}, the width of "
        f"prompt {prompt.shape}.",
    )
    return prompt, lengths


def _check_step(step: Step, carry: Any, tokens: jax.Array) -> jax.ShapeDtypeStruct:
    """Traces the step once, compares the carry before and after, and returns what logits are."""
    out = jax.eval_shape(step, carry, tokens)
    require(
        isinstance(out, tuple) and len(out) == 2,
        f"step returned a {type(out).__name__}; expected the pair (carry, logits).",
    )
    new, logits = out
    before, after = jax.tree.structure(carry), jax.tree.structure(new)
    require(
        before == after,
        f"step changed the carry's structure from {before} to {after}; expected it unchanged. "
        "Return the carry with the same containers and leaves that came in.",
    )
    old_leaves = jax.tree_util.tree_leaves_with_path(carry)
    for (path, old), leaf in zip(old_leaves, jax.tree.leaves(new), strict=True):
        require(
            (old.shape, old.dtype) == (leaf.shape, leaf.dtype),
            f"step changed carry{jax.tree_util.keystr(path)} from {old.dtype}{list(old.shape)} to "
            f"{leaf.dtype}{list(leaf.shape)}; expected it unchanged. Cast the initial carry or "
            "the step's result.",
        )
    shape = getattr(logits, "shape", None)
    require(
        shape is not None and len(shape) == 2 and shape[0] == tokens.shape[0] and shape[1] > 0,
        f"step returned logits of shape {shape} for {tokens.shape[0]} tokens; expected [B, V] = "
        f"({tokens.shape[0]}, V), one row of V logits a token.",
    )
    require(
        jnp.issubdtype(logits.dtype, jnp.floating),
        f"step returned logits of dtype {logits.dtype}; expected floating-point numbers.",
    )
    return logits
