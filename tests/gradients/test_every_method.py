"""What all methods share: exact losses, flat memory, keys for windows, and what they refuse."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.gradient_methods import (
    ELMAN,
    HIDDEN,
    MINUS,
    PLUS,
    balancing,
    elementwise_rtrl,
    loss_of,
    make_case,
    rtrl,
    truth,
    uoro,
)

import seqjax as sj

LOSS = loss_of(ELMAN)
METHODS = {
    "truncated": sj.truncated_value_and_grad,
    "rtrl": rtrl,
    "uoro": uoro,
    "elementwise_rtrl": elementwise_rtrl,
    "artbp": lambda loss_fn, window: sj.gradients.artbp(loss_fn, window, 0.5),
}


@pytest.mark.parametrize("name", ["uoro", "artbp"])
def test_losses_and_carries_are_not_estimates(name):
    case = make_case(ELMAN)
    (loss, carry), _ = truth(LOSS, *case)
    (found, after), _ = jax.jit(METHODS[name](LOSS, 3))(*case, jax.random.key(1))
    np.testing.assert_allclose(found, loss, rtol=1e-5)
    np.testing.assert_allclose(after, carry, rtol=1e-5)


@pytest.mark.parametrize("method", [rtrl, uoro], ids=["rtrl", "uoro"])
def test_memory_does_not_grow_with_time(method):
    case = jnp.float32(0.1), jnp.zeros((1, PLUS + MINUS))
    sizes = []
    for length in (64, 1024):
        run = jax.jit(method(balancing))
        args = *case, jnp.zeros((1, length)), jax.random.key(0)
        memory = run.lower(*args).compile().memory_analysis()
        assert memory is not None
        sizes.append(memory.temp_size_in_bytes - 8 * length)  # a loss and a number a window
    assert sizes[1] <= sizes[0] + 64


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"truncated"}))
def test_half_precision_is_summed_in_single(name):
    """Many windows whose gradients are 1 / 256 of their sum and less: in bfloat16 they are lost."""

    def loss_fn(params, carry, xs, key):
        return jnp.sum(params.astype(jnp.float32)) * 1.0, carry

    case = jnp.ones(1, jnp.bfloat16), jnp.zeros((1, 1), jnp.bfloat16), jnp.zeros((1, 1024))
    (_, carry), grads = METHODS[name](loss_fn, 1)(*case, jax.random.key(0))
    assert grads.dtype == carry.dtype == jnp.bfloat16
    np.testing.assert_array_equal(grads.astype(jnp.float32), [1024])


@pytest.mark.parametrize("name", METHODS)
def test_window_n_draws_from_the_key_folded_with_n(name):
    """The coins of a method come from elsewhere."""

    def loss_fn(params, carry, batch, key):
        return jnp.sum(params * jax.random.normal(key)), carry

    case = jnp.ones(2), jnp.zeros((1, 1)), jnp.zeros((1, 5)), jax.random.key(7)
    expected = sum(float(jax.random.normal(jax.random.fold_in(case[3], n))) for n in range(3))
    (loss, _), grads = METHODS[name](loss_fn, 2)(*case)
    np.testing.assert_allclose(grads, expected, rtol=1e-5)
    np.testing.assert_allclose(loss, 2 * expected, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("window", [0, 2.5, True])
def test_a_window_is_a_number_of_steps(name, window):
    with pytest.raises(ValueError, match=f"window is {window}; expected an integer of at least 1"):
        METHODS[name](LOSS, window)


@pytest.mark.parametrize("name", ["uoro", "artbp"])
def test_an_estimate_needs_a_key(name):
    with pytest.raises(ValueError, match="key is None; expected a typed key"):
        METHODS[name](LOSS, 1)(*make_case(ELMAN), None)


@pytest.mark.parametrize("name", METHODS)
def test_keys_have_a_type(name):
    with pytest.raises(ValueError, match=r"key is an array of uint32 .* expected a typed key"):
        METHODS[name](LOSS, 1)(*make_case(ELMAN), jax.random.PRNGKey(0))


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_without_one_time_axis_is_refused(name):
    params, carry, (xs, targets) = make_case(sj.cells.DiagonalGRU(HIDDEN))
    run = METHODS[name](loss_of(sj.cells.DiagonalGRU(HIDDEN)), 1)
    with pytest.raises(ValueError, match=r"\(2, 7, 2\), \(2, 6, 1\); .* Close over arrays without"):
        run(params, carry, (xs, targets[:, 1:]), jax.random.key(0))


@pytest.mark.parametrize("name", METHODS)
def test_params_are_floats_and_others_are_closed_over(name):
    params, carry, batch = make_case(ELMAN)
    params = {**params, "n": np.int32(3)}
    with pytest.raises(ValueError, match=r"params\['n'\] is int32; .* Let loss_fn close over"):
        METHODS[name](LOSS, 1)(params, carry, batch, jax.random.key(0))


@pytest.mark.parametrize("name", ["rtrl", "uoro"])
def test_a_carry_has_floats_and_they_are_real(name):
    params, _, batch = make_case(ELMAN)
    run = METHODS[name](LOSS, 1)
    with pytest.raises(ValueError, match="Without a state use jax.value_and_grad"):
        run(params, (), batch, jax.random.key(0))
    with pytest.raises(ValueError, match="carry is complex64; expected real numbers"):
        run(params, jnp.zeros((2, 2), complex), batch, jax.random.key(0))


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_takes_four_arguments(name):
    bad: Any
    for bad in (3, lambda params, carry, batch: (0.0, carry)):
        with pytest.raises(ValueError, match=r"expected .*\(params, carry, batch, key\)"):
            METHODS[name](bad, 1)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("message", "result"),
    [
        ("one array; expected (loss, carry)", lambda h: jnp.sum(h)),
        ("a loss of shape (2,)", lambda h: (h.sum(axis=0), h)),
    ],
)
def test_a_loss_returns_one_number_and_a_carry(name, message, result):
    run = METHODS[name](lambda params, carry, batch, key: result(carry), 1)
    with pytest.raises(ValueError) as error:
        run(*make_case(sj.cells.DiagonalGRU(HIDDEN)), jax.random.key(0))
    assert f"loss_fn returned {message}" in str(error.value)
