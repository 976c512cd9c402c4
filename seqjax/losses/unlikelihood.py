"""Unlikelihood: a loss on what a model should not have said."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.scan import check_flags
from seqjax.core.steps import zero_rows
from seqjax.losses.labels import check_integers, to_rank, widened
from seqjax.losses.log_numbers import LOG_ZERO


def unlikelihood_losses(logits: Any, candidates: Any, *, mask: Any = None) -> jax.Array:
    """The unlikelihood of negative candidates at each step, in nats.

        loss = -Σ log(1 - p(c)) over the candidates c    p = softmax(x)

    Add it to the likelihood: `token_losses(...) + weight * unlikelihood_losses(...)`, with weight 1
    in the paper; by itself it says nothing about what is right. With `previous_tokens` as
    candidates it pushes earlier tokens down unless they are the target, which helps against the
    loops of greedy decoding. No model is run, so longer repeated phrases need the paper's
    sequence-level loss, or a processor at decoding. Do not use it for data that repeats itself for
    good reasons, such as code, lyrics or music: perplexity suffers.

    log(1 - p) has all its digits also where p is near 1: there it is log Σ exp of the other logits
    less log Σ exp of all.

    Args:
      logits: [..., V] floats, V at least 2. Half precision is computed in float32.
      candidates: [..., V] bool, True = should be unlikely.
      mask: [...] bool, True = real; None means that every step is. What stands elsewhere, NaN
        included, changes neither a value nor a gradient.

    Returns:
      [...] nats, 0 where masked or without candidates; +inf, with zero gradient, where logits of
      -inf leave a candidate alone.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    Example:
      >>> logits = jnp.log(jnp.array([0.5, 0.25, 0.25]))
      >>> loss = unlikelihood_losses(logits, jnp.array([True, True, False]))
      >>> print(f"{loss:.3f} {-jnp.log(1 / 2) - jnp.log(3 / 4):.3f}")
      0.981 0.981

    References:
      Welleck, Kulikov, Roller, Dinan, Cho and Weston, Neural Text Generation with Unlikelihood
      Training, 2020, equations 4 and 5.
    """
    logits, candidates = jnp.asarray(logits), jnp.asarray(candidates)
    checks.require(
        logits.ndim >= 1 and checks.is_float(logits) and logits.shape[-1] >= 2,
        f"logits is {logits.dtype}{list(logits.shape)}; expected floats [..., V], V at least 2.",
    )
    checks.require(
        candidates.dtype == jnp.bool_ and candidates.shape == logits.shape,
        f"candidates is {candidates.dtype}{list(candidates.shape)}; expected "
        f"bool{list(logits.shape)}, the shape of logits.",
    )
    logits = widened(logits)
    if mask is not None:
        mask = jnp.asarray(mask)
        checks.require(
            mask.dtype == jnp.bool_ and mask.shape == logits.shape[:-1],
            f"mask is {mask.dtype}{list(mask.shape)}; expected bool{list(logits.shape[:-1])}, True "
            "= real.",
        )
        logits, candidates = zero_rows(mask, logits), zero_rows(mask, candidates)
    terms = jnp.where(candidates, _log_complement(logits), 0)
    losses = -jnp.sum(terms, axis=-1)
    return jnp.where(losses > -LOG_ZERO / 2, jnp.inf, losses)


def previous_tokens(targets: Any, vocab_size: int, *, mask: Any = None) -> jax.Array:
    """The candidates of token-level unlikelihood: what came before in the row, less the target.

        Cₜ = {y₁, ..., yₜ₋₁} \\ {yₜ}

    Args:
      targets: [B, T] integers in 0..V-1; others are no candidates.
      vocab_size: V.
      mask: [B, T] bool, True = real: what is masked was not said, and has no candidates.

    Returns:
      [B, T, V] bool for `unlikelihood_losses`.

    Raises:
      ValueError: if targets is not [B, T] integers or mask does not fit.

    Example:
      >>> previous_tokens(jnp.array([[1, 0, 1]]), 3)[0].tolist()
      [[False, False, False], [False, True, False], [True, False, False]]

    References:
      Welleck et al. 2020, equation 5.
    """
    shape = jnp.shape(targets)
    checks.require(len(shape) == 2, f"targets has shape {shape}; expected [B, T] integers.")
    targets = check_integers("targets", targets, shape, "targets")
    size = checks.positive_int("vocab_size", vocab_size)
    real = check_flags("mask", mask, *shape)
    said = targets[..., None] == to_rank(jnp.arange(size, dtype=jnp.int32), 3)  # [B, T, V]
    own, said = said, said if real is None else said & real[..., None]
    earlier = jnp.pad(said, ((0, 0), (1, 0), (0, 0)))[:, :-1].astype(jnp.int8)
    candidates = (jax.lax.cummax(earlier, axis=1) > 0) & ~own
    return candidates if real is None else candidates & real[..., None]


def _log_complement(logits: jax.Array) -> jax.Array:
    """log(1 - softmax(logits)) [..., V]."""
    best = jax.lax.argmax(logits, logits.ndim - 1, jnp.int32)
    classes = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    is_best = best[..., None] == to_rank(classes, logits.ndim)
    whole = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    rest = jax.nn.logsumexp(jnp.where(is_best, LOG_ZERO, logits), axis=-1, keepdims=True)
    # Only the best class can have p > 1/2, beyond which 1 - p loses digits.
    probs = jnp.where(is_best, 0, jnp.exp(logits - whole))
    return jnp.where(is_best, rest - whole, jnp.log1p(-probs))
