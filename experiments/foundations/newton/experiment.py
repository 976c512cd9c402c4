"""Iterations of Newton's method against the Lyapunov exponent, and times beside `unroll`."""

import functools
import statistics
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.foundations.newton.model import CASES, TIMED
from experiments.lab.experiment import Experiment, Results, Settings
from experiments.lab.folder import RunFolder
from experiments.lab.record import Report, Table

INPUT_SIZE, BATCH_SIZE = 4, 4
TOLERANCE = 1e-8  # in float64, so that rounding is not what is seen
COLUMNS = "gain", "exponent", "iterations", "converged"
EDGES = (-np.inf, -1.0, -0.5, -0.2, 0.0, np.inf)


@dataclass(frozen=True)
class Config(Settings):
    """Count the iterations that a network takes over time, beside how fast its states part."""

    length: int = 256
    """T, steps of a sequence."""
    hidden_size: int = 12
    """H."""
    seeds: int = 3
    """Networks for each cell and gain."""
    gains: int = 17
    """How many scales of the recurrent weights, from 0.2 to 4."""
    timed_length: int = 1000
    """T, steps of the sequences whose time is taken."""
    rounds: int = 7
    """How often it is taken."""


def measure(config: Config, results: Results, folder: RunFolder) -> dict[str, Any]:
    """Iterations and exponents of random networks, and times on this machine."""
    del results, folder
    counted = iterations(config.length, config.hidden_size, config.seeds, config.gains)
    return {"points": counted, "times": times(config.timed_length, config.rounds)}


def iterations(length: int, hidden_size: int, seeds: int, gains: int) -> dict[str, dict[str, list]]:
    """Every case over random networks, by its name an entry for each gain, seed and row.

    In float64, from the initial carry, at most T iterations. Each case has the `gain` of its
    recurrent weights, the largest Lyapunov `exponent` in nats a step, the number of `iterations`,
    and whether they `converged`.
    """
    scales = np.geomspace(0.2, 4.0, gains)
    with jax.enable_x64(True):
        keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
        found = {}
        for name, kind, method in CASES:
            run = functools.partial(one, kind(hidden_size), method, length)
            each = lambda gain, run=run: jax.lax.map(functools.partial(run, gain=gain), keys)
            exponent, count, converged = jax.jit(lambda g, each=each: jax.lax.map(each, g))(scales)
            gain = np.broadcast_to(scales[:, None, None], count.shape)
            columns = zip(COLUMNS, (gain, exponent, count, converged), strict=True)
            found[name] = {column: np.asarray(a).ravel().tolist() for column, a in columns}
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


def times(length: int, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of value and gradient in float32, Newton's beside `unroll`'s; medians."""
    rows = []
    for cell, method in TIMED:
        params = cell.init(jax.random.key(0), 16)
        xs = jax.random.normal(jax.random.key(1), (8, length, 16))

        def newton(params, xs, cell=cell, method=method):
            found = sj.newton.unroll(cell, params, xs, method=method)
            return jnp.sum(found.ys), found.iterations

        def plain(params, xs, cell=cell):
            return jnp.sum(sj.unroll(cell, params, xs)[1]), None

        runs = [jax.jit(jax.value_and_grad(run, has_aux=True)) for run in (newton, plain)]
        (_, count), _ = jax.block_until_ready([run(params, xs) for run in runs])[0]
        spent: list[list[float]] = [[], []]
        for _ in range(rounds):
            for run, record in zip(runs, spent, strict=True):
                begun = time.perf_counter()
                jax.block_until_ready(run(params, xs))
                record.append(1e3 * (time.perf_counter() - begun))
        newton_ms, unroll_ms = map(statistics.median, spent)
        name = f"{type(cell).__name__}({cell.hidden_size}), {method}"
        row = {"iterations": int(count.max()), "newton_ms": newton_ms, "unroll_ms": unroll_ms}
        rows.append({"name": name} | row)
    return rows


def report(config: Config, results: Results) -> Report:
    """Median iterations by exponent, and times by both."""
    points, times = results.measured["points"], results.measured["times"]
    bounds = list(zip(EDGES, EDGES[1:], strict=False))
    rows = [[name, *(_cell(each, *pair) for pair in bounds)] for name, each in points.items()]
    heads = [_between(*pair) for pair in bounds]
    caption = (
        "Median iterations where the largest exponent, in nats a step, is so; in brackets the "
        f"share of rows that converged within {config.length}:"
    )
    timed = [
        [row["name"], str(row["iterations"]), f"{row['newton_ms']:.1f}", f"{row['unroll_ms']:.1f}",
         f"{row['newton_ms'] / row['unroll_ms']:.1f}"]
        for row in times
    ]  # fmt: skip
    took = (
        f"Milliseconds of value and gradient, B = 8, T = {config.timed_length:,}, D = 16, float32:"
    )
    ratios = [row["newton_ms"] / row["unroll_ms"] for row in times]
    line = (
        f"Newton's method takes {min(ratios):.1f} to {max(ratios):.1f} times as long as `unroll`; "
        "the table shows how its iterations grow as the exponent nears 0."
    )
    tables = [
        Table(["", *heads], rows, caption),
        Table(["", "iterations", "newton", "unroll", "ratio"], timed, took),
    ]
    return Report(line, tables)


def _cell(each: dict[str, list], low: float, high: float) -> str:
    exponent, count = np.array(each["exponent"]), np.array(each["iterations"])
    here = (exponent > low) & (exponent <= high)
    if not here.any():
        return ""
    return f"{np.median(count[here]):.0f} ({np.array(each['converged'])[here].mean():.2f})"


def _between(low: float, high: float) -> str:
    if low == -np.inf:
        return f"below {high:g}"
    return f"above {low:g}" if high == np.inf else f"{low:g} to {high:g}"


def draw(config: Config, results: Results) -> dict[str, Any]:
    """Iterations over the largest Lyapunov exponent; crosses did not converge."""
    import matplotlib.pyplot as plt

    points = results.measured["points"]
    size = (3.1 * len(points), 3.4)
    figure, axes = plt.subplots(
        1, len(points), figsize=size, sharey=True, layout="constrained", squeeze=False
    )
    for axis, (name, each) in zip(axes[0], points.items(), strict=True):
        exponent, count = np.array(each["exponent"]), np.array(each["iterations"])
        converged = np.array(each["converged"])
        axis.scatter(exponent[converged], count[converged], s=9, alpha=0.5)
        axis.scatter(exponent[~converged], count[~converged], s=14, marker="x", color="C3")
        axis.axvline(0, color="k", lw=0.8)
        axis.axhline(config.length, color="0.6", ls=":", lw=1)
        axis.set_yscale("log")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("largest Lyapunov exponent, nats a step", fontsize=8)
    axes[0, 0].set_ylabel(f"iterations (dotted: T = {config.length})", fontsize=8)
    return {"newton.png": figure}


EXPERIMENT = Experiment(
    name="newton",
    source="Lim et al. 2024; Gonzalez et al. 2024",
    data="drawn: random networks, and noise as their inputs",
    minutes=2,
    config=Config,
    measure=measure,
    report=report,
    draw=draw,
    quick={"length": 64, "seeds": 1, "gains": 5, "timed_length": 200, "rounds": 3},
    tiny={"length": 6, "hidden_size": 2, "seeds": 1, "gains": 2, "timed_length": 6, "rounds": 1},
)
