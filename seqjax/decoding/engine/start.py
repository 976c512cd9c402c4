"""Where a decoder starts: checks of the step function, and priming with a prompt."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._internal.checks import require
from seqjax._internal.types import Carry, Tokens
from seqjax.core.lengths import check_lengths, within
from seqjax.core.scan import scan, strong
from seqjax.decoding.engine.rows import batch_size

Step = Callable[[Carry, Tokens], tuple[Any, ...]]  # (carry, logits), or outputs as well


class Start(NamedTuple):
    """A carry that has read bos and the prompt except the last token, and that token."""

    carry: Carry
    tokens: Tokens  # [B]
    ends: tuple[int, ...]  # every token that ends a sequence
    vocab_size: int
    dtype: Any  # of every log-probability
    rounding: float  # the relative error of the step's logits
    outputs: Any  # what the step returns beside logits: shapes [B, ...], () if nothing

    @property
    def eos(self) -> int:
        """The first of `ends`: what a row that allows nothing is left with."""
        return self.ends[0]


def prime(step: Step, carry, bos, prompt, lengths):
    """Feeds bos and all prompt tokens but the last; a row past its own prompt keeps its carry."""
    fed = jnp.concatenate([bos[:, None], prompt[:, :-1]], axis=1)  # [B, P]
    real = within(lengths, prompt.shape[1])  # [B, P]

    carry, _ = scan(lambda carry, x: (step(carry, x)[0], ()), carry, fed, mask=real)
    last = jnp.take_along_axis(prompt, jnp.maximum(lengths - 1, 0)[:, None], axis=1)[:, 0]
    return carry, jnp.where(lengths > 0, last, bos)


def start(
    step: Step, carry: Carry, bos, eos, prompt, prompt_lengths, *, outputs=False, prime=prime
) -> Start:
    """Checks what every decoder is given and reads the prompt; `outputs` allows step's third."""
    bos = _integers("bos", bos)
    require(bos.ndim <= 1, f"bos has shape {bos.shape}; expected an integer or integers [B].")
    carry = strong(carry)
    tokens = jnp.broadcast_to(bos, (batch_size(carry, bos),))
    logits, more = check_step(step, carry, tokens, outputs)
    ends = _check_eos(eos, logits.shape[1])
    if prompt is None:
        require(
            prompt_lengths is None,
            "prompt_lengths was given without a prompt; expected both. Pass prompt [B, P].",
        )
    else:
        prompt, lengths = check_given("prompt", prompt, prompt_lengths, tokens.shape[0])
        if prompt.shape[1]:
            carry, tokens = prime(step, carry, tokens, prompt, lengths)
    dtype = jnp.float64 if logits.dtype == jnp.float64 else jnp.float32
    rounding = float(jnp.finfo(logits.dtype).eps)
    return Start(carry, tokens, ends, logits.shape[1], dtype, rounding, more)


def _integers(name: str, value: Any) -> jax.Array:
    """An int32 array of tokens or lengths."""
    array = jnp.asarray(value)
    require(
        jnp.issubdtype(array.dtype, jnp.integer),
        f"{name} has dtype {array.dtype}; expected integers. Cast it with .astype(jnp.int32).",
    )
    return array.astype(jnp.int32)


def _check_eos(eos: Any, vocab_size: int) -> tuple[int, ...]:
    """One token or several, as a tuple of Python's integers."""
    several = tuple(eos) if isinstance(eos, (tuple, list)) else (eos,)
    ids = tuple(as_index(one) for one in several)
    require(
        len(ids) > 0 and len(set(ids)) == len(ids) and all(0 <= n < vocab_size for n in ids),
        f"eos is {eos!r}; expected an integer with 0 <= eos < {vocab_size}, the vocabulary size "
        "(the last axis of the step's logits), or a tuple of different ones.",
    )
    return ids


def as_index(value: Any) -> int:
    """A Python integer, or -1 for what is none (bool included)."""
    try:
        return -1 if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        return -1


def as_sequences(name: str, value: Any, vocab_size: int) -> tuple[tuple[int, ...], ...]:
    """A list of non-empty lists of ids below V, as Python's integers."""
    several = isinstance(value, (tuple, list))
    lists = several and all(isinstance(sequence, (tuple, list)) for sequence in value)
    sequences = tuple(tuple(map(as_index, sequence)) for sequence in value) if lists else ((),)
    require(
        all(s and all(0 <= token < vocab_size for token in s) for s in sequences),
        f"{name} is {value!r}; expected a list of non-empty lists of integers in "
        f"0..{vocab_size - 1}. A single sequence is a list of one: {name}=[[4, 2]].",
    )
    return sequences


def check_given(name: str, tokens, lengths, batch: int) -> tuple[jax.Array, jax.Array]:
    """Tokens [B, P] that are given, padded on the right, and their lengths [B]."""
    tokens = _integers(name, tokens)
    require(
        tokens.ndim == 2 and tokens.shape[0] == batch,
        f"{name} has shape {tokens.shape}; expected [B, P] with batch size B = {batch}. "
        f"Pad shorter ones on the right and pass {name}_lengths.",
    )
    return tokens, check_lengths(f"{name}_lengths", lengths, name, tokens.shape)


def check_step(step: Step, carry: Carry, tokens: Tokens, outputs: bool):
    """Traces the step once and compares the carry before and after: what logits and outputs are."""
    out = jax.eval_shape(step, carry, tokens)
    sizes, expected = ((2, 3), "(carry, logits)") if outputs else ((2,), "the pair (carry, logits)")
    require(
        isinstance(out, tuple) and len(out) in sizes,
        f"step returned {_kind(out)}; expected {expected}"
        + (" or (carry, logits, outputs)." if outputs else "."),
    )
    new, logits, *rest = out
    _check_carry(carry, new)
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
    more = rest[0] if rest else ()
    for path, leaf in jax.tree_util.tree_leaves_with_path(more):
        require(
            leaf.shape[:1] == tokens.shape,
            f"step returned outputs{jax.tree_util.keystr(path)} of shape {leaf.shape} for "
            f"{tokens.shape[0]} tokens; expected every leaf to lead with the batch axis [B, ...].",
        )
    return logits, more


def check_rows(logits: jax.Array, tokens: jax.Array) -> None:
    """A step that is given more rows than those of the prompt must answer for each."""
    require(
        logits.shape[0] == tokens.shape[0],
        f"step returned logits of shape {logits.shape} for {tokens.shape[0]} tokens; expected [N, "
        f"V], N = {tokens.shape[0]}: rows are repeated for each beam or sample, side by side. "
        "Reshape the query to [B, -1, H] where it meets memory of B rows.",
    )


def _kind(out: Any) -> str:
    return f"a tuple of {len(out)}" if isinstance(out, tuple) else f"a {type(out).__name__}"


def _check_carry(carry: Carry, new: Carry) -> None:
    """The carry after a step must be like the one before."""
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
