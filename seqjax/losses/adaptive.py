"""Softmax over a large vocabulary whose rare classes have fewer dimensions."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.core.products import dot
from seqjax.initializers.weights import GlorotUniform, Initializer
from seqjax.losses.labels import to_rank
from seqjax.losses.sampled import check_positions


class AdaptiveTail(NamedTuple):
    """One cluster of rare classes.

    Fields:
      w_in: [D, Dᵢ] down to fewer dimensions.
      w_out: [Dᵢ, Vᵢ] to its classes.
    """

    w_in: jax.Array
    w_out: jax.Array


class AdaptiveSoftmaxParams(NamedTuple):
    """The params of `AdaptiveSoftmax`.

    Fields:
      w: [D, V₀ + n], of the V₀ frequent classes and of the n tails as wholes.
      tails: n `AdaptiveTail`s.
      b: [V₀ + n], the bias of the same, or None.
    """

    w: jax.Array
    tails: tuple[AdaptiveTail, ...]
    b: jax.Array | None = None


@final
@dataclass(frozen=True)
class AdaptiveSoftmax(Spec, doors=("log_probs", "losses")):
    """A softmax of two levels over classes that are ordered by frequency, the most frequent first.

        p(y | h) = p₀(y)                   for y < cutoffs[0]
        p(y | h) = p₀(tail i) pᵢ(y)        for y in tail i,   pᵢ over h w_in w_out, of Dᵢ = D / rⁱ

    It turns hidden [..., D] into an exact distribution [..., V]: probabilities sum to 1, and the
    loss is a cross-entropy, not an estimate. It is another model than one softmax, with less
    capacity for rare classes. Use it where rare classes are many, and not for vocabularies of word
    pieces, whose frequencies are more even. With one cutoff, V, it is the plain softmax. Shapes are
    static, so every tail is evaluated at every position; the saving is in dimensions, V₀ D +
    Σᵢ (D + Vᵢ) Dᵢ products a position where a softmax takes V D.

    PyTorch's `AdaptiveLogSoftmaxWithLoss(D, V, cutoffs, div_value, head_bias)` is the same with
    cutoffs that leave out V, and div_value for shrink.

    Attributes:
      cutoffs: where clusters end: ascending, the first one V₀, the last one V.
      shrink: r, by which each tail has fewer dimensions than the one before (1 at least).
      head_bias: whether the scores of frequent classes and of tails as wholes have a bias.
      w_init: initialiser of all weights; a bias starts at 0.

    Raises:
      ValueError: for no cutoff, cutoffs that do not ascend from 1, or a shrink below 1; later, for
        arguments that do not fit.

    Example:
      >>> softmax = AdaptiveSoftmax((2, 5, 10))
      >>> params = softmax.init(jax.random.key(0), input_size=8)
      >>> log_probs = softmax.log_probs(params, jnp.ones((3, 8)))
      >>> log_probs.shape, [tail.w_out.shape for tail in params.tails]
      ((3, 10), [(2, 3), (1, 5)])

    References:
      Grave, Joulin, Cissé, Grangier and Jégou, Efficient softmax approximation for GPUs, 2017.
    """

    cutoffs: tuple[int, ...]
    _: KW_ONLY
    shrink: float = 4.0
    head_bias: bool = False
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        cutoffs = self.cutoffs
        ok = isinstance(cutoffs, (tuple, list)) and len(cutoffs) > 0
        ok = ok and all(map(checks.is_positive_int, cutoffs))
        checks.require(
            ok and list(cutoffs) == sorted(set(cutoffs)),
            f"cutoffs is {cutoffs!r}; expected ascending integers, where each cluster of classes "
            "ends, the last one the size of the vocabulary.",
        )
        object.__setattr__(self, "cutoffs", tuple(map(int, cutoffs)))
        checks.hold_numbers(self, "shrink")
        checks.require(
            self.shrink >= 1, f"shrink is {self.shrink!r}; expected a number of at least 1."
        )

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.cutoffs[-1]

    def init(self, key: jax.Array, input_size: int) -> AdaptiveSoftmaxParams:
        """Draws `AdaptiveSoftmaxParams` for hidden [..., D], D = input_size."""
        head, *keys = jax.random.split(key, len(self.cutoffs))
        tails = []
        for i, (key, bounds) in enumerate(zip(keys, self._bounds, strict=True)):
            down, out = jax.random.split(key)
            size = max(1, int(input_size / self.shrink ** (i + 1)))
            w_out = self.w_init(out, (size, bounds[1] - bounds[0]))
            tails.append(AdaptiveTail(self.w_init(down, (input_size, size)), w_out))
        w = self.w_init(head, (input_size, self.cutoffs[0] + len(tails)))
        b = jnp.zeros(w.shape[1], w.dtype) if self.head_bias else None
        return AdaptiveSoftmaxParams(w, tuple(tails), b)

    def log_probs(self, params: AdaptiveSoftmaxParams, hidden) -> jax.Array:
        """log p of every class, [..., V] in at least float32, of hidden [..., D]."""
        hidden = jnp.asarray(hidden)
        head = jax.nn.log_softmax(_head_logits(params, hidden))
        first = self.cutoffs[0]
        parts = [head[..., :first]]
        for i, tail in enumerate(params.tails):
            within = jax.nn.log_softmax(_tail_logits(tail, hidden))
            parts.append(head[..., first + i, None] + within)
        return jnp.concatenate(parts, axis=-1)

    def losses(self, params: AdaptiveSoftmaxParams, hidden, targets, *, mask=None) -> jax.Array:
        """Cross-entropy of each target, in nats: -log_probs at the targets, not all of them made.

        Args:
          params: from `init`.
          hidden: [..., D] floats.
          targets: [...] integers in 0..V-1.
          mask: [...] bool, True = real; None means that every position is. What stands elsewhere,
            NaN included, changes neither a value nor a gradient.

        Returns:
          [...] nats, 0 where masked; inside `jit`, NaN for a target outside the vocabulary.
        """
        hidden, targets, bad = check_positions(jnp.asarray(hidden), targets, mask, self.vocab_size)
        first = self.cutoffs[0]
        tail_of = sum((targets >= cut).astype(jnp.int32) for cut in self.cutoffs[:-1])
        place = jnp.where(targets < first, targets, first - 1 + tail_of)
        losses = -_log_prob(_head_logits(params, hidden), place)
        for tail, (low, high) in zip(params.tails, self._bounds, strict=True):
            inside = (targets >= low) & (targets < high)
            found = _log_prob(_tail_logits(tail, hidden), jnp.where(inside, targets - low, 0))
            losses = losses - jnp.where(inside, found, 0)
        losses = jnp.where(bad, jnp.nan, losses)
        return losses if mask is None else jnp.where(mask, losses, 0)

    @property
    def _bounds(self) -> tuple[tuple[int, int], ...]:
        """The first class of each tail, and that after its last."""
        return tuple(zip(self.cutoffs[:-1], self.cutoffs[1:], strict=True))


def _head_logits(params: AdaptiveSoftmaxParams, hidden: jax.Array) -> jax.Array:
    logits = dot("hidden", hidden, params.w)
    if params.b is None:
        return logits
    return logits + to_rank(params.b.astype(logits.dtype), logits.ndim)


def _tail_logits(tail: AdaptiveTail, hidden: jax.Array) -> jax.Array:
    return dot("hidden", dot("hidden", hidden, tail.w_in), tail.w_out)


def _log_prob(logits: jax.Array, index: jax.Array) -> jax.Array:
    """log softmax(logits [..., V]) at index [...]."""
    chosen = jnp.take_along_axis(logits, index[..., None], axis=-1, mode="clip")[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)
