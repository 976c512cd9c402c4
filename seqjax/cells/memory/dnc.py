"""The differentiable neural computer."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax._internal.specs import Spec
from seqjax.cells.memory.addressing import content_weights, erase_and_add, interpolate, read
from seqjax.cells.memory.allocation import (
    allocation_weights,
    follow,
    next_links,
    next_precedence,
    next_usage,
    retention,
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


class DNCParams(NamedTuple):
    """The params of `DNC`, with H the controller's width and N read heads.

    Fields:
      controller: the controller's params, for inputs of width D + N W.
      w: [H, N W + 3 W + 5 N + 3] of the interface; see `DNC` for the order.
      b: its bias.
    """

    controller: Any
    w: jax.Array
    b: jax.Array


class DNCCarry(NamedTuple):
    """The state of a `DNC`: N read heads and one write head on a memory of S slots of width W.

    Fields:
      controller: the controller's carry, leaves [B, ...].
      memory: [B, S, W], in at least float32, as is all that follows.
      reads: [B, N, W], what was read in the step before.
      read_weights: [B, N, S], where.
      write_weights: [B, S], where was written in the step before.
      usage: [B, S], to what degree a slot is in use.
      precedence: [B, S], to what degree a slot was written last.
      links: [B, S, S], [i, j] to what degree slot i was written right after slot j.
    """

    controller: Any
    memory: jax.Array
    reads: jax.Array
    read_weights: jax.Array
    write_weights: jax.Array
    usage: jax.Array
    precedence: jax.Array
    links: jax.Array


class Interface(NamedTuple):
    """What the N read heads and the write head are told in a step.

    Fields:
      read_keys: [B, N, W].
      read_strengths: [B, N], at least 1, as is the next.
      write_key: [B, W].
      write_strength: [B].
      erase: [B, W], between 0 and 1.
      add: [B, W], the vector written.
      free_gates: [B, N], between 0 and 1, as are the next two.
      allocation_gate: [B], 1 writes to free slots, 0 by content.
      write_gate: [B], 0 writes nothing.
      modes: [B, N, 3], of sum 1: backward, content, forward.
    """

    read_keys: jax.Array
    read_strengths: jax.Array
    write_key: jax.Array
    write_strength: jax.Array
    erase: jax.Array
    add: jax.Array
    free_gates: jax.Array
    allocation_gate: jax.Array
    write_gate: jax.Array
    modes: jax.Array


@final
@dataclass(frozen=True)
class DNC(Spec):
    """Differentiable neural computer: a memory that knows its free slots and its own order.

        hₜ  = controller([xₜ, rₜ₋₁])
        uₜ  = (uₜ₋₁ + wₜ₋₁ - uₜ₋₁ ⊙ wₜ₋₁) ⊙ Π (1 - f rʷₜ₋₁)         usage
        wₜ  = g_w (g_a a(uₜ) + (1 - g_a) c(Mₜ₋₁, k_w, β_w))         where to write
        Mₜ  = Mₜ₋₁ ⊙ (1 - wₜ eᵀ) + wₜ vᵀ
        rʷₜ = π₁ Lₜᵀ rʷₜ₋₁ + π₂ c(Mₜ, k, β) + π₃ Lₜ rʷₜ₋₁           where each head reads
        rₜ  = Mₜᵀ rʷₜ,   yₜ = [hₜ, rₜ]

    Graves et al. 2016, Methods; the steps are in `seqjax.cells.memory.addressing` and
    `seqjax.cells.memory.allocation`. hₜ w + b is, in this order: the read keys k, read strengths β
    (1 + softplus), write key, write strength (1 + softplus), erase e (σ), write vector v, free
    gates f (σ), allocation gate g_a (σ), write gate g_w (σ), read modes π (softmax). Their yₜ is
    a linear read-out of this one.

    The carry is `DNCCarry`, memory [B, S, W], all 0 at first. Links are [B, S, S].

    Attributes:
      controller: any cell that can be stepped, such as `LSTM(100)` or `Feedforward(100)`.
      slots: S.
      width: W.
      read_heads: N.
      w_init: initialiser of w.

    Raises:
      ValueError: if the controller is not a cell with a step or its outputs are not [B, H], or a
        size is not a positive integer; otherwise as the controller.

    Example:
      >>> import seqjax as sj
      >>> cell = sj.cells.DNC(sj.LSTM(16), slots=8, width=4, read_heads=2)
      >>> params = cell.init(jax.random.key(0), input_size=3)
      >>> carry, ys = sj.unroll(cell, params, jnp.ones((2, 5, 3)))
      >>> ys.shape, carry.links.shape
      ((2, 5, 24), (2, 8, 8))
    """

    controller: Any
    _: KW_ONLY
    slots: int
    width: int
    read_heads: int = 1
    w_init: Initializer = GlorotUniform()

    def __post_init__(self):
        check_controller(self.controller)
        checks.hold_ints(self, "slots", "width", "read_heads")

    def init(self, key: jax.Array, input_size: int) -> DNCParams:
        """Draws `DNCParams` for inputs [..., D]; b is 0."""
        heads, width = self.read_heads, self.width
        told = heads * width + 3 * width + 5 * heads + 3
        key_c, key_w = jax.random.split(key)
        controller, size = init_controller(self.controller, key_c, input_size, heads * width)
        return DNCParams(controller, self.w_init(key_w, (size, told)), jnp.zeros(told))

    def initial_carry(self, params: DNCParams, batch_size: int, key=None) -> DNCCarry:
        """Zeros, [B, ...]; key is the controller's."""
        zeros = lambda *shape: jnp.zeros((batch_size, *shape), accumulator(params.w.dtype))
        slots, heads = self.slots, self.read_heads
        return DNCCarry(
            controller=self.controller.initial_carry(params.controller, batch_size, key),
            memory=zeros(slots, self.width),
            reads=zeros(heads, self.width),
            read_weights=zeros(heads, slots),
            write_weights=zeros(slots),
            usage=zeros(slots),
            precedence=zeros(slots),
            links=zeros(slots, slots),
        )

    def step(self, params: DNCParams, carry: DNCCarry, x: jax.Array) -> tuple[DNCCarry, jax.Array]:
        """x [B, D] -> y [B, H + N W], the controller's output beside what was read."""
        controller, h = control(self.controller, params.controller, carry, x)
        told = told_interface(affine(h, params.w, params.b), carry)
        carry = write(carry._replace(controller=controller), told)
        forward, backward = follow(carry.links, carry.read_weights)
        content = content_weights(carry.memory, told.read_keys, told.read_strengths)
        modes = told.modes[..., None]
        weights = modes[:, :, 0] * backward + modes[:, :, 1] * content + modes[:, :, 2] * forward
        reads = read(carry.memory, weights)
        return carry._replace(reads=reads, read_weights=weights), beside_reads(h, reads)


