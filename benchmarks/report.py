"""Writes the tables of README.md and docs/speed.md from benchmarks/results/.

    python -m benchmarks.report

Each table stands between two comments of a page, `<!-- NAME -->` and `<!-- end -->`, and the text
around it is written by hand. A test compares the pages with the results. To measure again, run a
benchmark and copy its runs/benchmarks/NAME/NAME.json to benchmarks/results/NAME-cpu.json.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import geometric_mean, table
from benchmarks.unroll import best_peer

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
PAGES = ROOT / "README.md", ROOT / "docs" / "speed.md"
HEADLINE_SHAPES = [32, 128, 256, 256], [1, 256, 64, 128]
BETWEEN = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Rows = list[dict[str, Any]]


def results(name: str) -> Rows:
    """The rows of one benchmark's run on a CPU."""
    return json.loads((FOLDER / "results" / f"{name}-cpu.json").read_text())["rows"]


def ratio(row: dict[str, Any], name: str) -> str:
    """seqjax's time to another's."""
    seconds = row["seconds"]
    return f"{seconds['seqjax'] / seconds[name]:.2f}" if name in seconds else ""


def training_steps() -> Rows:
    """Value and gradient of one layer, at every shape."""
    return [row for row in results("unroll") if row["table"] == "train"]


def training_line(row: dict[str, Any], *others: str) -> list[str]:
    """Cell, shape, milliseconds, and ratios to the best JAX peer and to others."""
    best = best_peer(row["seconds"])[0]
    shape, ours = " ".join(map(str, row["shape"])), 1e3 * row["seconds"]["seqjax"]
    line = [row["kind"].upper(), shape, f"{ours:.1f}", f"{ratio(row, best)} ({best})"]
    return line + [ratio(row, name) for name in others]


def headline() -> str:
    """The README's rows: a batch of 32 and a single row, for each cell."""
    rows = [row for row in training_steps() if row["shape"] in HEADLINE_SHAPES]
    header = ["cell", "B T D H", "seqjax, ms", "to the best JAX library", "to PyTorch"]
    slower = sum(row["seconds"]["torch"] < row["seconds"]["seqjax"] for row in training_steps())
    counted = f"PyTorch is faster at {slower} of the {len(training_steps())} shapes measured."
    return table(header, [training_line(row, "torch") for row in rows]) + f"\n\n{counted}"


def train() -> str:
    """A training step beside each kind of contender."""
    others = "flax.linen", "scan", "torch", "floor"
    lines = [training_line(row, *others) for row in training_steps()]
    own = "own step, by `scan`"
    header = ["cell", "B T D H", "seqjax, ms", "best JAX peer", "flax.linen", own]
    return table([*header, "PyTorch", "floor"], lines)


def workloads() -> str:
    """All workloads in short, against the best JAX peer of each row."""
    titles = {
        "train": "training step",
        "forward": "forward alone",
        "ragged": "training step, ragged",
        "bidirectional": "training step, two bidirectional layers",
        "step": "one step, called from Python",
    }
    rows, lines = results("unroll"), []
    for name, title in titles.items():
        line = [title]
        for kind in ("lstm", "gru"):
            here = [row for row in rows if (row["table"], row["kind"]) == (name, kind)]
            ratios = [row["seconds"]["seqjax"] / best_peer(row["seconds"])[1] for row in here]
            line += [f"{geometric_mean(ratios):.2f}", f"{max(ratios):.2f}"]
        lines.append(line)
    return table(["to the best JAX peer", "LSTM, mean", "worst", "GRU, mean", "worst"], lines)


def memory() -> str:
    """Checkpointing policies, for both losses."""
    rows = [row for row in results("memory") if row["table"] == "remat"]
    lines = []
    for name in dict.fromkeys(row["policy"] for row in rows):
        line = ["differentiated `lax.scan` of the step" if name == "scan" else f"`remat={name}`"]
        for loss in ("carry", "ys"):
            row, plain = (
                next(r for r in rows if (r["loss"], r["policy"]) == (loss, policy))
                for policy in (name, "scan")
            )
            factor, time = plain["bytes"] / row["bytes"], row["seconds"] / plain["seconds"]
            line += [f"{row['bytes'] / 1e6:.1f}", f"{factor:.1f}", f"{time:.2f}"]
        lines.append(line)
    header = ["", "loss on the last carry: MB", "times less", "time"]
    return table([*header, "loss on all ys: MB", "times less", "time"], lines)


