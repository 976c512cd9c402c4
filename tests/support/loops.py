"""The definition of `unroll`, as a Python loop over rows and steps, and how to compare with it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.noise import is_noise


@functools.partial(jax.jit, static_argnames="cell")
def step(cell, params, carry, x):
    return cell.step(params, carry, x)


def loop(cell, params, carry, initial, xs, *, lengths, mask, reset, reverse, truncate):
    """Runs `cell.step` one row and one real step at a time; all arguments as in `unroll`.

    Args:
      initial: the carry that a reset returns to.
      lengths, mask, reset: NumPy arrays or None.
    """
    results = [
        _row(
            functools.partial(step, cell, params),
            jax.tree.map(lambda a: a[b : b + 1], carry),  # noqa: B023
            jax.tree.map(lambda a: a[b : b + 1], initial),  # noqa: B023
            xs[b],
            real=_real(b, xs.shape[1], lengths, mask),
            begins=_begins(b, xs.shape[1], lengths, reset),
            reverse=reverse,
            truncate=truncate,
        )
        for b in range(xs.shape[0])
    ]
    carries, outputs = zip(*results, strict=True)
    join = lambda *rows: jnp.concatenate(rows, axis=0)
    return jax.tree.map(join, *carries), jnp.stack(outputs)


def _real(b, length, lengths, mask):
    end = length if lengths is None else int(lengths[b])
    return [t < end and (mask is None or bool(mask[b, t])) for t in range(length)]


def _begins(b, length, lengths, reset):
    end = length if lengths is None else int(lengths[b])
    return [t < end and reset is not None and bool(reset[b, t]) for t in range(length)]


def _row(step, carry, initial, xs, *, real, begins, reverse, truncate):
    """One row. In reverse, the boundary before step t lies after step t has been run."""
    length = len(real)
    end = max((t + 1 for t in range(length) if real[t]), default=0)
    order = range(end - 1, -1, -1) if reverse else range(length)
    outputs = [None] * length
    for position, t in enumerate(order):
        if truncate is not None and position > 0 and position % truncate == 0:
            # A window without a real step holds the carry, and so its gradient.
            if any(real[later] for later in order[position : position + truncate]):
                carry = jax.lax.stop_gradient(carry)
        boundary = (t + 1 < end and begins[t + 1]) if reverse else begins[t]
        if boundary:
            carry = jax.tree.map(_restart, initial, carry, is_leaf=is_noise)
        if real[t]:
            carry, y = step(carry, xs[None, t])
            outputs[t] = y[0]
    shape = jax.eval_shape(step, carry, xs[None, 0])[1]
    zero = jnp.zeros(shape.shape[1:], shape.dtype)
    return carry, jnp.stack([zero if y is None else y for y in outputs])


def _restart(start, now):
    return now._replace(start=now.step) if is_noise(now) else start


def random_case(seed, *, batch_size=2, length=7, input_size=2):
    """NumPy arrays: xs, lengths (one of them 0), mask with holes, reset."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, length + 1, batch_size)
    lengths[seed % batch_size] = 0
    return {
        "xs": random.normal(size=(batch_size, length, input_size)),
        "lengths": lengths,
        "mask": random.random((batch_size, length)) < 0.7,
        "reset": random.random((batch_size, length)) < 0.3,
    }


def assert_same(got, expected):
    """Equal to rounding in float64, typed keys by their data."""
    data = lambda a: jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a
    chex.assert_trees_all_close(*jax.tree.map(data, (got, expected)), rtol=1e-10, atol=1e-10)
