"""What Newton's method takes on random networks, and how long on this machine."""

import functools
import statistics
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj

INPUT_SIZE, BATCH_SIZE = 4, 4
TOLERANCE = 1e-8  # in float64, so that rounding is not what is seen
CASES: tuple[tuple[str, Any, Any], ...] = (
    ("Elman, newton", sj.Elman, "newton"),
    ("Elman, quasi-newton", sj.Elman, "quasi-newton"),
    ("GRU, newton", sj.GRU, "newton"),
    ("GRU, quasi-newton", sj.GRU, "quasi-newton"),
    ("DiagonalGRU, block-newton", sj.cells.DiagonalGRU, "block-newton"),
)


class Points(NamedTuple):
    """One method on one cell, an entry for each gain, seed and row.

    Fields:
      name: of the cell and the method.
      gain: the scale of the recurrent weights.
      exponent: the largest Lyapunov exponent, nats a step.
      iterations: of the method.
      converged: whether they sufficed.
    """

    name: str
    gain: list[float]
    exponent: list[float]
    iterations: list[int]
    converged: list[bool]


def iterations(length: int, hidden_size: int, seeds: int, gains: int) -> list[Points]:
    """Every case over random networks; float64, from the initial carry, at most T iterations."""
    scales = np.geomspace(0.2, 4.0, gains)
    with jax.enable_x64(True):
        keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
        found = []
        for name, kind, method in CASES:
            run = functools.partial(one, kind(hidden_size), method, length)
            each = lambda gain, run=run: jax.lax.map(lambda key: run(key, gain), keys)
            exponent, count, converged = jax.jit(lambda g, each=each: jax.lax.map(each, g))(scales)
            gain = np.broadcast_to(scales[:, None, None], count.shape)
            columns: Any = [
                np.asarray(a).ravel().tolist() for a in (gain, exponent, count, converged)
            ]
            found.append(Points(name, *columns))
    return found


def one(cell: Any, method: Any, length: int, key: jax.Array, gain: jax.Array):
    """Exponents, iterations and success [BATCH_SIZE] of one random network."""
    key_p, key_x = jax.random.split(key)
    params = cell.init(key_p, INPUT_SIZE)
    params = params._replace(w_h=gain * params.w_h)
    xs = 0.5 * jax.random.normal(key_x, (BATCH_SIZE, length, INPUT_SIZE))
    found = sj.newton.unroll(
        cell, params, xs, method=method, tolerance=TOLERANCE, max_iters=length, fallback=False
    )
    exponent = sj.diagnostics.lyapunov_exponents(cell, params, xs, skip=min(20, length - 1))
    return exponent[:, 0], found.iterations, found.converged


def times(length: int = 1000, rounds: int = 7) -> list[dict[str, Any]]:
    """Milliseconds of value and gradient in float32, Newton's beside `unroll`'s."""
    rows = []
    cases: list[tuple[Any, Any]] = [
        (sj.GRU(8), "newton"),
        (sj.GRU(32), "newton"),
        (sj.GRU(32), "quasi-newton"),
        (sj.cells.DiagonalGRU(32), "block-newton"),
        (sj.cells.DiagonalLSTM(32), "block-newton"),
    ]
    for cell, method in cases:
        params = cell.init(jax.random.key(0), 16)
        xs = jax.random.normal(jax.random.key(1), (8, length, 16))

        def newton(params, xs, cell=cell, method=method):
            found = sj.newton.unroll(cell, params, xs, method=method)
            return jnp.sum(found.ys), found.iterations

        def plain(params, xs, cell=cell):
            return jnp.sum(sj.unroll(cell, params, xs)[1]), None

        runs = [jax.jit(jax.value_and_grad(run, has_aux=True)) for run in (newton, plain)]
        (_, count), _ = runs[0](params, xs)
        spent: list[list[float]] = [[], []]
        for _ in range(rounds):
            for run, record in zip(runs, spent, strict=True):
                begun = time.perf_counter()
                jax.block_until_ready(run(params, xs))
                record.append(1e3 * (time.perf_counter() - begun))
        medians = [statistics.median(record[1:]) for record in spent]
        rows.append(
            {
                "cell": repr(cell),
                "method": method,
                "iterations": int(count.max()),
                "newton_ms": medians[0],
                "unroll_ms": medians[1],
            }
        )
    return rows