def windows() -> str:
    """Truncated backpropagation at growing T."""
    rows = [row for row in results("memory") if row["table"] == "truncate"]
    lengths = list(dict.fromkeys(row["length"] for row in rows))
    lines = [
        [f"`{name}`", *(f"{r['bytes'] / 1e6:.1f}" for r in rows if r["policy"] == name)]
        for name in dict.fromkeys(row["policy"] for row in rows)
    ]
    return table(["temporaries, MB", *(f"T = {length:,}" for length in lengths)], lines)


def compilation() -> str:
    """Seconds to compile, and ratios."""
    rows = results("compile")
    names = list(dict.fromkeys(n for row in rows for n in row["seconds"] if n != "seqjax"))
    lines = []
    for row in rows:
        shape, ours = " ".join(map(str, row["shape"])), row["seconds"]["seqjax"]
        lines.append([row["kind"].upper(), shape, f"{ours:.2f}", *(ratio(row, n) for n in names)])
    return table(["cell", "B T D H", "seqjax, s", *names], lines)


def long() -> str:
    """Training steps at T = 100,000."""
    lines = []
    for row in results("memory"):
        if row["table"] == "long":
            losses = " ".join(f"{loss:.4f}" for loss in row["losses"])
            used, peak = f"{row['bytes'] / 1e6:.0f}", f"{row['peak'] / 2**30:.2f}"
            title = {"carry": "the last carry", "ys": "all ys"}[row["loss"]]
            lines.append([title, used, peak, f"{row['seconds']:.0f}", losses])
    header = ["loss on", "temporaries, MB", "peak of the process, GiB", "s a step"]
    return table([*header, "losses of three steps"], lines)


def decoding() -> str:
    """A search's time to the floor's, keras-hub's and the textbook's, at growing batch sizes."""
    others = ("floor", "keras_hub", "python")
    found: dict[tuple[int, int], dict[int, dict[str, Any]]] = {}
    for row in results("decode"):
        batch_size, beam_size, vocab_size = row["shape"]
        found.setdefault((vocab_size, beam_size), {})[batch_size] = row
    lines = []
    for (vocab_size, beam_size), rows in found.items():
        speed = (f"{b / row['seconds']['seqjax'] * row['max_len']:,.0f}" for b, row in rows.items())
        ratios = (" ".join(ratio(row, name) for row in rows.values()) for name in others)
        lines.append([f"{vocab_size:,}", beam_size, " ".join(speed), *ratios])
    return table(["V", "K", "tokens/s", "floor", "keras-hub", "python"], lines)


def recurrences() -> str:
    """The default of `linear_scan` beside the other methods, milliseconds and ratios."""
    rows = [row for row in results("linear") if row["table"] == "methods"]
    names = [name for name in rows[0]["seconds"] if name not in ("seqjax", "sequential")]
    lines = []
    for row in rows:
        shape, ours = " ".join(map(str, row["shape"])), 1e3 * row["seconds"]["seqjax"]
        lines.append([row["pass"], shape, f"{ours:.2f}", *(ratio(row, name) for name in names)])
    return table(["", "B T H", "`linear_scan`, ms", *names], lines)


def linear_cells() -> str:
    """The time of each cell's `unroll` to that of its own step under `scan`."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in results("linear"):
        if row["table"] == "cells":
            found.setdefault(row["kind"], []).append(row)
    lines = []
    for kind, rows in found.items():
        times = (f"{1e3 * row['seconds']['seqjax']:.1f}" for row in rows)
        ratios = (ratio(row, "step") for row in rows)
        lines.append([kind, " ".join(map(str, rows[0]["shape"])), *times, *ratios])
    header = ["cell", "B T H", "forward, ms", "gradient, ms", "forward, to its step"]
    return table([*header, "gradient, to its step"], lines)


TABLES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        *(headline, train, workloads, compilation, memory, windows, long),
        *(decoding, recurrences, linear_cells),
    )
}


def rewritten(text: str) -> str:
    """A page with all its tables written again.

    Raises:
      ValueError: if it names a table that does not exist.
    """

    def one(match: re.Match) -> str:
        begin, name, end = match.groups()
        if name not in TABLES:
            known = ", ".join(TABLES)
            raise ValueError(f"a page has a table {name!r}; expected one of {known}.")
        return f"{begin}{TABLES[name]()}\n{end}"

    return BETWEEN.sub(one, text)


def main(args: list[str] | None = None) -> int:
    """Writes the pages that change; returns 2 where one cannot be read or names no table."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(args)
    try:
        for page in PAGES:
            text = page.read_text("utf-8")
            if (new := rewritten(text)) != text:
                page.write_text(new, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
