"""The contract of cells: every public one keeps it, and broken ones are found out."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import pytest
from support.examples import examples
from support.public import public_names, rooms
from support.zoo import CELLS

import seqjax as sj
from seqjax.core.run import run_steps
from seqjax.testing import check_cell

# (B, T, D), dealt out to the cells: each compiles for one of them.
SHAPES = [(3, 6, 3), (2, 8, 1), (4, 4, 5)]


@pytest.mark.parametrize("name", CELLS)
@examples(2)
@hypothesis.given(seed=st.integers(0, 2**31 - 1))
def test_every_cell_keeps_the_contract(name, seed):
    batch_size, length, input_size = SHAPES[list(CELLS).index(name) % len(SHAPES)]
    check_cell(CELLS[name], seed=seed, batch_size=batch_size, length=length, input_size=input_size)


def members(spec):
    """The types of a cell and of all the cells in it."""
    inside = list(spec) if isinstance(spec, tuple) else []
    if dataclasses.is_dataclass(spec):
        inside += [getattr(spec, field.name) for field in dataclasses.fields(spec)]
    return {type(spec)}.union(*map(members, inside))


def test_the_zoo_holds_every_public_cell():
    protocols = {sj.Cell, sj.core.SequenceCell, sj.core.Encoder, sj.RecurrentCell}
    protocols.add(sj.linear.LinearCell)
    protocols.add(sj.AttentionDecoder)  # whose params need a memory: test_attention_decoder.py
    protocols.add(sj.decoding.NeuralCache)  # which has no params: test_neural_cache.py
    public = {
        value
        for room in rooms().values()
        for value in public_names(room).values()
        if isinstance(value, type) and hasattr(value, "initial_carry")
    }
    assert public - protocols == {cell for cell in members(tuple(CELLS.values())) if cell in public}


@dataclass(frozen=True)
class Sum:
    """yₜ = hₜ = hₜ₋₁ + xₜ, right in every way; what breaks it is below."""

    scale: float = 1.0

    def init(self, key, input_size):
        return {"w": jnp.full(input_size, self.scale)}

    def initial_carry(self, params, batch_size, key=None):
        return jnp.zeros((batch_size, params["w"].shape[0]), params["w"].dtype)

    def step(self, params, carry, x):
        carry = carry + params["w"] * x.astype(carry.dtype)
        return carry, carry


class UnequalCopies(Sum):
    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__


class Unprintable(Sum):
    def __repr__(self):
        return "<a cell>"


class BatchLast(Sum):
    def initial_carry(self, params, batch_size, key=None):
        return jnp.zeros((params["w"].shape[0] + 1, batch_size), params["w"].dtype)

    def step(self, params, carry, x):
        return carry, x


class DriftingDtype(Sum):
    def step(self, params, carry, x):
        return (carry + x.astype(carry.dtype)).astype(jnp.float16), x


class OtherUnroll(Sum):
    def unroll(self, params, carry, xs, steps):
        carry, ys = run_steps(self, params, carry, xs, steps)
        return carry, ys * 1.001


class ForgetsTheMask(Sum):
    def unroll(self, params, carry, xs, steps):
        return run_steps(self, params, carry, xs, replace(steps, mask=None))


class PoisonedByPadding(Sum):
    def unroll(self, params, carry, xs, steps):
        carry, ys = run_steps(self, params, carry, xs, steps)
        return carry, ys + 0 * jnp.sum(xs)


class SeesItsMates(Sum):
    def step(self, params, carry, x):
        carry = carry + x.astype(carry.dtype)
        return carry, carry - jnp.mean(carry, axis=0)


class WrongGradient(Sum):
    def step(self, params, carry, x):
        carry = carry + jax.lax.stop_gradient(params["w"]) * x.astype(carry.dtype)
        return carry, carry


class CutsItsCarry(Sum):
    def unroll(self, params, carry, xs, steps):
        cut = jax.lax.stop_gradient(carry)
        return run_steps(self, params, cut, xs, steps)


class Unhashable(Sum):
    __hash__: Any = None


class WeaklyTyped(Sum):
    def step(self, params, carry, x):
        return carry, jnp.full(carry.shape, 0.5)


class GoesOnAtPadding(Sum):
    def unroll(self, params, carry, xs, steps):
        carry, ys = run_steps(self, params, carry, xs, steps)
        mask = steps.mask
        return (carry if mask is None else jnp.where(mask[:, -1:], carry, carry + 1)), ys


class ForgetsEmptyRows(Sum):
    def unroll(self, params, carry, xs, steps):
        carry, ys = run_steps(self, params, carry, xs, steps)
        mask = steps.mask
        return (carry if mask is None else jnp.where(mask.any(1)[:, None], carry, 0)), ys


class MasksTooLate(Sum):
    """Its values are right: 0 at padding. Its gradients there are 0 times NaN."""

    def step(self, params, carry, x):
        return carry, x * x

    def unroll(self, params, carry, xs, steps):
        carry, _ = run_steps(self, params, carry, steps.zero_padding(xs), steps)
        return carry, steps.zero_padding(xs * xs)


class WrongForShortSequences(Sum):
    def unroll(self, params, carry, xs, steps):
        carry, ys = run_steps(self, params, carry, xs, steps)
        return carry, ys if xs.shape[1] > 4 else 2 * ys


class IgnoresResets(Sum):
    def unroll(self, params, carry, xs, steps):
        return run_steps(self, params, carry, xs, replace(steps, reset=None))


@dataclass(frozen=True)
class RanksItsRows(sj.core.Encoder):
    """An encoder, which has no step."""

    def init(self, key, input_size):
        return {"w": jnp.ones(input_size)}

    def initial_carry(self, params, batch_size, key=None):
        return jnp.zeros((batch_size, 1), params["w"].dtype)

    def unroll(self, params, carry, xs, steps):
        ys = xs * jnp.arange(xs.shape[0], dtype=xs.dtype)[:, None, None]
        return carry, steps.zero_padding(ys)


@jax.custom_batching.custom_vmap
def weigh(w, x):
    return w * x


@weigh.def_vmap
def weigh_all_by_the_first(size, batched, w, x):
    return w[0] * (x if batched[1] else jnp.stack([x] * size)), True


class WrongUnderVmap(Sum):
    def step(self, params, carry, x):
        carry = carry + weigh(params["w"], x.astype(carry.dtype))
        return carry, carry


class RemembersItsRuns(Sum):
    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = Sum.__hash__

    def step(self, params, carry, x):
        object.__setattr__(self, "last", object())
        return super().step(params, carry, x)


BROKEN = {
    UnequalCopies: "pickled copy",
    Unhashable: "hashable",
    Unprintable: "eval",
    BatchLast: "batch axis",
    DriftingDtype: "dtype",
    WeaklyTyped: "weak types",
    OtherUnroll: "loop of step",
    ForgetsTheMask: "loop of step",
    IgnoresResets: "loop of step",
    SeesItsMates: "loop of step",
    GoesOnAtPadding: "final carry is that of the last real step",
    PoisonedByPadding: "NaN or inf in padding changes nothing",
    ForgetsEmptyRows: "row of length 0",
    RanksItsRows: "permuting the batch",
    WrongUnderVmap: "vmap over params",
    MasksTooLate: "NaN or inf in padding reaches no gradient",
    WrongGradient: "finite differences",
    CutsItsCarry: "finite differences",
    RemembersItsRuns: "one compilation",
    WrongForShortSequences: "two parts",
}


def test_a_sound_cell_of_ones_own_passes():
    check_cell(Sum())


@pytest.mark.parametrize("cell", BROKEN)
def test_a_broken_cell_is_found_out(cell):
    with pytest.raises((AssertionError, ValueError, TypeError), match=BROKEN[cell]):
        check_cell(cell())
