"""Where the time of one training step goes, operation by operation, as XLA's own profiler sees it.

    python -m benchmarks.profile --kind gru --shape 32 128 256 256 --contender flax.linen

Operations with as many calls as steps (or twice as many) stand inside the loop. A product that two
threads share counts the time of both. Bytes are temporaries as counted by the compiler.
"""

import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
from jax.profiler import ProfileData

from benchmarks import harness, peers
from benchmarks.peers import Layers
from benchmarks.unroll import Table, inputs, workload
from experiments.lab.folder import RunFolder

# Not operations: Python's calls, the runtime's, marks of an end, and loops, which hold others.
SKIPPED = re.compile(r"^(\$|end: |while|call|Thunk|Pjit|Common|PjRt|.*::|.* )|^[A-Z]")


@dataclass
class Settings:
    """What is profiled.

    Attributes:
      contender: "seqjax", or a peer that is installed.
      kind: which cell.
      shape: B, T, D, H.
      workload: a table of benchmarks.unroll.
      steps: over how many calls times are averaged.
      rows: how many operations are shown.
      device: "cpu", "gpu", "gpu:1", ...; JAX's default where left out.
    """

    contender: str = "seqjax"
    kind: Literal["lstm", "gru", "gru_before"] = "lstm"
    shape: tuple[int, int, int, int] = (32, 128, 256, 256)
    workload: Table = "train"
    steps: int = 5
    rows: int = 15
    device: str | None = None


def operations(folder: Path) -> tuple[Counter, Counter]:
    """Calls and nanoseconds of each operation in a recorded trace."""
    calls, spent = Counter(), Counter()
    for path in folder.rglob("*.xplane.pb"):
        for plane in ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    if not SKIPPED.match(event.name):
                        calls[event.name] += 1
                        spent[event.name] += event.duration_ns
    return calls, spent


def profile(run: Any, arguments: tuple, steps: int) -> tuple[Counter, Counter]:
    """Calls and nanoseconds of each operation over some calls of a compiled function."""
    for _ in range(2):
        jax.block_until_ready(run(*arguments))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                jax.block_until_ready(run(*arguments))
        return operations(Path(folder))


def main(settings: Settings, folder: RunFolder | None = None) -> None:
    """Profiles and prints; it writes nothing."""
    del folder
    device = harness.pick_device(settings.device)
    for name in ("steps", "rows"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} is {getattr(settings, name)}; expected at least 1.")
    if settings.contender == "torch" or peers.missing([settings.contender]):
        raise ValueError(
            f"contender is {settings.contender!r}; expected a JAX library that is here."
        )
    layers = Layers(settings.kind, settings.shape[2], settings.shape[3])
    contender = peers.build(settings.contender, layers)
    if contender is None:
        raise ValueError(f"contender {settings.contender!r} has no {settings.kind}.")
    table: Table = settings.workload
    with jax.default_device(device):
        arguments = (contender.weights, *inputs(table, settings.shape))
        step: Any = workload(table, settings.shape, contender)
        run = step.lower(*arguments).compile()
        calls, spent = profile(run, arguments, settings.steps)
    lines = []
    for name, nanoseconds in spent.most_common(settings.rows):
        count = calls[name] / settings.steps
        total = nanoseconds / settings.steps
        lines.append([name, f"{count:.0f}", f"{total / 1e6:.2f}", f"{total / count / 1e3:.1f}"])
    print(harness.table(["operation", "calls", "ms", "us a call"], lines))
    used = run.memory_analysis().temp_size_in_bytes
    print(
        f"\nall operations: {sum(spent.values()) / settings.steps / 1e6:.1f} ms of threads' time;"
    )
    print(f"temporaries: {used / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(harness.command(main, Settings, "profile", __doc__))
