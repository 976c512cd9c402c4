"""Attention over the places of an image."""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax._internal.specs import Spec
from seqjax._internal.types import Carry, Params
from seqjax.attention.base import Attended, Attention, PreparedMemory, check_attention
from seqjax.attention.coverage import check_alignments
from seqjax.core.products import add_bias, dot
from seqjax.initializers.weights import GlorotUniform


class SpatialAttentionParams(NamedTuple):
    """The params of `SpatialAttention`.

    Fields:
      attention: the mechanism's params.
      w_gate: [Q, 1] weights of the gate; None without a gate.
      b_gate: [1] bias of the gate; None without a gate.
    """

    attention: Params
    w_gate: jax.Array | None
    b_gate: jax.Array | None


@final
@dataclass(frozen=True)
class SpatialAttention(Spec, doors=("prepare", "initial_state", "attend")):
    """Any attention, over a grid of places and with a gate. Xu et al. 2015, section 4.2.1.

        αₜ = softmax f(places, qₜ),   contextₜ = βₜ Σⱼ αₜⱼ placeⱼ,   βₜ = σ(qₜ w_gate + b_gate)

    The memory is a grid [B, Y, X, M], such as the features of a convolutional network, and its mask
    is [B, Y, X]; queries are [N, Q]. Alignments are [N, S] with S = Y X, row by row;
    `alignment.reshape(-1, Y, X)` shows them as a picture.

    In the paper the previous state looks, which is query "previous" of an `AttentionDecoder`, and
    the state starts from the mean over places, `memory.mean((1, 2))`. `doubly_stochastic_loss`
    makes sure that each place gets its share of looks.

    Attributes:
      attention: any mechanism over a memory [B, S, M]; the paper uses `AdditiveAttention`.
      gate: whether there is a gate β.

    Raises:
      ValueError: if attention is not a mechanism; from `prepare`, if memory is not floats
        [B, Y, X, M] or mask not [B, Y, X] bool; otherwise as the mechanism.

    Example:
      >>> import seqjax as sj
      >>> flat = sj.attention.AdditiveAttention(8, v_init=sj.initializers.Normal(0.0))
      >>> attention = SpatialAttention(flat)
      >>> params = attention.init(jax.random.key(0), query_size=3, memory_size=4)
      >>> prepared = attention.prepare(params, jnp.ones((2, 5, 5, 4)))
      >>> seen, state = attention.attend(params, prepared, jnp.ones((2, 3)), ())
      >>> print(seen.alignment.reshape(-1, 5, 5)[0, 0])
      [0.04 0.04 0.04 0.04 0.04]
    """

    attention: Attention
    _: KW_ONLY
    gate: bool = True

    def __post_init__(self):
        check_attention(self.attention)

    def init(self, key: jax.Array, query_size: int, memory_size: int) -> SpatialAttentionParams:
        """Draws params of mechanism and gate, for queries [..., Q] and memories [..., M]."""
        key_a, key_g = jax.random.split(key)
        return SpatialAttentionParams(
            attention=self.attention.init(key_a, query_size, memory_size),
            w_gate=GlorotUniform()(key_g, (query_size, 1)) if self.gate else None,
            b_gate=jnp.zeros(1) if self.gate else None,
        )

    def prepare(self, params: SpatialAttentionParams, memory, mask=None) -> PreparedMemory:
        """Prepares the places of a grid [B, Y, X, M] with mask [B, Y, X], row by row."""
        memory = jnp.asarray(memory)
        checks.require(
            memory.ndim == 4,
            f"memory has shape {memory.shape}; expected a grid [B, Y, X, M]. A sequence "
            "[B, S, M] goes to a mechanism without SpatialAttention.",
        )
        if mask is not None:
            mask = jnp.asarray(mask)
            checks.require(
                mask.shape == memory.shape[:3],
                f"memory_mask has shape {mask.shape} but memory is {list(memory.shape)}; expected "
                f"[B, Y, X] = {memory.shape[:3]}.",
            )
            mask = mask.reshape(mask.shape[0], mask.shape[1] * mask.shape[2])
        batch_size, height, width, size = memory.shape
        memory = memory.reshape(batch_size, height * width, size)
        return self.attention.prepare(params.attention, memory, mask)

    def initial_state(self, params: SpatialAttentionParams, prepared, batch_size: int, key=None):
        """The mechanism's initial state, leaves [N, ...]."""
        return self.attention.initial_state(params.attention, prepared, batch_size, key)

    def attend(
        self, params: SpatialAttentionParams, prepared: PreparedMemory, query, state: Carry
    ) -> tuple[Attended, Carry]:
        """Looks up queries [N, Q], and multiplies the context by the gate."""
        seen, state = self.attention.attend(params.attention, prepared, query, state)
        if params.w_gate is None:
            return seen, state
        gate = jax.nn.sigmoid(add_bias(dot("query", query, params.w_gate), params.b_gate))
        return seen._replace(context=gate.astype(seen.context.dtype) * seen.context), state


@own_ranks
def doubly_stochastic_loss(
    alignments: jax.Array, *, mask: jax.Array | None = None, memory_mask=None
) -> jax.Array:
    """Penalises places that are looked at more or less than once in total.

        loss = mean over the batch of Σⱼ (1 - Σₜ αₜⱼ)²

    Xu et al. 2015, section 4.2.1, multiply it by λ and add it to the cross-entropy of a row's whole
    caption.

    Args:
      alignments: [B, T, S].
      mask: [B, T] bool, True = real; masked steps do not count. None means that all are real.
      memory_mask: [B, S] bool, True = real; masked places do not count. None means that all are
        real.

    Returns:
      A scalar [] without a unit, in at least float32; 0 for an empty batch.

    Raises:
      ValueError: if alignments is not floats [B, T, S], mask not [B, T] bool or memory_mask not
        [B, S] bool.

    Example:
      >>> once, never = jnp.eye(3)[None], jnp.zeros((1, 3, 3))
      >>> print(doubly_stochastic_loss(once), doubly_stochastic_loss(never))
      0.0 3.0
    """
    alignments, _ = check_alignments(alignments, mask)
    amount = jnp.square(1 - jnp.sum(alignments, axis=1))
    if memory_mask is not None:
        memory_mask = jnp.asarray(memory_mask)
        checks.require(
            memory_mask.dtype == jnp.bool_ and memory_mask.shape == amount.shape,
            f"memory_mask is {memory_mask.dtype}{list(memory_mask.shape)} but alignments is "
            f"{list(alignments.shape)}; expected bool [B, S] = {list(amount.shape)}.",
        )
        amount = jnp.where(memory_mask, amount, 0)
    return jnp.sum(amount) / max(amount.shape[0], 1)
