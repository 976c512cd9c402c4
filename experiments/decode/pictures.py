"""A tree of hypotheses and an alignment as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import Normalize

from experiments.decode.alignment import check_weights
from experiments.decode.tree import Node

LETTER = 0.085  # inches that a character takes at FONT points
FONT = 9
NARROWEST, WIDEST = 40, 180  # characters; longer trees are drawn smaller


def draw_tree(root: Node, path: Path, title: str = "") -> Path:
    """Draws a prefix tree from left to right, the colour of a branch its best score."""
    leaves = list(root.leaves())
    places = {id(leaf): -number for number, leaf in enumerate(leaves)}
    deepest = _depth(root)
    columns = max(deepest + 9, NARROWEST)
    scale = min(1.0, WIDEST / columns)
    size = (LETTER * scale * columns, 0.9 + 0.34 * len(leaves))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    scores = [leaf.score for leaf in leaves]
    spread = max(max(scores) - min(scores), 1e-9)
    colour = Normalize(min(scores) - 0.35 * spread, max(scores))
    _draw(axes, root, 0, places, lambda score: plt.colormaps["viridis_r"](colour(score)), scale)
    for leaf in leaves:
        label = f"{leaf.score:.3f}"
        axes.text(deepest + 1.5, places[id(leaf)], label, va="center", fontsize=FONT * scale)
    axes.text(deepest + 1.5, 0.75, "score", va="center", fontsize=FONT * scale)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(0.4 - len(leaves), 1.1))
    axes.set_title(title, loc="left", fontsize=FONT + 1)
    axes.set_axis_off()
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)
    return path


def _depth(node: Node) -> int:
    return len(node.text) + 1 + max(map(_depth, node.children), default=0)


def _draw(axes, node: Node, at: float, places: dict[int, int], colour, scale: float) -> float:
    """Draws a node that begins at column `at`; returns its height."""
    end = at + len(node.text) + 1
    heights = [_draw(axes, child, end, places, colour, scale) for child in node.children]
    height = places[id(node)] if node.leaf else heights[0]  # the best branch goes straight on
    line = dict(color=colour(node.score), lw=1.6, solid_capstyle="round")
    axes.plot([at, end], [height - 0.3] * 2, **line)
    for other in heights:
        axes.plot([end, end], [height - 0.3, other - 0.3], color="0.7", lw=1.0, zorder=1)
    how: dict[str, Any] = dict(family="monospace", fontsize=FONT * scale, va="center")
    for column, letter in enumerate(node.text):  # letter by letter: columns stay in line
        axes.text(at + column + 0.9, height, letter, ha="center", **how)
    return height


def draw_alignment(
    weights: Any, source: Sequence[str], written: Sequence[str], path: Path, title: str = ""
) -> Path:
    """Draws weights [L, S]: a row for each written token, a column for each source token."""
    weights = check_weights(weights, source, written)
    size = (1.8 + 0.34 * len(source), 1.3 + 0.34 * len(written))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    image = axes.imshow(weights, cmap="Greys", vmin=0, vmax=1)
    axes.set_xticks(range(len(source)), source)
    axes.set_yticks(range(len(written)), written)
    axes.xaxis.tick_top()
    axes.set_xlabel("source")
    axes.set_ylabel("written")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, label="weight", fraction=0.05)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)
    return path
