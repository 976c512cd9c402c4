"""Memory of a training step: what checkpointing, truncation and very long sequences take.

    python -m benchmarks.memory                                # every table
    python -m benchmarks.memory --tables remat --out runs/today

- remat: policies for T = 1000 beside a differentiated `lax.scan` of the cell's step ("scan"), for a
  loss on the final carry and for one on all outputs, which are [B, T, H] whatever the policy.
- truncate: a gradient in windows, at growing T.
- long: a few training steps at T = 100,000, in a process of their own whose peak is read. The
  outputs are read out to a few channels by a member of the stack: [B, T, H] is never held.

Bytes are temporaries as counted by the compiler (inputs and results left out), plus, for "long",
the peak resident size of the process. Gradients are compared before anything is timed.
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from benchmarks import harness
from benchmarks.figures import draw_memory
from experiments.lab.folder import RunFolder

Table = Literal["remat", "truncate", "long"]
Loss = Literal["carry", "ys"]
BATCH, SIZE, LENGTH = 16, 128, 1000
WINDOW, LENGTHS = 100, (1000, 4000, 16_000)
LONG, CHANNELS, LONG_STEPS = 100_000, 16, 3


@dataclass
class Settings:
    """What is measured.

    Attributes:
      tables: which tables.
      device: "cpu", "gpu", "gpu:1", ...; JAX's default where left out.
      rounds: how often each policy is timed.
      out: the folder for memory.json and memory.png.
    """

    tables: tuple[Table, ...] = ("remat", "truncate", "long")
    device: str | None = None
    rounds: int = 15
    out: Path = Path("runs/benchmarks/memory")


def policies(cell: Any, params: Any, xs: jax.Array) -> dict[str, Any]:
    """What `remat=` is given, by the name in the table."""
    length = xs.shape[1]
    block = max(math.isqrt(length) // 3, 1)
    cost = sj.core.tape_cost(cell, params, xs, block=block)
    budget = 4 * cost  # carries: room for two tapes and as much again
    return {
        "None": None,
        f"{block}": block,
        '"sqrt"': "sqrt",
        f"mixed_schedule(T, {budget}, {cost}, block={block})": sj.core.mixed_schedule(
            length, budget, cost, block=block
        ),
        f"binomial_schedule(T, 10, block={block})": sj.core.binomial_schedule(
            length, 10, block=block
        ),
        "binomial_schedule(T, 10)": sj.core.binomial_schedule(length, 10),
    }


def gradient(cell: Any, loss: Loss, remat: Any, stepped: bool = False) -> Any:
    """The jitted function (params, xs) -> gradient of params."""

    def value(params, xs):
        if stepped:
            carry = cell.initial_carry(params, xs.shape[0])
            carry, ys = sj.scan(lambda c, x: cell.step(params, c, x), carry, xs)
        else:
            carry, ys = sj.unroll(cell, params, xs, remat=remat)
        return jnp.sum(jnp.sin(ys)) if loss == "ys" else jnp.sum(jnp.sin(carry.h))

    return jax.jit(jax.grad(value))


def temporaries(compiled: Any) -> int:
    """Bytes of temporaries, as the compiler counts them."""
    return compiled.memory_analysis().temp_size_in_bytes


def draw(batch_size: int, length: int, size: int) -> tuple[Any, Any, jax.Array]:
    """An LSTM, its params, and xs [B, T, D] with D = H."""
    cell = sj.LSTM(size)
    params = cell.init(jax.random.key(0), size)
    return cell, params, jax.random.normal(jax.random.key(1), (batch_size, length, size))


def measure_remat(rounds: int, shape=(BATCH, LENGTH, SIZE)) -> list[dict[str, Any]]:
    """Bytes and median seconds of every policy and loss."""
    cell, params, xs = draw(*shape)
    rows = []
    for loss in ("carry", "ys"):
        functions = {"scan": gradient(cell, loss, None, stepped=True)}
        known = policies(cell, params, xs)
        functions |= {name: gradient(cell, loss, remat) for name, remat in known.items()}
        expected = functions["scan"](params, xs)
        scale = max(float(jnp.abs(leaf).max()) for leaf in expected)
        for name, function in functions.items():
            chex.assert_trees_all_close(
                function(params, xs), expected, rtol=1e-3, atol=1e-3 * scale, custom_message=name
            )
        used = {name: temporaries(f.lower(params, xs).compile()) for name, f in functions.items()}
        runs = {name: lambda f=f: f(params, xs) for name, f in functions.items()}
        seconds = harness.medians(harness.interleave(runs, rounds))
        for name in functions:
            advances = getattr(known.get(name), "advances", None)
            row = {"table": "remat", "loss": loss, "policy": name, "advances": advances}
            rows.append(row | {"bytes": used[name], "seconds": seconds[name]})
    return rows


def truncations(window: int) -> dict[str, Callable]:
    """Ways to a gradient, by name: functions of (cell, params, carry, xs)."""

    def loss_fn(cell, params, carry, xs, **how):
        carry, ys = sj.unroll(cell, params, xs, carry=carry, **how)
        return jnp.sum(jnp.sin(ys)), carry

    def in_windows(cell, params, carry, xs):
        one = lambda params, carry, xs, key: loss_fn(cell, params, carry, xs)
        return sj.truncated_value_and_grad(one, window)(params, carry, xs)

    def whole(cell, params, carry, xs, **how):
        return jax.grad(lambda params: loss_fn(cell, params, carry, xs, **how)[0])(params)

    return {
        "truncated_value_and_grad": in_windows,
        "unroll(truncate=K)": partial(whole, truncate=window),
        "unroll": whole,
    }


def measure_truncate(lengths=LENGTHS, window: int = WINDOW, size: int = SIZE) -> list[dict]:
    """Bytes of one gradient at growing T: in windows, through `truncate`, and whole."""
    cell = sj.LSTM(size)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), size))
    carry = jax.eval_shape(lambda: cell.initial_carry(params, BATCH))
    rows = []
    for length in lengths:
        xs = jax.ShapeDtypeStruct((BATCH, length, size), jnp.float32)
        for name, function in truncations(window).items():
            run = jax.jit(partial(function, cell))
            used = temporaries(run.lower(params, carry, xs).compile())
            rows.append({"table": "truncate", "policy": name, "length": length, "bytes": used})
    return rows


@dataclass(frozen=True)
class Readout:
    """A cell without a state: y = x w."""

    size: int

    def init(self, key: jax.Array, input_size: int) -> jax.Array:
        """Draws w [D, size]."""
        return sj.initializers.GlorotUniform()(key, (input_size, self.size))

    def initial_carry(self, params: Any, batch_size: int, key: Any = None) -> tuple[()]:
        """Nothing."""
        return ()

    def step(self, params: jax.Array, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        """x [B, D] to y [B, size]."""
        return carry, x @ params


def train_long(
    loss: Loss, length: int = LONG, batch_size: int = BATCH, size: int = SIZE
) -> dict[str, Any]:
    """A few steps of Adam over whole sequences, by remat="sqrt"; the record of this process."""
    import resource
    import time

    import optax

    cell = sj.Stack((sj.LSTM(size), Readout(CHANNELS)))
    params = cell.init(jax.random.key(0), CHANNELS)
    shape = (batch_size, length, CHANNELS)
    xs = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    optimizer = optax.adam(1e-3)

    def loss_fn(params, carry, xs, key):
        last, ys = sj.unroll(cell, params, xs, remat="sqrt")
        return jnp.mean(((ys if loss == "ys" else last[0].h) - 0.5) ** 2), carry

    step: Any = sj.make_train_step(loss_fn, optimizer)
    state = sj.init_train_state(params, optimizer, key=jax.random.key(2))
    used, losses, seconds = temporaries(step.lower(state, xs).compile()), [], []
    for _ in range(LONG_STEPS):
        start = time.perf_counter()
        state, metrics = step(state, xs)
        losses.append(float(metrics.loss))
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return {
        "table": "long",
        "loss": loss,
        "shape": [batch_size, length, CHANNELS, size],
        "bytes": used,
        "peak": peak,
        "losses": losses,
        "seconds": float(np.median(seconds[1:])),
    }


def measure_long(device: str | None) -> list[dict[str, Any]]:
    """`train_long` for both losses, each in a process of its own."""
    rows = []
    for loss in ("carry", "ys"):
        command = [sys.executable, "-m", "benchmarks.memory", "--long", loss, device or ""]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the process of the long run failed: {done.stderr[-500:]}")
        rows.append(json.loads(done.stdout))
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    """A Markdown table for each of the tables."""
    megabytes = lambda count: f"{count / 1e6:.1f}"
    parts = []
    for loss in dict.fromkeys(row["loss"] for row in rows if row["table"] == "remat"):
        here = [row for row in rows if row["table"] == "remat" and row["loss"] == loss]
        plain = here[0]
        lines = [
            [
                f"`{row['policy']}`",
                megabytes(row["bytes"]),
                f"{plain['bytes'] / row['bytes']:.1f}",
                f"{row['seconds'] / plain['seconds']:.2f}",
                f"{1e3 * row['seconds']:.0f}",
            ]
            for row in here
        ]
        header = ["remat", "temporaries, MB", "less by a factor of", "time to scan's", "ms"]
        parts.append(f"loss on {loss}\n\n{harness.table(header, lines)}")
    here = [row for row in rows if row["table"] == "truncate"]
    if here:
        lengths = list(dict.fromkeys(row["length"] for row in here))
        lines = []
        for name in dict.fromkeys(row["policy"] for row in here):
            used = [row["bytes"] for row in here if row["policy"] == name]
            lines.append([f"`{name}`", *map(megabytes, used)])
        header = ["", *(f"T = {length}, MB" for length in lengths)]
        parts.append(f"windows of {WINDOW} steps\n\n{harness.table(header, lines)}")
    here = [row for row in rows if row["table"] == "long"]
    if here:
        lines = [
            [
                row["loss"],
                megabytes(row["bytes"]),
                f"{row['peak'] / 2**30:.2f}",
                f"{row['seconds']:.1f}",
                " ".join(f"{loss:.4f}" for loss in row["losses"]),
            ]
            for row in here
        ]
        header = ["loss on", "temporaries, MB", "peak of the process, GiB", "s a step", "losses"]
        shape = " ".join(map(str, here[0]["shape"]))
        parts.append(f"B T D H = {shape}\n\n{harness.table(header, lines)}")
    return "\n\n".join(parts)


def main(settings: Settings, folder: RunFolder) -> None:
    """Measures, prints, writes."""
    device = harness.pick_device(settings.device)
    harness.check_rounds(settings.rounds)
    rows = []
    with jax.default_device(device):
        if "remat" in settings.tables:
            rows += measure_remat(settings.rounds)
        if "truncate" in settings.tables:
            rows += measure_truncate()
    if "long" in settings.tables:
        rows += measure_long(settings.device)
    print(report(rows))
    result = {"environment": harness.environment(device), "rows": rows}
    harness.write_json(folder, "memory", result)
    with folder.writing("memory.png") as path:
        draw_memory(rows, path)
    print(f"\nmemory.json and memory.png are in {folder.path}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--long"]:  # the process that `measure_long` starts
        with jax.default_device(harness.pick_device(sys.argv[3] or None)):
            print(json.dumps(train_long(sys.argv[2])))  # pyright: ignore[reportArgumentType]
        sys.exit()
    sys.exit(harness.command(main, Settings, "memory", __doc__))
