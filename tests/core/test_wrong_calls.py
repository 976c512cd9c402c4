"""Calls that are wrong in a common way say what to write instead."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.zoo import CELLS, STEPPED

import seqjax as sj

KEY = jax.random.key(0)
CELL = sj.LSTM(4)
PARAMS = CELL.init(KEY, 3)
XS = jnp.ones((2, 5, 3))


@pytest.mark.parametrize("width", [3, 5])
@pytest.mark.parametrize(
    "cell",
    [CELL, sj.cells.LayerNormLSTM(4), sj.linear.MinGRU(4), sj.linear.QRNN(4), sj.linear.MLSTM(4)],
    ids=lambda cell: type(cell).__name__,
)
def test_one_sequence_without_a_batch(cell, width):
    """A square one ran, as a batch of numbers."""
    with pytest.raises(ValueError, match=r"expected \[B, T, D\]\. For one sequence \[T, D\] pass"):
        sj.unroll(cell, cell.init(KEY, 3), jnp.ones((width, 3)))


def test_arguments_in_another_order():
    with pytest.raises(ValueError, match=r"cell is an array of shape \(2, 5, 3\); expected a cell"):
        sj.unroll(XS, CELL, PARAMS)
    with pytest.raises(ValueError, match=r"params is an array \[2, 5, 3\]; expected LSTMParams"):
        sj.unroll(CELL, XS, PARAMS)


def test_time_first_with_a_carry():
    carry = CELL.initial_carry(PARAMS, 2)
    with pytest.raises(
        ValueError, match=r"carry has 2 rows but xs has B = 5 and T = 2; is xs time"
    ):
        sj.unroll(CELL, PARAMS, jnp.swapaxes(XS, 0, 1), carry=carry)


@pytest.mark.parametrize("name", STEPPED)
def test_a_step_from_a_carry_of_other_rows(name):
    """A carry of one row was broadcast to all of them, without a word."""
    cell = STEPPED[name]
    params = cell.init(KEY, 3)
    carry = cell.initial_carry(params, 1)
    if jax.tree.leaves(carry):
        with pytest.raises(
            ValueError, match=r"has 1 rows but x has 2; .* initial_carry\(params, 2\)"
        ):
            cell.step(params, carry, jnp.ones((2, 3)))


def test_forward_mode_names_another_way():
    def ys(params):
        return sj.unroll(CELL, params, XS)[1]

    def stepped(params):
        carry = CELL.initial_carry(params, 2)
        return sj.scan(functools.partial(CELL.step, params), carry, XS)[1]

    with pytest.raises(TypeError) as caught:
        jax.jvp(ys, (PARAMS,), (PARAMS,))
    assert "For forward mode (jax.jvp, jax.jacfwd) run sj.scan(" in caught.value.__notes__[0]
    _, tangent = jax.jvp(stepped, (PARAMS,), (PARAMS,))
    _, pull = jax.vjp(ys, PARAMS)
    (grads,) = pull(jnp.ones_like(tangent))
    dot = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, grads, PARAMS)))
    np.testing.assert_allclose(jnp.sum(tangent), dot, rtol=1e-5)


@pytest.mark.parametrize("name", CELLS)
def test_keys_have_a_type_in_init(name):
    with pytest.raises(ValueError, match=r"key is an array of uint32 with shape \(2,\); expected"):
        CELLS[name].init(jax.random.PRNGKey(0), 3)


def test_keys_have_a_type_everywhere():
    old, expected = jax.random.PRNGKey(0), "expected a typed key. Make one with jax.random.key"
    noisy = sj.Stack((CELL, sj.Dropout(0.5)))
    params = noisy.init(KEY, 3)
    calls = [
        lambda: sj.unroll(noisy, params, XS, key=old),
        lambda: noisy.initial_carry(params, 2, key=old),
        lambda: sj.core.start_noise(noisy, params, noisy.initial_carry(params, 2), old),
        lambda: sj.init_train_state(params, optax.sgd(0.1), key=old),
        lambda: sj.attention.AdditiveAttention(3).init(old, 3, 3),
        lambda: sj.losses.AdaptiveSoftmax((4, 8)).init(old, 3),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=expected):
            call()
