"""Writing words of the source that are in no vocabulary."""

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from seqjax._internal import checks
from seqjax.core.products import accumulator

LOWEST = -1e30  # as good as log 0, and no infinity


def pointer_generator(
    logits: jax.Array,
    gate: jax.Array,
    alignment: jax.Array,
    source: jax.Array,
    extended_size: int,
    *,
    source_mask: jax.Array | None = None,
) -> jax.Array:
    """Log-probabilities of generating a word or copying it. See, Liu and Manning 2017, equation 9.

        P(w) = p P_vocabulary(w) + (1 - p) Σ αⱼ over places j of w,   p = σ(gate)

    The words of the source that the vocabulary lacks get the ids V, V + 1, ... of an extended
    vocabulary, row by row; E of them all in all is the most that a batch needs. Both ways to a word
    are added as logarithms: what the vocabulary finds improbable is not lost to rounding. A word
    that neither way leads to has -inf. The probabilities sum to 1 where the alignment does, and to
    p where it is 0 (a source of nothing but padding).

    Args:
      logits: [..., V] of the vocabulary.
      gate: [...], the logit of generating.
      alignment: [..., S].
      source: [..., S] integer ids in 0..E-1; leading axes of size 1 are repeated, as in
        `source[:, None]` for alignments [B, T, S]. For a beam of B K rows repeat them K times.
      extended_size: E, at least V.
      source_mask: [..., S] bool, True = real, or None: ids of masked places do not count.

    Returns:
      [..., E] log-probabilities in at least float32.

    Raises:
      ValueError: if shapes or dtypes do not fit, extended_size is less than V, or a real id lies
        outside of 0..E-1 and is known. Inside `jit` such an id makes its row NaN, and a caller
        wrapped in `jax.experimental.checkify.checkify` gets this error.

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
    _check_ids(source, outside, extended_size)
    copied = _sum_by_id(jnp.where(real, alignment, 0), source, extended_size)
    missing = extended_size - logits.shape[-1]
    pad = [(0, 0)] * (logits.ndim - 1) + [(0, missing)]
    written = jnp.pad(jax.nn.log_softmax(logits), pad, constant_values=-jnp.inf)
    gate, some = gate[..., None], jnp.stack([written > -jnp.inf, copied > 0])
    # A way that does not lead there stays finite until its gradient is out of reach.
    ways = jnp.stack([jnp.where(some[0], written, 0), jnp.log(jnp.where(some[1], copied, 1))])
    ways = ways + jax.nn.log_sigmoid(jnp.stack([gate, -gate]))
    mixed = jax.nn.logsumexp(jnp.where(some, ways, LOWEST), axis=0)
    mixed = jnp.where(jnp.any(some, axis=0), mixed, -jnp.inf)
    return jnp.where(jnp.any(outside, axis=-1, keepdims=True), jnp.nan, mixed)


def _sum_by_id(weights: jax.Array, ids: jax.Array, size: int) -> jax.Array:
    """Sums weights [..., S] by ids [..., S]: [..., size]. Where ids lie outside, weights are 0."""
    ids = ids.reshape(-1, ids.shape[-1])
    rows = jnp.arange(ids.shape[0])[:, None]
    zeros = jnp.zeros((ids.shape[0], size), weights.dtype)
    sums = zeros.at[rows, ids].add(weights.reshape(ids.shape), mode="drop")
    return sums.reshape(*weights.shape[:-1], size)


def _checked(logits, gate, alignment, source, extended_size, mask):
    """The arguments as arrays in one float dtype, source and mask as wide as alignment."""
    logits, gate, alignment, source = map(jnp.asarray, (logits, gate, alignment, source))
    rows, vocab_size = logits.shape[:-1], logits.shape[-1] if logits.ndim else 0
    for name, array, shape in (
        ("logits", logits, f"[..., {vocab_size}]"),
        ("gate", gate, list(rows)),
        ("alignment", alignment, f"{[*rows, 'S']}".replace("'", "")),
    ):
        fits = array.shape[: len(rows)] == rows and array.ndim == len(rows) + (name != "gate")
        checks.require(
            fits and vocab_size > 0 and checks.is_float(array),
            f"{name} is {array.dtype}{list(array.shape)}; expected floats {shape}, logits being "
            f"{list(logits.shape)}.",
        )
    checks.positive_int("extended_size", extended_size)
    checks.require(
        extended_size >= vocab_size,
        f"extended_size is {extended_size} but logits has V = {vocab_size}; expected at least V.",
    )
    real = jnp.ones((), bool) if mask is None else jnp.asarray(mask)
    for name, array, ok in (
        ("source", source, jnp.issubdtype(source.dtype, jnp.integer)),
        ("source_mask", real, real.dtype == jnp.bool_),
    ):
        kind = "integer ids" if name == "source" else "bool"
        checks.require(
            ok and _broadcasts(array.shape, alignment.shape),
            f"{name} is {array.dtype}{list(array.shape)}; expected {kind} [..., S], to be repeated "
            f"to the shape of alignment, {list(alignment.shape)}.",
        )
    dtype = accumulator(logits.dtype)
    source = jnp.broadcast_to(source.astype(jnp.int32), alignment.shape)
    real = jnp.broadcast_to(real, alignment.shape)
    return logits.astype(dtype), gate.astype(dtype), alignment.astype(dtype), source, real


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    tail = target[len(target) - len(shape) :]
    whole = not shape or shape[-1:] == target[-1:]
    return len(shape) <= len(target) and whole and all(map(lambda a, b: a in (1, b), shape, tail))


def _check_ids(ids: jax.Array, outside: jax.Array, size: int) -> None:
    """Refuses real ids outside the extended vocabulary, now or under checkify."""
    known, values = checks.concrete(outside), checks.concrete(ids)
    message = f"expected ids in 0..{size - 1}, the extended vocabulary."
    if known is None or values is None:
        checkify.debug_check(~jnp.any(outside), f"source holds an id out of range; {message}")
    elif known.any():
        raise ValueError(f"source holds {int(values[known][0])}; {message} Mask padding.")
