"""Pictures of benchmark results."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import LogLocator, NullLocator  # noqa: E402


def draw_ratios(rows: list[dict[str, Any]], path: Path) -> None:
    """One panel a table: seqjax's time over each contender's, a dot a shape, on a log axis."""
    tables = list(dict.fromkeys(row["table"] for row in rows))
    figure, panels = plt.subplots(
        1, len(tables), figsize=(3.6 * len(tables), 3.8), squeeze=False, layout="constrained"
    )
    for panel, name in zip(panels[0], tables, strict=True):
        here = [row for row in rows if row["table"] == name]
        others = list(dict.fromkeys(n for row in here for n in row["seconds"] if n != "seqjax"))
        for kind, marker in zip(dict.fromkeys(r["kind"] for r in here), "os^", strict=False):
            points = [
                (others.index(n), row["seconds"]["seqjax"] / seconds)
                for row in here
                if row["kind"] == kind
                for n, seconds in row["seconds"].items()
                if n != "seqjax"
            ]
            panel.plot(*zip(*points, strict=True), marker, alpha=0.6, label=kind)
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set(title=name, yscale="log", ylabel="time of seqjax / time of the other")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        panel.yaxis.set_major_formatter("{x:.2g}")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_xticks(range(len(others)), others, rotation=60, ha="right")
        panel.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_memory(rows: list[dict[str, Any]], path: Path) -> None:
    """Temporaries against time, a dot a policy; and temporaries against T."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    remat = [row for row in rows if row["table"] == "remat"]
    for loss, marker in zip(dict.fromkeys(row["loss"] for row in remat), "os", strict=False):
        here = [row for row in remat if row["loss"] == loss]
        for color, row in enumerate(here):
            time = row["seconds"] / here[0]["seconds"]
            name = row["policy"] if marker == "o" else None
            left.plot(row["bytes"] / 1e6, time, marker, color=f"C{color}", label=name)
    left.set(title="circles: loss on the carry, squares: on ys", xscale="log")
    left.set(xlabel="temporaries, MB", ylabel="time / that of a differentiated lax.scan")
    left.axhline(1, color="black", linewidth=0.8)
    truncate = [row for row in rows if row["table"] == "truncate"]
    for name in dict.fromkeys(row["policy"] for row in truncate):
        here = [row for row in truncate if row["policy"] == name]
        points = [(row["length"], row["bytes"] / 1e6) for row in here]
        right.plot(*zip(*points, strict=True), "o-", label=name)
    right.set(title="truncated backpropagation", xscale="log", yscale="log")
    right.set(xlabel="T", ylabel="temporaries, MB")
    for panel in (left, right):
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
