"""Speed of a recurrent layer: seqjax, its JAX peers, PyTorch, and the floor of three products.

    python -m benchmarks.unroll                       # every table, every peer that is installed
    python -m benchmarks.unroll --tables train --peers flax.linen keras --out runs/today

"scan" is seqjax's own cell, stepped by `scan` and differentiated by JAX; "floor" is the time of
three plain products over all B T rows, without which no training step can do. Contenders have
equal weights and inputs; values and gradients are compared before anything is timed; rounds are
interleaved; medians. PyTorch runs in a process of its own, where its threads disturb nobody.
Ratios are of seqjax's time to the other's: below 1, seqjax is faster.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from benchmarks import harness, peers
from benchmarks.figures import draw_ratios
from benchmarks.peers import Contender, Layers
from experiments.lab.folder import RunFolder

Table = Literal["train", "forward", "ragged", "bidirectional", "step"]
SHAPES = {  # B, T, D, H
    "train": [(32, 100, 64, 128), (32, 128, 256, 256), (64, 64, 512, 512), (1, 256, 64, 128)],
    "forward": [(32, 100, 64, 128), (32, 128, 256, 256), (64, 64, 512, 512), (1, 256, 64, 128)],
    "ragged": [(32, 100, 64, 128), (32, 128, 256, 256)],
    "bidirectional": [(32, 100, 64, 128), (32, 128, 256, 256)],
    "step": [(1, 1, 64, 128), (1, 1, 256, 512)],
}
Shape = tuple[int, int, int, int]


@dataclass
class Settings:
    """What is measured.

    Attributes:
      tables: which workloads.
      kinds: which cells; "gru" resets after the product, "gru_before" before it.
      peers: contenders beside seqjax; those not installed are named and left out.
      device: "cpu", "gpu", "gpu:1", ...; JAX's default where left out.
      rounds: how often each contender is timed.
      out: the folder for unroll.json and unroll.png.
    """

    tables: tuple[Table, ...] = ("train", "forward", "ragged", "bidirectional", "step")
    kinds: tuple[Literal["lstm", "gru", "gru_before"], ...] = ("lstm", "gru")
    peers: tuple[str, ...] = field(
        default_factory=lambda: (*[n for n in peers.BUILDERS if n != "seqjax"], "torch")
    )
    device: str | None = None
    rounds: int = 15
    out: Path = Path("runs/benchmarks/unroll")


def workload(table: Table, shape: Shape, contender: Contender) -> Callable[..., Any] | None:
    """weights -> the jitted function of (weights, xs, lengths, cotangent) that is timed."""
    if table == "ragged" and not contender.ragged:
        return None
    if table == "forward":
        return jax.jit(lambda weights, xs, lengths, _: contender.run(weights, xs, lengths))

    def loss(weights, xs, lengths, cotangent):
        return jnp.sum(contender.run(weights, xs, lengths) * cotangent)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


def inputs(table: Table, shape: Shape) -> tuple[Any, Any, Any]:
    """xs [B, T, D], lengths [B] or None, and the cotangent of ys, 0 at padding.

    What stands in ys at padding differs between the libraries.
    """
    batch_size, length, input_size, hidden_size = shape
    rng = np.random.default_rng(0)
    width = 2 * hidden_size if table == "bidirectional" else hidden_size
    xs = jnp.asarray(rng.normal(size=(batch_size, length, input_size)), jnp.float32)
    cotangent = jnp.asarray(rng.normal(size=(batch_size, length, width)), jnp.float32)
    if table != "ragged":
        return xs, None, cotangent
    lengths = jnp.asarray(np.linspace(length // 4, length, batch_size).astype(np.int32))
    real = jnp.arange(length) < lengths[:, None]
    return xs, lengths, jnp.where(real[..., None], cotangent, 0)


def check_equal(name: str, contender: Contender, arguments: tuple) -> None:
    """Raises AssertionError unless values and gradients are those of seqjax's stepped cell."""
    xs, lengths, cotangent = arguments

    def theirs(weights, xs):
        return jnp.sum(contender.run(weights, xs, lengths) * cotangent)

    def ours(weights, xs):
        params = contender.to_params(weights)
        return jnp.sum(sj.unroll(contender.cell, params, xs, lengths=lengths)[1] * cotangent)

    got, want = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(contender.weights, xs)
        for f in (theirs, ours)
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        scale = float(jnp.abs(b).max()) + 1e-6
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * scale, err_msg=name)


def floor(shape: Shape, gates: int) -> Callable[[], Any]:
    """The three products over all B T rows that a training step cannot do without."""
    batch_size, length, input_size, hidden_size = shape
    rng = np.random.default_rng(0)
    draw = lambda *size: jnp.asarray(rng.normal(size=size), jnp.float32)
    rows, width = draw(batch_size * length, input_size + hidden_size), gates * hidden_size
    weights, cotangent = draw(input_size + hidden_size, width), draw(batch_size * length, width)
    run = jax.jit(lambda a, w, g: (a @ w, g @ w.T, a.T @ g))
    return lambda: run(rows, weights, cotangent)