def write(carry: DNCCarry, told: Interface) -> DNCCarry:
    """The carry with memory [B, S, W], usage and links after the step's write."""
    retained = retention(carry.read_weights, told.free_gates)
    usage = next_usage(carry.usage, carry.write_weights, retained)
    free = allocation_weights(usage)
    key, strength = told.write_key[:, None], told.write_strength[:, None]
    content = content_weights(carry.memory, key, strength)[:, 0]
    mixed = interpolate(free[:, None], content[:, None], told.allocation_gate[:, None])
    weights = told.write_gate[:, None] * mixed[:, 0]
    memory = erase_and_add(carry.memory, weights[:, None], told.erase[:, None], told.add[:, None])
    return carry._replace(
        memory=memory,
        write_weights=weights,
        usage=usage,
        links=next_links(carry.links, carry.precedence, weights),
        precedence=next_precedence(carry.precedence, weights),
    )


def told_interface(told: jax.Array, carry: DNCCarry) -> Interface:
    """The numbers [B, N W + 3 W + 5 N + 3] that the controller gives, as an `Interface`."""
    heads, width = carry.reads.shape[1:]
    sizes = (heads * width, heads, width, 1, width, width, heads, 1, 1, 3 * heads)
    keys, strengths, key, strength, erase, add, free, allocate, write_gate, modes = parts(
        told, sizes
    )
    rows = lambda part: part.reshape(part.shape[0], heads, -1)
    return Interface(
        read_keys=rows(keys),
        read_strengths=1 + jax.nn.softplus(strengths),
        write_key=key,
        write_strength=1 + jax.nn.softplus(strength[:, 0]),
        erase=jax.nn.sigmoid(erase),
        add=add,
        free_gates=jax.nn.sigmoid(free),
        allocation_gate=jax.nn.sigmoid(allocate[:, 0]),
        write_gate=jax.nn.sigmoid(write_gate[:, 0]),
        modes=jax.nn.softmax(rows(modes), axis=-1),
    )
