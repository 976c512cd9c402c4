"""Hypotheses of a beam as a prefix tree, as text and as a figure: what they share stands once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

END, CUT = "■", "…"  # how a hypothesis that ended, and one that was cut off, is closed
LINE_BREAK = "↵"
LETTER = 0.085  # inches that a character takes at FONT points
FONT = 9
NARROWEST, WIDEST = 40, 180  # characters; longer trees are drawn smaller


@dataclass(frozen=True)
class Hypothesis:
    """The texts of its tokens, closed by END or CUT, its score and its log-probability in nats."""

    tokens: tuple[str, ...]
    score: float
    log_prob: float


@dataclass(frozen=True)
class Node:
    """A run of tokens that hypotheses share, and where they part; a leaf has its hypothesis."""

    text: str
    children: tuple["Node", ...] = ()
    leaf: Hypothesis | None = None

    @property
    def score(self) -> float:
        """The best score below."""
        return self.leaf.score if self.leaf else max(child.score for child in self.children)

    def leaves(self) -> Iterator["Node"]:
        """The leaves below, from the top down."""
        if self.leaf:
            yield self
        for child in self.children:
            yield from child.leaves()


def read_beams(beams, row: int, texts: Sequence[str], eos: int) -> list[Hypothesis]:
    """The hypotheses of one row of `Beams`; places without one are left out.

    Args:
      beams: tokens [B, K, L], scores, log_probs and lengths [B, K].
      row: which of B.
      texts: [V] what each token is written as.
      eos: the token that ends a sequence.
    """
    found = []
    for k, length in enumerate(np.asarray(beams.lengths[row]).tolist()):
        if length == 0:
            continue
        tokens: list[int] = np.asarray(beams.tokens[row, k, :length]).tolist()
        ended = tokens[-1] == eos
        written = [
            texts[token].replace("\n", LINE_BREAK) for token in tokens[: length - int(ended)]
        ]
        score, log_prob = float(beams.scores[row, k]), float(beams.log_probs[row, k])
        found.append(Hypothesis((*written, END if ended else CUT), score, log_prob))
    return found


def prefix_tree(hypotheses: Sequence[Hypothesis], text: str = "") -> Node:
    """The tree of some hypotheses, the best branch on top.

    Raises:
      ValueError: if there is none.

    Example:
      >>> found = [Hypothesis(("a", "b", END), -1.0, -1.0), Hypothesis(("a", END), -2.0, -2.0)]
      >>> tree = prefix_tree(found)
      >>> tree.text, [child.text for child in tree.children]
      ('a', ['b■', '■'])
    """
    if not hypotheses:
        raise ValueError("there is no hypothesis to draw; expected at least one")
    return _grow(sorted(hypotheses, key=lambda one: -one.score), 0, text)


def _grow(hypotheses: Sequence[Hypothesis], depth: int, text: str) -> Node:
    groups: dict[str, list[Hypothesis]] = {}
    for one in hypotheses:
        if depth == len(one.tokens):
            return Node(text, leaf=one)
        groups.setdefault(one.tokens[depth], []).append(one)
    if len(groups) == 1:
        ((token, group),) = groups.items()
        return _grow(group, depth + 1, text + token)
    return Node(text, tuple(_grow(group, depth + 1, token) for token, group in groups.items()))


def show_tree(root: Node) -> str:
    """The tree as lines of text, each leaf with its score and log-probability.

    Example:
      >>> found = [Hypothesis(("a", "b", END), -1.0, -1.0), Hypothesis(("a", END), -2.0, -2.0)]
      >>> print(show_tree(prefix_tree(found)))
      a
      ├─ b■  score -1.000  log p -1.000
      └─ ■   score -2.000  log p -2.000
    """
    lines = list(_lines(root, "", ""))
    width = max(len(line) for line, leaf in lines if leaf)
    return "\n".join(
        f"{line:<{width}}  score {leaf.score:.3f}  log p {leaf.log_prob:.3f}" if leaf else line
        for line, leaf in lines
    )


def _lines(node: Node, first: str, rest: str) -> Iterator[tuple[str, Hypothesis | None]]:
    yield first + node.text, node.leaf
    for child in node.children:
        last = child is node.children[-1]
        yield from _lines(
            child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")
        )


def draw_tree(root: Node, title: str = "") -> Any:
    """A figure of the tree from left to right, the colour of a branch its best score."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import Normalize

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
    return figure


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
