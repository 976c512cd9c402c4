"""Pictures of benchmark results."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


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
        for axis_format in (panel.yaxis.set_major_formatter, panel.yaxis.set_minor_formatter):
            axis_format("{x:.2g}")
        panel.set_xticks(range(len(others)), others, rotation=60, ha="right")
        panel.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
