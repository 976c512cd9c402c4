"""Hypotheses as a prefix tree: what they share is written once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

END, CUT = "■", "…"  # how a hypothesis that ended, and one that was cut off, is closed
LINE_BREAK = "↵"


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
