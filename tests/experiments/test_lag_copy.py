"""The lag copy: what is asked for, and what crosses the windows."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.foundations.lag_copy.experiment import LAG, Config, draw, lag_copy


def test_what_is_asked_for_lies_a_lag_back_in_the_same_stream():
    past, streams, asked = jnp.zeros((3, LAG), jnp.int32), [], []
    for n, window in enumerate((5, 25, 10)):
        symbols, targets, past = draw(past, jax.random.key(n), window)
        streams.append(symbols)
        asked.append(targets)
    stream, targets = np.concatenate(streams, axis=1), np.concatenate(asked, axis=1)
    np.testing.assert_array_equal(targets[:, LAG:], stream[:, :-LAG])
    np.testing.assert_array_equal(past, stream[:, -LAG:])


def test_the_carry_crosses_the_windows_and_an_untrained_recurrence_stays():
    task = lag_copy("", 5, 0.0, Config(hidden_size=8, read=50), trained=False)
    assert task.steps == 10 and task.carry is not None
    params = jax.jit(task.init)(jax.random.key(0))
    carry = task.carry(params)
    grads, (state, past) = jax.jit(jax.grad(task.loss, has_aux=True))(
        params, carry, jax.random.key(2)
    )
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads["cell"]))
    assert float(jnp.abs(grads["w_o"]).max()) > 0
    assert float(jnp.abs(state).min(axis=1).max()) > 0 and past.shape == (32, LAG)
    losses = [task.loss(params, c, jax.random.key(3))[0] for c in (carry, (state, past))]
    assert losses[0] != losses[1]  # it is read
