"""Copying words from the source that the vocabulary lacks."""

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax._internal.types import Logits, Tokens
from seqjax.core.ids import as_ids, check_ids
from seqjax.core.products import accumulator

LOWEST = -1e30  # stands for log 0 where an infinity would turn a gradient into NaN


@own_ranks
def pointer_generator(
    logits: Logits,
    gate: jax.Array,
    alignment: jax.Array,
    source: Tokens,
    extended_size: int,
    *,
    source_mask: jax.Array | None = None,
) -> jax.Array:
    """Mixes generating a word with copying it from the source, as log-probabilities.

        P(w) = p P_vocabulary(w) + (1 - p) Σ αⱼ over places j of w,   p = σ(gate)

    See, Liu and Manning 2017, equation 9. In each row, give the source's words that the vocabulary
    lacks the ids V, V + 1, ... of an extended vocabulary; E is its size for the row that needs
    most. The two ways to a word are added as logarithms, so that a word which the vocabulary finds
    improbable is not lost to rounding. A word that neither way leads to gets -inf. Probabilities
    sum to 1 where the alignment does, and to p where it is 0 (a source that is all padding).

    Args:
      logits: [..., V] over the vocabulary.
      gate: [...], the logit of generating.
      alignment: [..., S].
      source: [..., S] ids in 0..E-1, of any integer dtype; leading axes of size 1 are repeated, as
        in `source[:, None]` for alignments [B, T, S]. For a beam of B K rows repeat each K times.
      extended_size: E, at least V.
      source_mask: [..., S] bool, True = real; ids in masked places do not count. None means that
        all places are real.

    Returns:
      [..., E] log-probabilities in at least float32.

    Raises:
      ValueError: if shapes or dtypes do not fit, extended_size is less than V, or a real id lies
        outside 0..E-1 and its value is known. Inside `jit` such an id makes its row NaN, and
        `jax.experimental.checkify.checkify` reports it as an error.

    Example:
      >>> logits, gate = jnp.log(jnp.array([[0.75, 0.25]])), jnp.zeros(1)
      >>> alignment, source = jnp.array([[0.5, 0.25, 0.25]]), jnp.array([[0, 2, 2]])
      >>> log_probs = pointer_generator(logits, gate, alignment, source, extended_size=3)
      >>> print(jnp.exp(log_probs).round(3))
      [[0.625 0.125 0.25 ]]
    """
    logits, gate, alignment, source, real = _checked(
        logits, gate, alignment, source, extended_size, source_mask
    )
    outside = real & ((source < 0) | (source >= extended_size))
    expected = f"expected ids in 0..{extended_size - 1}, the extended vocabulary. Mask padding."
    check_ids("source", source, outside, expected)
    copied = _sum_by_id(jnp.where(real, alignment, 0), source, extended_size)
    missing = extended_size - logits.shape[-1]
    pad = [(0, 0)] * (logits.ndim - 1) + [(0, missing)]
    written = jnp.pad(jax.nn.log_softmax(logits), pad, constant_values=-jnp.inf)
    gate, some = gate[..., None], jnp.stack([written > -jnp.inf, copied > 0])
    # Ways that lead nowhere stay finite here, so that no gradient meets an infinity.
    ways = jnp.stack([jnp.where(some[0], written, 0), jnp.log(jnp.where(some[1], copied, 1))])
    ways = ways + jax.nn.log_sigmoid(jnp.stack([gate, -gate]))
    mixed = jax.nn.logsumexp(jnp.where(some, ways, LOWEST), axis=0)
    mixed = jnp.where(jnp.any(some, axis=0), mixed, -jnp.inf)
    return jnp.where(jnp.any(outside, axis=-1, keepdims=True), jnp.nan, mixed)


def _sum_by_id(weights: jax.Array, ids: jax.Array, size: int) -> jax.Array:
    """Sums weights [..., S] by ids [..., S] to [..., size]."""
    ids = ids.reshape(-1, ids.shape[-1])
    rows = jnp.arange(ids.shape[0])[:, None]
    zeros = jnp.zeros((ids.shape[0], size), weights.dtype)
    sums = zeros.at[rows, ids].add(weights.reshape(ids.shape), mode="drop")
    return sums.reshape(*weights.shape[:-1], size)


def _checked(logits, gate, alignment, source, extended_size, mask):
    """The arguments as arrays in one float dtype; source and mask in the shape of alignment."""
    logits, gate, alignment = map(jnp.asarray, (logits, gate, alignment))
    rows, vocab_size = logits.shape[:-1], logits.shape[-1] if logits.ndim else 0
    for name, array, shape in (
        ("logits", logits, f"[..., {vocab_size}]"),
        ("gate", gate, list(rows)),
        ("alignment", alignment, f"{[*rows, 'S']}".replace("'", "")),
    ):
        fits = array.shape[: len(rows)] == rows and array.ndim == len(rows) + (name != "gate")
        checks.require(
            fits and vocab_size > 0 and checks.is_float(array),
            f"{name} is {array.dtype}{list(array.shape)}; expected floats {shape}, as logits "
            f"is {list(logits.shape)}.",
        )
    checks.positive_int("extended_size", extended_size)
    checks.require(
        extended_size >= vocab_size,
        f"extended_size is {extended_size} but logits has V = {vocab_size}; expected at least V.",
    )
    source = as_ids("source", source)
    real = jnp.ones((), bool) if mask is None else jnp.asarray(mask)
    checks.require(
        real.dtype == jnp.bool_, f"source_mask has dtype {real.dtype}; expected bool [..., S]."
    )
    for name, array in (("source", source), ("source_mask", real)):
        checks.require(
            _broadcasts(array.shape, alignment.shape),
            f"{name} has shape {array.shape}; expected [..., S], which can be repeated to the "
            f"shape of alignment, {alignment.shape}.",
        )
    dtype = accumulator(logits.dtype)
    source, real = (jnp.broadcast_to(array, alignment.shape) for array in (source, real))
    return logits.astype(dtype), gate.astype(dtype), alignment.astype(dtype), source, real


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    tail = target[len(target) - len(shape) :]
    whole = not shape or shape[-1:] == target[-1:]
    return len(shape) <= len(target) and whole and all(map(lambda a, b: a in (1, b), shape, tail))
