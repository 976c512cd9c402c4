"""A small check of ABC text: which bars have the length that the metre asks for.

References:
  The ABC music standard 2.1, 2011, sections 4.3 to 4.13: note lengths, broken rhythm, tuplets.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from experiments.music.repeats import TIMES

LENGTH = "[0-9]{0,4}/*[0-9]{0,4}"
TOKEN = re.compile(
    r"(?P<field>(?m:^)[A-Z]:(?![|:])(?P<value>.*)$)"
    r"|(?P<grace>\{[^}]*\}?)"
    rf"|(?P<bar>[|:]+\]?(?:\s*\[?{TIMES})?|\[{TIMES})"
    r"|\((?P<tuplet>[2-9])(?::(?P<time>[2-9])?(?::(?P<notes>[2-9])?)?)?"
    r"|(?P<broken>[<>]+)"
    rf"|(?:\[(?P<chord>[^\]|]*)\]|[_^=]*[A-Ga-gz][,']*)(?P<length>{LENGTH})",
    re.MULTILINE,
)
COMMON_METRE = {"C": "4/4", "C|": "2/2"}


@dataclass(frozen=True)
class BarCheck:
    """How many bars a tune has, and how many of them are complete."""

    bars: int
    complete: int

    @property
    def share(self) -> float:
        """Complete bars over bars; 0 for a tune without bars."""
        return self.complete / self.bars if self.bars else 0.0


def check_bars(text: str) -> BarCheck:
    """Compares each bar's length with the metre.

    A bar that starts or ends a section, that is, stands next to a repeat sign, a double bar, a
    numbered ending or an end of the tune, may be shorter: it is an upbeat or what completes one.
    Bars without notes are not counted; neither is music before the first M: field.

    Args:
      text: one tune, cleaned as in `abc_text`.

    Example:
      >>> check_bars("M:2/4\\nL:1/8\\nK:D\\nA|d2 fd|e2 c|d3||")
      BarCheck(bars=4, complete=3)
    """
    bars = complete = 0
    for length, metre, at_edge in _bars(text):
        bars += 1
        complete += length == metre or (at_edge and length < metre)
    return BarCheck(bars, complete)


def note_length(written: str) -> Fraction:
    """The factor that follows a note: "" is 1, "3/2" 3/2, "/" 1/2, "//" 1/4, "/4" 1/4.

    Example:
      >>> note_length("3//")
      Fraction(3, 4)
    """
    over = written.count("/")
    above, _, below = written.partition("/")
    below = below.replace("/", "")
    divisor = int(below) if below else 2**over
    return Fraction(int(above or 1), max(divisor, 1))


def _bars(text: str):
    """Yields (length, metre, whether at the edge of a section) in whole notes for each bar."""
    metre, unit = None, Fraction(1, 8)
    bar = _Bar()
    edge = True
    for token in TOKEN.finditer(text):
        if token["field"]:
            metre, unit = _fields(token["field"][0], token["value"], metre, unit)
        elif token["bar"]:
            ends = token["bar"].strip() != "|"
            if bar.lengths and metre:
                yield bar.length() * unit, metre, edge or ends
            if bar.lengths or ends:
                edge = ends
            bar = _Bar()
        elif token["tuplet"]:
            compound = metre is not None and metre.numerator % 3 == 0
            bar.start_tuplet(token["tuplet"], token["time"], token["notes"], compound)
        elif token["broken"]:
            bar.broken = token["broken"]
        elif not token["grace"]:
            bar.add(token["chord"], note_length(token["length"]))
    if bar.lengths and metre:
        yield bar.length() * unit, metre, True


def _fields(letter: str, value: str, metre: Fraction | None, unit: Fraction):
    """The metre and the unit note length after a field; unreadable values change nothing."""
    value = COMMON_METRE.get(value.strip(), value.strip())
    if letter in "ML" and re.fullmatch("[1-9][0-9]{0,3}/[1-9][0-9]{0,3}", value):
        if letter == "M":
            return Fraction(value), unit
        return metre, Fraction(value)
    return metre, unit


class _Bar:
    """Lengths of the notes of a bar, in unit notes."""

    def __init__(self):
        self.lengths: list[Fraction] = []
        self.broken = ""
        self.factor, self.left = Fraction(1), 0  # of a tuplet, and how many notes it still takes

    def start_tuplet(self, notes: str, time: str | None, taken: str | None, compound: bool):
        """(p:q:r puts p notes into the time of q for the next r notes."""
        usual = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(int(notes), 3 if compound else 2)
        self.factor = Fraction(int(time or usual), int(notes))
        self.left = int(taken or notes)

    def add(self, chord: str | None, length: Fraction):
        """Adds a note, or a chord, which is as long as its first note times what follows it."""
        if chord is not None:
            first = re.search(rf"[A-Ga-gz][,']*({LENGTH})", chord)
            length *= note_length(first[1]) if first else 0
        if self.left:
            length, self.left = length * self.factor, self.left - 1
        if self.broken and self.lengths:  # a>b: the first is dotted, the second halved
            short = Fraction(1, 2 ** len(self.broken))
            first, second = (2 - short, short) if self.broken[0] == ">" else (short, 2 - short)
            self.lengths[-1] *= first
            length *= second
        self.broken = ""
        self.lengths.append(length)

    def length(self) -> Fraction:
        """The bar's length in unit notes."""
        return sum(self.lengths, Fraction(0))
