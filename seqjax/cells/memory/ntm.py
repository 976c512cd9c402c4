"""The Neural Turing Machine."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.cells.memory.addressing import (
    content_weights,
    erase_and_add,
    interpolate,
    read,
    sharpen,
    shift,
)
from seqjax.cells.memory.controllers import (
    beside_reads,
    check_controller,
    control,
    init_controller,
    parts,
)
from seqjax.core.products import accumulator, affine
from seqjax.initializers.weights import GlorotUniform, Initializer


class NTMParams(NamedTuple):
    """The params of `NTM`, with H the controller's width, N = N_r + N_w heads and K = 2 r + 1.

    Fields:
      controller: the controller's params, for inputs of width D + N_r W.
      w: [H, N (W + K + 3) + 2 N_w W] of what the heads are told; see `NTM` for the order.
      b: its bias.
    """

    controller: Any
    w: jax.Array
    b: jax.Array


class NTMCarry(NamedTuple):
    """The state of an `NTM`: N_r read heads and N_w write heads on a memory of S slots of width W.

    Fields:
      controller: the controller's carry, leaves [B, ...].
      memory: [B, S, W], in at least float32, as are the weightings.
      reads: [B, N_r, W], what was read in the step before.
      read_weights: [B, N_r, S], where.
      write_weights: [B, N_w, S], where was written in the step before.
    """

    controller: Any
    memory: jax.Array
    reads: jax.Array
    read_weights: jax.Array
    write_weights: jax.Array


class Heads(NamedTuple):
    """What N heads are told in a step, eq. 3 to 9 in the order of their use.

    Fields:
      keys: k, [B, N, W].
      strengths: β, [B, N], above 0.
      gates: g, [B, N], between 0 and 1.
      shifts: s, [B, N, K], of sum 1.
      powers: γ, [B, N], above 1.
      erase: [B, N_w, W], between 0 and 1.
      add: [B, N_w, W].
    """

    keys: jax.Array
    strengths: jax.Array
    gates: jax.Array
    shifts: jax.Array
    powers: jax.Array
    erase: jax.Array
    add: jax.Array


@final
@dataclass(frozen=True)
class NTM(Spec):
    """Neural Turing Machine: a network that reads and writes a memory by attention.

        hₜ = controller([xₜ, rₜ₋₁])
        w  = sharpen(shift(g c(Mₜ₋₁, k, β) + (1 - g) wₜ₋₁, s), γ)      for each head
        Mₜ = Mₜ₋₁ ⊙ Π (1 - w eᵀ) + Σ w aᵀ                            over write heads
        rₜ = Mₜᵀ w   for each read head,   yₜ = [hₜ, rₜ]

    Graves, Wayne and Danihelka 2014, eq. 2 to 9; the steps are in `seqjax.cells.memory.addressing`.
    hₜ w + b tells the heads, read heads before write heads in each part: keys (tanh), strengths β
    (softplus), gates g (σ), shifts s (softmax), powers γ (1 + softplus), and for write heads erase
    (σ) and add (tanh). The paper leaves keys and additions unbounded; the
    bounds, and the constant initial memory, are those of Collier and Beel 2018. All heads are
    placed by the memory before this step; reading comes after writing.

    The carry is `NTMCarry`, memory [B, S, W]: it contains the weightings, so that
    `lambda carry, x: (c := cell.step(params, carry, x)[0], c)` under `seqjax.scan` shows them over
    time. Heads begin on slot 0 of a memory of `initial`. `LearnedCarry` learns all of that; the
    weightings then add up to 1 from the first step on.

    Attributes:
      controller: any cell that can be stepped, such as `LSTM(100)` or `Feedforward(100)`.
      slots: S.
      width: W.
      read_heads: N_r.
      write_heads: N_w.
      shift_range: r; a head moves by -r to r slots a step. 0 leaves it where content puts it.
      initial: what every number of the memory is at first.
      w_init: initialiser of w.

    Raises:
      ValueError: if the controller is not a cell with a step or its outputs are not [B, H], if a
        size is not a positive integer, shift_range is negative or its 2 r + 1 shifts do not fit
        the slots, initial is not finite; otherwise as the controller.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.cells.NTM(sj.LSTM(16), slots=8, width=4)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> carry, ys = sj.unroll(cell, params, jnp.ones((2, 5, 3)))
      >>> ys.shape, carry.memory.shape, carry.read_weights.shape
      ((2, 5, 20), (2, 8, 4), (2, 1, 8))
    """

    controller: Any
    _: KW_ONLY
    slots: int
    width: int
    read_heads: int = 1
    write_heads: int = 1
    shift_range: int = 1
    initial: float = 1e-6
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        check_controller(self.controller)
        checks.hold_ints(self, "slots", "width", "read_heads", "write_heads")
        checks.hold_numbers(self, "initial")
        reach = self.shift_range
        checks.require(
            reach == 0 or checks.is_positive_int(reach),
            f"shift_range is {reach!r}; expected an integer of at least 0.",
        )
        object.__setattr__(self, "shift_range", int(reach))
        checks.require(
            2 * reach + 1 <= self.slots,
            f"shift_range is {reach} but slots is {self.slots}; expected 2 * shift_range + 1 <= "
            "slots, so that no two shifts are one on the ring of slots.",
        )

    def init(self, key: jax.Array, input_size: int) -> NTMParams:
        """Draws `NTMParams` for inputs [..., D]; b is 0."""
        heads, writes = self.read_heads + self.write_heads, self.write_heads
        told = heads * (self.width + 2 * self.shift_range + 4) + 2 * writes * self.width
        key_c, key_w = jax.random.split(key)
        reads = self.read_heads * self.width
        controller, size = init_controller(self.controller, key_c, input_size, reads)
        return NTMParams(controller, self.w_init(key_w, (size, told)), jnp.zeros(told))

    def initial_carry(self, params: NTMParams, batch_size: int, key=None) -> NTMCarry:
        """Memory of `initial` [B, S, W], reads 0, every head on slot 0; key is the controller's."""
        dtype = accumulator(params.w.dtype)
        first = lambda heads: jnp.zeros((batch_size, heads, self.slots), dtype).at[..., 0].set(1)
        return NTMCarry(
            controller=self.controller.initial_carry(params.controller, batch_size, key),
            memory=jnp.full((batch_size, self.slots, self.width), self.initial, dtype),
            reads=jnp.zeros((batch_size, self.read_heads, self.width), dtype),
            read_weights=first(self.read_heads),
            write_weights=first(self.write_heads),
        )

    def step(self, params: NTMParams, carry: NTMCarry, x: jax.Array) -> tuple[NTMCarry, jax.Array]:
        """x [B, D] -> y [B, H + N_r W], the controller's output beside what was read."""
        controller, h = control(self.controller, params.controller, carry, x)
        heads = told_heads(affine(h, params.w, params.b), carry)
        before = jnp.concatenate([carry.read_weights, carry.write_weights], axis=1)
        weights = content_weights(carry.memory, heads.keys, heads.strengths)
        weights = interpolate(weights, before, heads.gates)
        weights = sharpen(shift(weights, heads.shifts), heads.powers)
        r, w = jnp.split(weights, [carry.read_weights.shape[1]], axis=1)
        memory = erase_and_add(carry.memory, w, heads.erase, heads.add)
        reads = read(memory, r)
        return NTMCarry(controller, memory, reads, r, w), beside_reads(h, reads)


def told_heads(told: jax.Array, carry: NTMCarry) -> Heads:
    """The numbers [B, N (W + K + 3) + 2 N_w W] that the controller gives, as `Heads`."""
    width, writes = carry.memory.shape[-1], carry.write_weights.shape[1]
    heads = carry.read_weights.shape[1] + writes
    shifts = (told.shape[-1] - 2 * writes * width) // heads - width - 3
    sizes = (heads * width, heads, heads, heads * shifts, heads, writes * width, writes * width)
    keys, strengths, gates, moves, powers, erase, add = parts(told, sizes)
    rows = lambda part, count: part.reshape(part.shape[0], count, -1)
    return Heads(
        keys=jnp.tanh(rows(keys, heads)),
        strengths=jax.nn.softplus(strengths),
        gates=jax.nn.sigmoid(gates),
        shifts=jax.nn.softmax(rows(moves, heads), axis=-1),
        powers=1 + jax.nn.softplus(powers),
        erase=jax.nn.sigmoid(rows(erase, writes)),
        add=jnp.tanh(rows(add, writes)),
    )
