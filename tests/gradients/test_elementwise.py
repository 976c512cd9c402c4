"""Real-time recurrent learning for units that see only themselves, against backpropagation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.gradient_methods import elementwise_rtrl, rtrl, split

import seqjax as sj

BATCH, LENGTH, INPUT, HIDDEN = 2, 5, 3, 2
CELLS = (
    sj.cells.DiagonalLSTM(HIDDEN),
    sj.cells.DiagonalGRU(HIDDEN),
    sj.linear.LRU(HIDDEN),
    sj.linear.MinLSTM(HIDDEN),
)


def make_case(cell, dtype=jnp.float64):
    random = np.random.default_rng(0)
    draw = lambda a: jnp.asarray(random.normal(size=a.shape) * 0.7, dtype)
    params = {"cell": cell.init(jax.random.key(0), INPUT), "w_o": jnp.zeros((cell.hidden_size, 1))}
    params = jax.tree.map(draw, params)
    carry = jax.tree.map(draw, cell.initial_carry(params["cell"], BATCH))
    return params, carry, draw(jnp.zeros((BATCH, LENGTH, INPUT)))


def loss_of(cell):
    def loss_fn(params, carry, xs, key):
        del key
        carry, ys = sj.unroll(cell, params["cell"], xs, carry=carry)
        return jnp.sum((ys @ params["w_o"] - 1) ** 2), carry

    return loss_fn


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_it_is_backpropagation_through_all_of_time(cell, x64):
    loss_fn, (params, carry, xs) = loss_of(cell), make_case(cell)
    truth = jax.jit(jax.value_and_grad(loss_fn, has_aux=True), static_argnums=3)
    expected = truth(params, carry, xs, None)
    found = jax.jit(elementwise_rtrl(loss_fn, 2))(params, carry, xs)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_traces_continue_from_call_to_call(x64):
    """An endless stream, a part at a time: the gradients of the parts sum to that of the whole."""
    cell = CELLS[0]
    loss_fn, (params, carry, xs) = loss_of(cell), make_case(cell)
    run = jax.jit(sj.gradients.elementwise_rtrl(loss_fn))
    state, total = sj.gradients.init_elementwise_rtrl_state(params, carry), None
    for part in split(xs):
        (_, state), grads = run(params, state, part)
        total = grads if total is None else jax.tree.map(jnp.add, total, grads)
    truth = jax.jit(jax.value_and_grad(loss_fn, has_aux=True), static_argnums=3)
    (_, after), expected = truth(params, carry, xs, None)
    found = jax.tree.leaves((total, state.carry))
    for a, b in zip(found, jax.tree.leaves((expected, after)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_it_is_not_for_units_that_meet(x64):
    cell = sj.Elman(HIDDEN)
    loss_fn, (params, carry, xs) = loss_of(cell), make_case(cell)
    _, expected = jax.jit(jax.value_and_grad(loss_fn, has_aux=True), static_argnums=3)(
        params, carry, xs, None
    )
    _, found = jax.jit(elementwise_rtrl(loss_fn))(params, carry, xs)
    assert np.abs(found["cell"].w_h - expected["cell"].w_h).max() > 1e-3


def test_it_keeps_a_number_a_parameter_and_row():
    """The loop's state: H times fewer numbers than all of dh/dθ."""
    cell = sj.cells.DiagonalGRU(HIDDEN)
    case = make_case(cell, jnp.float32)
    sizes = []
    for method in (elementwise_rtrl, rtrl):
        program = jax.make_jaxpr(method(loss_of(cell)))(*case).jaxpr
        loops = [e for e in program.eqns if e.primitive.name == "scan"]
        sizes.append(max(var.aval.size for loop in loops for var in loop.outvars))
    largest = max(leaf.size for leaf in case[0]["cell"] if leaf is not None)
    total = sum(leaf.size for leaf in jax.tree.leaves(case[0]))
    assert sizes == [BATCH * largest, BATCH * HIDDEN * total]


def test_other_carries_and_params_are_sent_to_rtrl():
    cell = sj.cells.DiagonalGRU(HIDDEN)
    params, carry, xs = make_case(cell, jnp.float32)
    run = elementwise_rtrl(loss_of(cell))
    for other in (carry[..., None] * jnp.ones(2), carry.astype(int)):
        with pytest.raises(ValueError, match=r"expected floats of one shape \[B, H\].*use rtrl\."):
            run(params, other, xs)

    def scaled(scale, carry, xs, key):
        return jnp.sum(carry), scale * carry + xs[:, 0, :2]

    with pytest.raises(ValueError, match=r"a leaf \[\] on which the state depends.*use rtrl\."):
        elementwise_rtrl(scaled)(jnp.float32(0.5), carry, xs)


def test_a_state_of_something_else_is_refused():
    cell = sj.cells.DiagonalGRU(HIDDEN)
    params, carry, xs = make_case(cell, jnp.float32)
    run = sj.gradients.elementwise_rtrl(loss_of(cell))
    with pytest.raises(ValueError, match=r"expected ElementwiseRTRLState\. Make it with init_elem"):
        run(params, carry, xs)
    state = sj.gradients.init_elementwise_rtrl_state(params, carry)
    with pytest.raises(ValueError, match=r"state.traces .*, as init_elementwise_rtrl_state"):
        run(params, state._replace(traces={**state.traces, "w_o": jnp.zeros(3)}), xs)
