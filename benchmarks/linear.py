"""Linear recurrences: the methods of `linear_scan`, what JAX has, and every cell built on it.

    python -m benchmarks.linear                       # both tables
    python -m benchmarks.linear --tables cells --out runs/today

"lax.scan" and "lax.associative_scan" are plain, differentiated by JAX. Values and gradients are
compared before anything is timed; rounds are interleaved; medians. A cell's "step" is its step
under `scan`, differentiated by JAX, against its `unroll`. Ratios are of the time of seqjax's
default to the other's: below 1, seqjax is faster.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from benchmarks import harness
from experiments.lab.folder import RunFolder

SHAPES = [(32, 128, 256), (16, 1024, 256), (1, 4096, 64), (4, 16384, 64)]  # B, T, H
Shape = tuple[int, int, int]
CELLS: dict[str, tuple[Callable[[int], Any], Shape]] = {  # by H; B, T, H
    "MinGRU": (sj.linear.MinGRU, (16, 512, 128)),
    "MinLSTM": (sj.linear.MinLSTM, (16, 512, 128)),
    "QRNN": (sj.linear.QRNN, (16, 512, 128)),
    "SRU": (sj.linear.SRU, (16, 512, 128)),
    "LRU": (sj.linear.LRU, (16, 512, 128)),
    "RGLRU": (sj.linear.RGLRU, (16, 512, 128)),
    "S5": (sj.linear.S5, (16, 512, 128)),
    "Mamba": (sj.linear.Mamba, (4, 512, 64)),
    "LinearAttention": (partial(sj.linear.LinearAttention, heads=4), (4, 512, 128)),
    "DeltaNet": (partial(sj.linear.DeltaNet, heads=4), (4, 512, 128)),
    "MLSTM": (partial(sj.linear.MLSTM, heads=4), (4, 512, 128)),
}


@dataclass
class Settings:
    """What is measured.

    Attributes:
      tables: the methods of `linear_scan`, and the cells.
      device: "cpu", "gpu", "gpu:1", ...; JAX's default where left out.
      rounds: how often each contender is timed.
      out: the folder for linear.json.
    """

    tables: tuple[Literal["methods", "cells"], ...] = ("methods", "cells")
    device: str | None = None
    rounds: int = 7
    out: Path = Path("runs/benchmarks/linear")


def plain_scan(a: jax.Array, b: jax.Array, h0: jax.Array) -> jax.Array:
    """`lax.scan`, whose axis leads."""
    step = lambda h, ab: (ab[0] * h + ab[1],) * 2
    lead = lambda x: jnp.swapaxes(x, 0, 1)
    return lead(jax.lax.scan(step, h0, (lead(a), lead(b)))[1])


def plain_associative_scan(a: jax.Array, b: jax.Array, h0: jax.Array) -> jax.Array:
    """`lax.associative_scan` over pairs of a factor and a sum."""
    combine = lambda early, late: (late[0] * early[0], late[0] * early[1] + late[1])
    b = b.at[:, 0].add(a[:, 0] * h0)
    return jax.lax.associative_scan(combine, (a, b), axis=1)[1]


def linear(method: Any) -> Callable[..., jax.Array]:
    """`linear_scan` by one method, all states."""
    return lambda a, b, h0: sj.linear_scan(a, b, h0, method=method)[1]


METHODS = {
    "seqjax": linear("auto"),
    "sequential": linear("sequential"),
    "chunked": linear("chunked"),
    "associative": linear("associative"),
    "lax.scan": plain_scan,
    "lax.associative_scan": plain_associative_scan,
}


def workload(run: Callable[..., jax.Array], gradient: bool) -> Callable[..., Any]:
    """The jitted function of (cotangent, *arguments) that is timed."""
    if not gradient:
        return jax.jit(lambda cotangent, *arguments: run(*arguments))
    loss = lambda arguments, cotangent: jnp.sum(run(*arguments) * cotangent)
    return jax.jit(lambda cotangent, *arguments: jax.value_and_grad(loss)(arguments, cotangent))


def measure(runs: dict[str, Callable], arguments: tuple, gradient: bool, rounds: int):
    """Median seconds of each contender, after a comparison with the first."""
    timed = {name: workload(run, gradient) for name, run in runs.items()}
    expected = jax.tree.leaves(timed["seqjax"](*arguments))
    for name, run in timed.items():
        for got, want in zip(jax.tree.leaves(run(*arguments)), expected, strict=True):
            scale = float(jnp.abs(want).max()) + 1e-6
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * scale, err_msg=name)
    calls = {name: lambda run=run: run(*arguments) for name, run in timed.items()}
    return harness.medians(harness.interleave(calls, rounds))


def measure_methods(shape: Shape, gradient: bool, rounds: int) -> dict[str, float]:
    """All methods, with a factor a unit and step, near 1 as trained gates are."""
    random = np.random.default_rng(0)
    as_array = lambda x: jnp.asarray(x, jnp.float32)
    a, b = random.uniform(0.9, 1, size=shape), random.normal(size=shape)
    h0 = random.normal(size=(shape[0], shape[2]))
    cotangent = as_array(random.normal(size=shape))
    return measure(METHODS, (cotangent, *map(as_array, (a, b, h0))), gradient, rounds)


def measure_cell(name: str, gradient: bool, rounds: int) -> dict[str, float]:
    """A cell's `unroll` and its step under `scan`, inputs as wide as outputs."""
    make, shape = CELLS[name]
    cell = make(shape[2])
    params = cell.init(jax.random.key(0), shape[2])
    carry = cell.initial_carry(params, shape[0])
    random = np.random.default_rng(0)
    xs, cotangent = (jnp.asarray(random.normal(size=shape), jnp.float32) for _ in range(2))

    def step(params, xs):
        return sj.scan(lambda c, x: cell.step(params, c, x), carry, xs)[1]

    runs = {"seqjax": lambda params, xs: sj.unroll(cell, params, xs)[1], "step": step}
    return measure(runs, (cotangent, params, xs), gradient, rounds)


