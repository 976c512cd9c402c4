"""What public functions take and return can be part of a program saved by `jax.export`."""

import chex
import jax
import jax.numpy as jnp
import pytest
from support.attending import DECODERS, Attending
from support.public import public_names, rooms
from support.zoo import CELLS

import seqjax as sj

RECORDS = {
    f"{room}.{name}": record
    for room, module in rooms().items()
    for name, record in public_names(module).items()
    if hasattr(record, "_fields") and name != "LanguageModel"  # which has a function inside
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_public_record_comes_back(name):
    record = RECORDS[name]
    make = lambda x: record(*(x + n for n in range(len(record._fields))))
    saved = jax.export.export(jax.jit(make))(jnp.ones(2)).serialize()
    found = jax.export.deserialize(saved).call(jnp.ones(2))
    assert type(found) is record
    chex.assert_trees_all_equal(found, make(jnp.ones(2)))


def saved_forms(*forms):
    """Whether trees of these forms can be the arguments and results of a saved program."""
    return jax.export.export(jax.jit(lambda *trees: trees))(*forms).serialize()


@pytest.mark.parametrize("name", [*CELLS, *DECODERS])
def test_params_carries_and_outputs_of_every_cell(name):
    """No record inside of them was forgotten."""
    cell = CELLS[name] if name in CELLS else Attending(DECODERS[name])

    def run():
        params = cell.init(jax.random.key(0), 3)
        return params, *sj.unroll(cell, params, jnp.ones((2, 4, 3)))

    assert saved_forms(*jax.eval_shape(run))


def test_params_of_losses_and_states_of_methods():
    cell = sj.LSTM(4)
    params = cell.init(jax.random.key(0), 3)
    carry = cell.initial_carry(params, 2)
    softmax = sj.losses.AdaptiveSoftmax((2, 4, 8))
    discriminator = sj.objectives.Discriminator(sj.GRU(4))
    assert saved_forms(
        softmax.init(jax.random.key(0), 4),
        discriminator.init(jax.random.key(0), 4),
        sj.gradients.init_rtrl_state(params, carry),
        sj.gradients.init_uoro_state(params, carry),
        sj.linear.LRU(4).initial_carry(sj.linear.LRU(4).init(jax.random.key(0), 3), 2),
    )