def measure(table: Table, kind: str, shape: Shape, settings: Settings) -> dict[str, float]:
    """Median seconds of each contender, and of the floor where there is one."""
    layers = Layers(kind, shape[2], shape[3], bidirectional=table == "bidirectional")
    runs: dict[str, Callable[[], Any]] = {}
    for name in ("seqjax", *settings.peers):
        if name == "torch" or not peers.installed(name):
            continue
        contender = peers.build(name, layers)
        if contender is None:
            continue
        if table == "step":
            if contender.first_step is not None:
                runs[name] = streaming(contender, shape)
            continue
        run = workload(table, shape, contender)
        if run is None:
            continue
        arguments = inputs(table, shape)
        check_equal(name, contender, arguments)
        runs[name] = lambda run=run, c=contender, a=arguments: run(c.weights, *a)
    if table == "train":
        runs["floor"] = floor(shape, 4 if kind == "lstm" else 3)
    rounds = settings.rounds * (20 if table == "step" else 1)
    seconds = harness.medians(harness.interleave(runs, rounds))
    if "torch" in settings.peers and peers.installed("torch"):
        seconds["torch"] = torch_seconds(table, kind, shape, settings.rounds)
    return seconds


def streaming(contender: Contender, shape: Shape) -> Callable[[], Any]:
    """One jitted step at batch size 1, the carry handed from call to call."""
    begin = contender.first_step
    assert begin is not None
    xs = jnp.ones((1, shape[2]))
    carry = begin(contender.weights)[1]
    step = jax.jit(lambda weights, carry: begin(weights)[0](carry, xs))
    state = [step(contender.weights, carry)]

    def run():
        state[0] = step(contender.weights, state[0][0])
        return state[0]

    return run


def torch_seconds(table: str, kind: str, shape: Shape, rounds: int) -> float:
    """PyTorch's median, measured by a process of its own with its own default threads."""
    arguments = [table, kind, *map(str, shape), str(rounds)]
    command = [sys.executable, "-m", "benchmarks.torch_peer", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the torch process failed: {done.stderr[-500:]}")
    return float(json.loads(done.stdout)) if done.stdout.strip() != "null" else float("nan")


def best_peer(seconds: dict[str, float]) -> tuple[str, float]:
    """The fastest JAX library beside seqjax."""
    others = {n: s for n, s in seconds.items() if n not in ("seqjax", "scan", "floor", "torch")}
    return min(others.items(), key=lambda item: item[1]) if others else ("-", float("nan"))


def report(rows: list[dict[str, Any]]) -> str:
    """One Markdown table a workload, ratios of seqjax's time to each other's."""
    parts = []
    for name in dict.fromkeys(row["table"] for row in rows):
        here = [row for row in rows if row["table"] == name]
        names = list(dict.fromkeys(n for row in here for n in row["seconds"] if n != "seqjax"))
        lines = []
        for row in here:
            ours = row["seconds"]["seqjax"]
            ratios = [
                f"{ours / row['seconds'][n]:.2f}" if n in row["seconds"] else "" for n in names
            ]
            best = best_peer(row["seconds"])
            shape = " ".join(map(str, row["shape"]))
            lines.append(
                [row["kind"], shape, f"{1e3 * ours:.2f}", *ratios, f"{ours / best[1]:.2f}"]
            )
        header = ["cell", "B T D H", "seqjax, ms", *names, "best JAX peer"]
        parts.append(f"{name}\n\n{harness.table(header, lines)}")
        ratios = [row["seconds"]["seqjax"] / best_peer(row["seconds"])[1] for row in here]
        mean, worst = harness.geometric_mean(ratios), max(ratios)
        parts.append(f"to the best JAX peer: geometric mean {mean:.2f}, worst {worst:.2f}")
    return "\n\n".join(parts)


def main(settings: Settings, folder: RunFolder) -> None:
    """Measures, prints, writes."""
    device = harness.pick_device(settings.device)
    harness.check_rounds(settings.rounds)
    missing = peers.missing(settings.peers)
    rows = []
    with jax.default_device(device):
        for table in settings.tables:
            for kind in settings.kinds:
                for shape in SHAPES[table]:
                    seconds = measure(table, kind, shape, settings)
                    rows.append({"table": table, "kind": kind, "shape": shape, "seconds": seconds})
                    shown = " ".join(f"{n} {1e3 * s:.2f}" for n, s in seconds.items())
                    print(f"{table} {kind} {shape} ms: {shown}", flush=True)
    print("\n" + report(rows))
    result = {"environment": harness.environment(device), "missing": missing, "rows": rows}
    harness.write_json(folder, "unroll", result)
    with folder.writing("unroll.png") as path:
        draw_ratios(rows, path)
    print(f"\nunroll.json and unroll.png are in {folder.path}")


if __name__ == "__main__":
    sys.exit(harness.command(main, Settings, "unroll", __doc__))