def report(rows: list[dict[str, Any]]) -> str:
    """One Markdown table a workload, ratios of the default's time to each other's."""
    parts = []
    for name in dict.fromkeys(row["table"] for row in rows):
        here = [row for row in rows if row["table"] == name]
        names = [n for n in here[0]["seconds"] if n != "seqjax"]
        lines = []
        for row in here:
            ours, shape = row["seconds"]["seqjax"], " ".join(map(str, row["shape"]))
            ratios = [f"{ours / row['seconds'][n]:.2f}" for n in names]
            lines.append([row["kind"], row["pass"], shape, f"{1e3 * ours:.2f}", *ratios])
        header = ["", "", "B T H", "seqjax, ms", *names]
        parts.append(f"{name}\n\n{harness.table(header, lines)}")
    return "\n\n".join(parts)


def main(settings: Settings, folder: RunFolder) -> None:
    """Measures, prints, writes."""
    device = harness.pick_device(settings.device)
    harness.check_rounds(settings.rounds)
    rows = []
    cases = [("methods", "linear_scan", shape) for shape in SHAPES]
    cases += [("cells", name, shape) for name, (_, shape) in CELLS.items()]
    with jax.default_device(device):
        for table, kind, shape in cases:
            for gradient in (False, True) if table in settings.tables else ():
                if table == "methods":
                    seconds = measure_methods(shape, gradient, settings.rounds)
                else:
                    seconds = measure_cell(kind, gradient, settings.rounds)
                row = {"table": table, "kind": kind, "shape": shape, "seconds": seconds}
                rows.append(row | {"pass": "gradient" if gradient else "forward"})
                shown = " ".join(f"{n} {1e3 * s:.2f}" for n, s in seconds.items())
                print(f"{kind} {rows[-1]['pass']} {shape} ms: {shown}", flush=True)
    print("\n" + report(rows))
    result = {"environment": harness.environment(device), "rows": rows}
    harness.write_json(folder, "linear", result)
    print(f"\nlinear.json is in {folder.path}")


if __name__ == "__main__":
    sys.exit(harness.command(main, Settings, "linear", __doc__))
