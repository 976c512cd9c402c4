"""What every benchmark shares: interleaved timing, the record of a run, tables, JSON, pictures."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.lab.folder import RunFolder

PACKAGES = ("seqjax", "jax", "jaxlib", "flax", "dm-haiku", "equinox", "keras", "torch")


def pick_device(name: str | None) -> Any:
    """The device called "cpu", "gpu", "tpu" or e.g. "gpu:1"; None is JAX's default.

    Raises:
      ValueError: if there is no such device.
    """
    platform_name, _, index = (name or jax.default_backend()).partition(":")
    try:
        devices = jax.devices(platform_name)
    except RuntimeError:
        devices = []
    position = int(index) if index.isdigit() else 0 if not index else -1
    if not 0 <= position < len(devices):
        there = ", ".join(f"{d.platform}:{d.id}" for d in jax.local_devices())
        raise ValueError(f"device is {name!r}, which this machine does not have; it has {there}.")
    return devices[position]


def check_rounds(rounds: int) -> None:
    """Raises ValueError unless something is timed at all."""
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; expected an integer of at least 1.")


def check_peers(
    names: Sequence[str], known: Sequence[str], installed: Callable[[str], bool]
) -> list[str]:
    """Which of the peers asked for are not installed; they are named and left out.

    Raises:
      ValueError: if there is no such peer.
    """
    for name in names:
        if name not in known:
            raise ValueError(f"peers has {name!r}; expected some of {', '.join(known)}.")
    missing = [name for name in names if not installed(name)]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    return missing


def environment(device: Any) -> dict[str, Any]:
    """Where and with what a run was made."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    settings = ("XLA_FLAGS", "GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "OMP_NUM_THREADS")
    return {
        "device": f"{device.platform} ({device.device_kind})",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": found,
        "settings": {name: os.environ[name] for name in settings if name in os.environ},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def commit() -> str | None:
    """The commit of the checkout, with a + where files differ from it; None outside of one."""
    folder = Path(__file__).parent
    ask = lambda *args: subprocess.run(
        ["git", *args], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        return ask("rev-parse", "--short", "HEAD") + ("+" if ask("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def interleave(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round, one after another within a round.

    Each is called twice before the first round, and must hand out arrays to wait for.
    """
    for run in runs.values():
        for _ in range(2):
            jax.block_until_ready(run())
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for name in turns(runs, rounds):
        start = time.perf_counter()
        jax.block_until_ready(runs[name]())
        seconds[name].append(time.perf_counter() - start)
    return seconds


def turns(names: Iterable[str], rounds: int) -> Iterator[str]:
    """Whose turn it is: the order turns by one from round to round.

    So nobody always follows the same neighbour.
    """
    order = list(names)
    for turn in range(rounds):
        first = turn % len(order)
        yield from order[first:] + order[:first]


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The median of each contender's seconds."""
    return {name: float(np.median(values)) for name, values in seconds.items()}


def geometric_mean(values: Sequence[float]) -> float:
    """exp of the mean logarithm."""
    return float(np.exp(np.mean(np.log(values))))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def write_json(folder: RunFolder, name: str, result: dict[str, Any]) -> None:
    """Writes a result as NAME.json."""
    folder.write_text(f"{name}.json", json.dumps(result, indent=1) + "\n")


def command(
    main: Callable[..., None],
    settings: type,
    name: str,
    purpose: str | None,
    args: Sequence[str] | None = None,
) -> int:
    """Reads the settings of a benchmark from the command line and runs it in its folder.

    Returns:
      0, or 2 after a wrong argument.
    """
    import tyro

    chosen = tyro.cli(settings, prog=f"python -m benchmarks.{name}", description=purpose, args=args)
    try:
        if not hasattr(chosen, "out"):
            main(chosen)
            return 0
        with RunFolder(chosen.out, name) as folder:
            main(chosen, folder)
        return 0
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
