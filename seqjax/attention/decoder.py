"""A decoder: any cell with any attention."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec, check_params
from seqjax._internal.types import Carry, Params
from seqjax.attention.base import Attended, Attention, PreparedMemory, check_attention
from seqjax.core.cell import ALL, check_cell_like, is_encoder
from seqjax.core.noise import fold_in
from seqjax.core.products import dot
from seqjax.core.recurrent import RecurrentCell
from seqjax.core.run import run, run_steps
from seqjax.core.steps import Steps
from seqjax.initializers.weights import GlorotUniform

QUERIES = "previous", "current"


class AttentionDecoderParams(NamedTuple):
    """The params of `AttentionDecoder`.

    Fields:
      cell: the wrapped cell's params.
      attention: the mechanism's params.
      w_c: [M + H, A] makes the attentional vector; None without one.
      start: [H] a learned output before the first step; None where it is not needed.
    """

    cell: Params
    attention: Params
    w_c: jax.Array | None
    start: jax.Array | None


class BoundDecoder(NamedTuple):
    """What an `AttentionDecoder` runs with: params and a memory, from `bind`.

    Fields:
      params: the decoder's params, leaves [...].
      memory: the prepared memory, leaves [B, ...].
    """

    params: AttentionDecoderParams
    memory: PreparedMemory


class AttentionDecoderCarry(NamedTuple):
    """The state of an `AttentionDecoder`.

    Fields:
      cell: the wrapped cell's carry, leaves [N, ...].
      output: [N, H] the cell's last output; None where its carry contains it or it is not needed.
      attentional: [N, A] the last attentional vector; None without input feeding.
      attention: the mechanism's state, leaves [N, ...].
    """

    cell: Carry
    output: jax.Array | None
    attentional: jax.Array | None
    attention: Carry


class DecoderOutput(NamedTuple):
    """The output of an `AttentionDecoder`'s step.

    Fields:
      output: [N, H] the cell's output, or [N, A] the attentional vector where there is one.
      context: [N, M] what the step read, in at least float32.
      alignment: [N, S] where it read, in at least float32.
    """

    output: jax.Array
    context: jax.Array
    alignment: jax.Array


@final
@dataclass(frozen=True)
class AttentionDecoder(Spec, doors=("bind",)):
    """A cell that reads a memory at every step.

        "previous":  cₜ = attend(yₜ₋₁),  hₜ, yₜ = step(hₜ₋₁, [xₜ; cₜ])
        "current":   hₜ, yₜ = step(hₜ₋₁, xₜ),  cₜ = attend(yₜ)
        attentional_size A:  the output is ỹₜ = tanh([cₜ; yₜ] w_c) instead of yₜ
        input_feeding:  the cell also reads ỹₜ₋₁

    With query "previous", what the cell knows before a step decides where it looks (Bahdanau, Cho
    and Bengio 2015). With "current", the step's own output looks (Luong, Pham and Manning 2015,
    equations 5 and 7 and section 3.3).

    `init` draws params that know no memory. `bind` joins them with a memory to a `BoundDecoder`,
    which `step`, `initial_carry` and `sj.unroll` take as params, so that gradients reach the
    memory. Its B rows of memory serve batches of B K rows without a copy, K contiguous ones for
    each row of the memory, as the decoders of `seqjax.decoding` arrange them. A step outputs a
    `DecoderOutput`; over time alignments are [B, T, S]. A reset returns to the initial carry and
    keeps the memory.

    To start from an encoder's state, pass `initial_carry(...)._replace(cell=state)`. The output
    before the first step is computed from that state if the cell is a `RecurrentCell`, and is a
    learned vector otherwise.

    Attributes:
      cell: any cell with a step.
      attention: any `Attention`.
      query: which output of the cell looks, "previous" or "current".
      attentional_size: A; None for no attentional vector.
      input_feeding: whether the cell reads the last attentional vector; needs attentional_size.

    Raises:
      ValueError: if cell has no step, attention is not a mechanism, query is neither option, or
        attentional_size is not a positive integer or is missing with input_feeding; from `bind`, if
        memory or its mask do not fit; otherwise as cell and attention.

    Example:
      >>> import seqjax as sj
      >>> decoder = sj.AttentionDecoder(sj.GRU(3), sj.attention.AdditiveAttention(4))
      >>> params = decoder.init(jax.random.key(0), input_size=2, memory_size=5)
      >>> bound = decoder.bind(params, jnp.ones((2, 7, 5)))
      >>> carry, ys = sj.unroll(decoder, bound, jnp.ones((2, 6, 2)))
      >>> ys.output.shape, ys.context.shape, ys.alignment.shape
      ((2, 6, 3), (2, 6, 5), (2, 6, 7))
    """

    cell: Any
    attention: Attention
    _: KW_ONLY
    query: str = "previous"
    attentional_size: int | None = None
    input_feeding: bool = False

    def __post_init__(self):
        check_cell_like("cell", self.cell)
        checks.require(
            not is_encoder(self.cell),
            f"cell is {self.cell!r}, an encoder; expected a cell with a step. Let the encoder make "
            "the memory.",
        )
        check_attention(self.attention)
        checks.one_of("query", self.query, QUERIES)
        if self.attentional_size is not None:
            checks.hold_ints(self, "attentional_size")
        checks.require(
            not (self.input_feeding and self.attentional_size is None),
            "input_feeding is True but attentional_size is None; expected the size of the "
            "attentional vector, which is fed back.",
        )

    def init(self, key: jax.Array, input_size: int, memory_size: int) -> AttentionDecoderParams:
        """Draws params for inputs [..., D] and memories [..., M]."""
        checks.positive_int("input_size", input_size)
        checks.positive_int("memory_size", memory_size)
        key_c, key_a, key_o = jax.random.split(key, 3)
        size = input_size + memory_size * (self.query == "previous")
        size += (self.attentional_size or 0) * self.input_feeding
        cell = self.cell.init(key_c, size)
        carry = self.cell.initial_carry(cell, 1)
        y = jax.eval_shape(self.cell.step, cell, carry, jnp.zeros((1, size)))[1]
        width, w_c = y.shape[-1], None
        if self.attentional_size is not None:
            w_c = GlorotUniform()(key_o, (memory_size + width, self.attentional_size))
        return AttentionDecoderParams(
            cell=cell,
            attention=self.attention.init(key_a, width, memory_size),
            w_c=w_c,
            start=None if self._output_in_carry or self.query == "current" else jnp.zeros(width),
        )

    def bind(self, params: AttentionDecoderParams, memory, memory_mask=None) -> BoundDecoder:
        """Joins params with a memory [B, S, M] and its mask [B, S]; projects its keys once."""
        return BoundDecoder(params, self.attention.prepare(params.attention, memory, memory_mask))

    def initial_carry(
        self, params: BoundDecoder, batch_size: int, key: jax.Array | None = None
    ) -> AttentionDecoderCarry:
        """The carry before the first step, for batch_size = B K rows, leaves [B K, ...].

        A key starts the noise of a stochastic cell and of a stochastic attention.
        """
        _check_bound(self, params)
        own = params.params
        rows = lambda a: jnp.broadcast_to(a, (batch_size, *a.shape))
        fed = None
        if self.input_feeding and own.w_c is not None:
            fed = rows(jnp.zeros(own.w_c.shape[1], own.w_c.dtype))
        how = batch_size, fold_in(key, 1)
        return AttentionDecoderCarry(
            cell=self.cell.initial_carry(own.cell, batch_size, fold_in(key, 0)),
            output=None if own.start is None else rows(own.start),
            attentional=fed,
            attention=self.attention.initial_state(own.attention, params.memory, *how),
        )

    def step(self, params: BoundDecoder, carry: AttentionDecoderCarry, x: jax.Array):
        """One step: (carry, x [N, D]) -> (carry, `DecoderOutput`)."""
        _check_bound(self, params)
        checks.require(
            checks.is_float(x),
            f"xs has dtype {x.dtype}; expected floating point. Embed or one-hot tokens first.",
        )
        own, state, inputs, seen = params.params, carry.attention, [x], None
        if self.query == "previous":
            query = carry.output
            if query is None:
                query = self.cell.output(own.cell, carry.cell)
            seen, state = self.attention.attend(own.attention, params.memory, query, state)
            inputs.append(seen.context)
        if carry.attentional is not None:
            inputs.append(carry.attentional)
        cell, y = self.cell.step(own.cell, carry.cell, _join(x.dtype, *inputs))
        if seen is None:
            seen, state = self.attention.attend(own.attention, params.memory, y, state)
        output = self._output(own, seen, y)
        carry = AttentionDecoderCarry(
            cell=cell,
            output=None if carry.output is None else y.astype(carry.output.dtype),
            attentional=output if self.input_feeding else None,
            attention=state,
        )
        return carry, DecoderOutput(output, seen.context, seen.alignment)

    def unroll(
        self, params: BoundDecoder, carry: Carry, xs, steps: Steps = ALL
    ) -> tuple[AttentionDecoderCarry, DecoderOutput]:
        """Runs over time: (carry, xs [N, T, D], which steps) -> (carry, ys [N, T, ...]).

        A cell that does not wait for what was read runs alone first; then all steps look at once.
        """
        waits = self.query == "previous" or self.input_feeding
        if waits or jax.tree.leaves(carry.attention):
            return run_steps(self, params, carry, xs, steps)
        own, rows = params.params, xs.shape[:2]
        inner = steps.member(lambda carry: carry.cell)
        cell, ys = run(self.cell, own.cell, carry.cell, xs, inner)
        query = ys.reshape(-1, ys.shape[-1])
        seen, state = self.attention.attend(own.attention, params.memory, query, carry.attention)
        seen = jax.tree.map(lambda a: a.reshape(*rows, *a.shape[1:]), seen)
        out = DecoderOutput(self._output(own, seen, ys), seen.context, seen.alignment)
        carry = carry._replace(cell=cell, attention=state)
        return carry, steps.zero_padding(out)

    @property
    def _output_in_carry(self) -> bool:
        """Whether the cell's last output can be computed from its carry."""
        return isinstance(self.cell, RecurrentCell)

    def _output(self, own: AttentionDecoderParams, seen: Attended, y: jax.Array) -> jax.Array:
        if own.w_c is None:
            return y
        both = _join(own.w_c.dtype, seen.context, y)
        return jnp.tanh(dot("output", both, own.w_c)).astype(own.w_c.dtype)


def _check_bound(decoder: AttentionDecoder, params: Any) -> None:
    checks.require(
        isinstance(params, BoundDecoder),
        f"params is {type(params).__name__}; expected BoundDecoder. Make it with "
        "bind(params, memory, memory_mask).",
    )
    check_params(decoder, params.params)


def _join(dtype, *parts: jax.Array) -> jax.Array:
    return jnp.concatenate([part.astype(dtype) for part in parts], axis=-1)
