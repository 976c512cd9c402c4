"""The neural cache: words that followed like states before are likely to follow again."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.core.products import accumulator


class CacheInput(NamedTuple):
    """What a `NeuralCache` reads at a step, or with [B, T, ...] over time.

    Fields:
      tokens: [B] integers, the tokens that the model has just read.
      hidden: [B, H] floats, the model's output after reading them.
      logits: [B, V] floats, its logits of the next tokens.
    """

    tokens: Any
    hidden: Any
    logits: Any


class NeuralCacheCarry(NamedTuple):
    """The past that a `NeuralCache` of N entries remembers.

    Fields:
      hidden: [B, N, H] states, a ring: entry s mod N is that of step s.
      tokens: [B, N] int32, the token that came after each of them.
      last: [B, H] the state of the last step, whose token is not known yet.
      steps: [B] int32, steps so far.
    """

    hidden: jax.Array
    tokens: jax.Array
    last: jax.Array
    steps: jax.Array


@final
@dataclass(frozen=True)
class NeuralCache:
    """A continuous cache over the last N states of a language model. Grave et al. 2017.

        p_cache(v) ∝ Σₛ 1[xₛ₊₁ = v] exp(θ hₜ · hₛ)    over the last N states s < t
        p(v) = (1 - λ) p_model(v) + λ p_cache(v)

    A step (carry, x) -> (carry, y): x a `CacheInput`, y the log-probabilities [B, V] of the next
    tokens, in at least float32; while nothing is remembered they are the model's. Nothing is
    trained, and nothing needs to be: λ and θ are chosen on validation data. Over time by
    `scan(cache.step, carry, inputs, mask=mask, reset=reset)`, in decoding inside of a step:

        def step(carry, tokens):
            model, past = carry
            model, (hidden, logits) = network(model, tokens)
            past, log_probs = cache.step(past, CacheInput(tokens, hidden, logits))
            return (model, past), log_probs

    Useful where rare words recur. Apply it to the inputs of the softmax layer, which follow the
    next word. It does not help with characters, all of which have been seen, and its perplexity
    does not compare with that of a model without a cache: it adapts to the text it is scored on.

    Attributes:
      size: N.
      weight: λ in [0, 1], a number or a traced []; at 0 the model's log-probabilities to the bit.
      sharpness: θ >= 0, a number or a traced []; at 0 every state counts the same.

    Raises:
      ValueError: if size is not a positive integer, a number is out of range, or, in a step,
        shapes or dtypes do not fit each other or the carry. A token outside the vocabulary is
        remembered but predicts nothing: its weight goes to the other entries.

    Example:
      >>> cache = NeuralCache(size=10, weight=0.5, sharpness=1.0)
      >>> carry = cache.initial_carry(batch_size=1, hidden_size=2)
      >>> for token in (2, 0, 1):  # 0 came after the first state, 1 after the second
      ...     hidden = jnp.full((1, 2), token, jnp.float32)
      ...     x = CacheInput(jnp.array([token]), hidden, jnp.zeros((1, 4)))
      ...     carry, log_probs = cache.step(carry, x)
      >>> print(jnp.exp(log_probs).round(2))
      [[0.62 0.13 0.12 0.12]]
    """

    size: int
    weight: Any
    sharpness: Any

    def __post_init__(self):
        checks.hold_ints(self, "size")
        for name, top in (("weight", 1.0), ("sharpness", float("inf"))):
            value = getattr(self, name)
            if isinstance(value, jax.Array):
                shape = f"{name} has shape {value.shape}; expected one number [] for all rows."
                checks.require(value.shape == (), shape)
                continue
            checks.hold_numbers(self, name)
            limit = "at least 0" if name == "sharpness" else "in [0, 1]"
            value = getattr(self, name)
            checks.require(0 <= value <= top, f"{name} is {value!r}; expected a number {limit}.")

    def initial_carry(
        self, batch_size: int, hidden_size: int, dtype: Any = jnp.float32
    ) -> NeuralCacheCarry:
        """Nothing remembered: for states [B, H] of a dtype."""
        checks.positive_int("hidden_size", hidden_size)
        return NeuralCacheCarry(
            hidden=jnp.zeros((batch_size, self.size, hidden_size), dtype),
            tokens=jnp.zeros((batch_size, self.size), jnp.int32),
            last=jnp.zeros((batch_size, hidden_size), dtype),
            steps=jnp.zeros(batch_size, jnp.int32),
        )

    def step(self, carry: NeuralCacheCarry, x: CacheInput) -> tuple[NeuralCacheCarry, jax.Array]:
        """One step: remembers what came after the last state, and predicts from the present one.

        Returns the carry and the log-probabilities [B, V] of the tokens after x.tokens [B].
        """
        tokens, hidden, logits = map(jnp.asarray, x)
        self._check(carry, tokens, hidden, logits)
        rows = jnp.arange(tokens.shape[0])
        # What is written before there is a state to remember counts for nothing until overwritten.
        slot = (carry.steps - 1) % self.size
        known = NeuralCacheCarry(
            hidden=carry.hidden.at[rows, slot].set(carry.last),
            tokens=carry.tokens.at[rows, slot].set(tokens.astype(jnp.int32)),
            last=hidden,
            steps=carry.steps + 1,
        )
        return known, self._predict(known, logits)

    def _predict(self, carry: NeuralCacheCarry, logits: jax.Array) -> jax.Array:
        """The mixture's log-probabilities [B, V]; of the carry's pairs all but `last` count."""
        wide = accumulator(logits.dtype)
        model = jax.nn.log_softmax(logits.astype(wide))
        size = logits.shape[-1]
        places = jnp.arange(self.size, dtype=jnp.int32)
        counts = (places < carry.steps[:, None] - 1) & (carry.tokens >= 0) & (carry.tokens < size)
        like = jnp.einsum("bh,bnh->bn", carry.last, carry.hidden, preferred_element_type=wide)
        scores = jnp.where(counts, jnp.asarray(self.sharpness, wide) * like, -jnp.inf)
        some = jnp.any(counts, axis=1, keepdims=True)
        shares = jnp.where(some, jax.nn.softmax(jnp.where(some, scores, 0)), 0)
        to = jnp.where(counts, carry.tokens, size)
        rows = jnp.arange(to.shape[0])[:, None]
        cache = jnp.zeros_like(model).at[rows, to].add(shares, mode="drop")
        weight = jnp.where(some, jnp.asarray(self.weight, wide), 0)
        model = jnp.log1p(-weight) + model
        seen = (cache > 0) & (weight > 0)  # log 0 is right, but its derivative is not
        cached = jnp.log(jnp.where(seen, weight * cache, 1))
        return jnp.where(seen, jnp.logaddexp(model, cached), model)

    def _check(self, carry, tokens, hidden, logits) -> None:
        checks.require(
            tokens.ndim == 1 and jnp.issubdtype(tokens.dtype, jnp.integer),
            f"x.tokens is {tokens.dtype}{list(tokens.shape)}; expected integers [B].",
        )
        checks.require(
            logits.ndim == 2 and checks.is_float(logits) and len(logits) == len(tokens),
            f"x.logits is {logits.dtype}{list(logits.shape)}; expected floats [B, V], B = "
            f"{len(tokens)} as in x.tokens.",
        )
        like = carry.last
        checks.require(
            hidden.shape == like.shape and hidden.dtype == like.dtype,
            f"x.hidden is {hidden.dtype}{list(hidden.shape)} but the carry was made for "
            f"{like.dtype}{list(like.shape)}; expected [B, H] as in initial_carry(B, H, dtype).",
        )
        checks.require(
            carry.hidden.shape[1] == self.size,
            f"carry remembers {carry.hidden.shape[1]} states but size is {self.size}; expected "
            "one made by this cache's initial_carry.",
        )
