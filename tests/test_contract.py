"""The contract of cells: every public one keeps it, and broken ones are found out."""

from dataclasses import dataclass

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import pytest
from zoo import CELLS

import seqjax as sj
from seqjax.testing import check_cell

# (B, T, D), dealt out to the cells: each compiles for one of them.
SHAPES = [(3, 6, 3), (2, 8, 1), (4, 4, 5)]


@pytest.mark.parametrize("name", CELLS)
@hypothesis.settings(max_examples=3, deadline=None, derandomize=True, database=None)
@hypothesis.given(seed=st.integers(0, 2**31 - 1))
def test_every_cell_keeps_the_contract(name, seed):
    batch_size, length, input_size = SHAPES[list(CELLS).index(name) % len(SHAPES)]
    check_cell(CELLS[name], seed=seed, batch_size=batch_size, length=length, input_size=input_size)


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
    def unroll(self, params, carry, xs, mask):
        carry, ys = sj.scan(lambda c, x: self.step(params, c, x), carry, xs, mask=mask)
        return carry, ys * 1.001


class ForgetsTheMask(Sum):
    def unroll(self, params, carry, xs, mask):
        return sj.scan(lambda c, x: self.step(params, c, x), carry, xs)


class PoisonedByPadding(Sum):
    def unroll(self, params, carry, xs, mask):
        clean = xs if mask is None else jnp.where(mask[..., None], xs, 0)
        carry, ys = sj.scan(lambda c, x: self.step(params, c, x), carry, clean, mask=mask)
        return carry, ys + 0 * jnp.sum(xs)


class SeesItsMates(Sum):
    def step(self, params, carry, x):
        carry = carry + x.astype(carry.dtype)
        return carry, carry - jnp.mean(carry, axis=0)


class WrongGradient(Sum):
    def step(self, params, carry, x):
        carry = carry + jax.lax.stop_gradient(params["w"]) * x.astype(carry.dtype)
        return carry, carry


BROKEN = {
    UnequalCopies: "pickled copy",
    Unprintable: "eval",
    BatchLast: "batch axis",
    DriftingDtype: "dtype",
    OtherUnroll: "jit equals eager|loop of step",
    ForgetsTheMask: "loop of step",
    PoisonedByPadding: "NaN in padding",
    SeesItsMates: "loop of step",
    WrongGradient: "finite differences",
}


def test_a_sound_cell_of_ones_own_passes():
    check_cell(Sum())


@pytest.mark.parametrize("cell", BROKEN)
def test_a_broken_cell_is_found_out(cell):
    with pytest.raises((AssertionError, ValueError, TypeError), match=BROKEN[cell]):
        check_cell(cell())
