"""Time to compile a training step: seqjax and its JAX peers, at growing T.

    python -m benchmarks.compile
    python -m benchmarks.compile --peers flax.linen --out runs/today

From nothing to a program that can be called: traced, lowered and compiled anew each time, with
JAX's caches cleared and its persistent cache off. Contenders take turns; medians.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax

from benchmarks import harness, peers
from benchmarks.figures import draw_ratios
from benchmarks.peers import Layers
from benchmarks.unroll import Shape, inputs, report, workload
from experiments.lab.folder import RunFolder

SHAPES: list[Shape] = [(32, 100, 64, 128), (32, 1000, 64, 128), (32, 10_000, 64, 128)]  # B, T, D, H


@dataclass
class Settings:
    """What is measured.

    Attributes:
      kinds: which cells; "gru" resets after the product, "gru_before" before it.
      peers: contenders beside seqjax; those not installed are named and left out.
      device: "cpu", "gpu", "gpu:1", ...; JAX's default where left out.
      rounds: how often each contender is compiled.
      out: the folder for compile.json and compile.png.
    """

    kinds: tuple[Literal["lstm", "gru", "gru_before"], ...] = ("lstm", "gru")
    peers: tuple[str, ...] = field(
        default_factory=lambda: tuple(n for n in peers.BUILDERS if n != "seqjax")
    )
    device: str | None = None
    rounds: int = 5
    out: Path = Path("runs/benchmarks/compile")


def compiler(name: str, layers: Layers, shape: Shape) -> Callable[[], Any] | None:
    """A function that compiles one contender's training step from nothing."""
    contender = peers.build(name, layers)
    if contender is None:
        return None
    xs, lengths, cotangent = inputs("train", (1, *shape[1:]))
    shaped = lambda a: jax.ShapeDtypeStruct((shape[0], *a.shape[1:]), a.dtype)

    def run():
        jax.clear_caches()
        step: Any = workload("train", shape, contender)
        start = time.perf_counter()
        step.lower(contender.weights, shaped(xs), lengths, shaped(cotangent)).compile()
        return time.perf_counter() - start

    return run


def measure(kind: str, shape: Shape, settings: Settings) -> dict[str, float]:
    """Median seconds of each contender."""
    layers = Layers(kind, shape[2], shape[3])
    runs = {}
    for name in ("seqjax", *settings.peers):
        run = compiler(name, layers, shape) if peers.installed(name) else None
        if run is not None:
            run()  # what is imported at the first use is not compilation
            runs[name] = run
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for name in harness.turns(runs, settings.rounds):
        seconds[name].append(runs[name]())
    return harness.medians(seconds)


def main(settings: Settings, folder: RunFolder) -> None:
    """Measures, prints, writes."""
    device = harness.pick_device(settings.device)
    harness.check_rounds(settings.rounds)
    if "torch" in settings.peers:
        raise ValueError("peers has 'torch', which compiles nothing; expected JAX libraries.")
    missing = peers.missing(settings.peers)
    rows = []
    cached = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        with jax.default_device(device):
            for kind in settings.kinds:
                for shape in SHAPES:
                    seconds = measure(kind, shape, settings)
                    rows.append(
                        {"table": "compile", "kind": kind, "shape": shape, "seconds": seconds}
                    )
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
    print(report(rows))
    result = {"environment": harness.environment(device), "missing": missing, "rows": rows}
    harness.write_json(folder, "compile", result)
    with folder.writing("compile.png") as path:
        draw_ratios(rows, path)
    print(f"\ncompile.json and compile.png are in {folder.path}")


if __name__ == "__main__":
    sys.exit(harness.command(main, Settings, "compile", __doc__))
