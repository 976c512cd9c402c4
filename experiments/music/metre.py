"""Tunes in metre: a finite automaton of ABC text in which every bar has the length it should.

A state holds where the text stands: in the header which field is read, in the music how much of
the bar is filled. Lengths are counted in quarters of the unit note. What it knows is the plain
part of the language that most tunes keep to: single notes, triplets of equal notes, broken rhythm
between equal notes, grace notes, ties, repeats and endings; no chords, no change of metre or key.

References:
  The ABC music standard 2.1, 2011, sections 4.3 to 4.13.
"""

from fractions import Fraction
from typing import NamedTuple

from experiments.music.abc_check import COMMON_METRE, note_length
from experiments.sources.vocabulary import BOUNDARY, Vocabulary
from seqjax.decoding import Automaton, explored_automaton

METRES = ("6/8", "C|", "2/4", "C", "3/4", "9/8", "12/8", "3/8", "4/4", "2/2")
UNITS = ("1/8", "1/16", "1/4")
BARS = (3, 4, 6, 8, 9, 12)  # unit notes in a bar
LENGTHS = ("", "2", "3", "4", "6", "8", "/", "3/", "/4", "3/4")
IN_GROUPS = ("", "2", "/")
QUARTERS = {length: int(4 * note_length(length)) for length in LENGTHS}
BAR_LINES = ("|", "||", "|]", "|:", ":|", "::")
LAST = ("|", "||", "|]", ":|")  # bar lines that may end a tune
NOTES = "ABCDEFGabcdefg"
NEXT_FIELD = {"": "RM", "R": "M", "M": "L", "L": "K"}


class Header(NamedTuple):
    """The line that is being read, as far as it matters, and what the lines before it said."""

    line: str = ""
    after: str = ""  # the letter of the line before
    metre: str = ""


class Music(NamedTuple):
    """Where the text stands in a bar."""

    bar: int  # its length, in quarters of the unit note
    kind: str = "line"  # what was read last
    filled: int = 0  # the length of its notes, without one that may become longer
    written: str = ""  # of that note's length, of a bar line, or a count of grace notes
    same: str | None = None  # the length which a note must have: the one before it in its group
    left: int = 0  # notes of a group still to come: 3 of a triplet, 1 after a broken rhythm
    share: int = 0  # what a group adds to the bar when it is over, in lengths of one of its notes
    edge: bool = True  # whether the bar begins a section, so that it may be short
    short: bool = False  # whether a bar line must turn out to be an end


def metre_automaton(vocabulary: Vocabulary, prompt: str = "") -> Automaton:
    """What may follow a prompt so that every bar of the tune is complete, as `check_bars` sees it.

    Raises:
      ValueError: if the prompt itself is no such text.
    """
    place: Header | Music | None = Header()
    for at, character in enumerate(prompt):
        place = advance(place, character)
        if place is None:
            raise ValueError(
                f"the prompt {prompt!r} cannot be followed in metre: {character!r} at {at} is not "
                "expected there; begin it with R:, M:, L: and K: lines as the tunes do"
            )
    characters = {number: c for number, c in enumerate(vocabulary.characters, BOUNDARY + 1)}

    def follow(place, token: int):
        return advance(place, characters[token]) if token in characters else None

    return explored_automaton(place, follow, complete, len(vocabulary))


def advance(place: Header | Music, character: str) -> Header | Music | None:
    """One character further; None where it cannot come."""
    if isinstance(place, Header):
        return _header(place, character)
    return _RULES[place.kind](place, character)


def complete(place: Header | Music) -> bool:
    """Whether a tune may end here: after a bar line, or after a note that fills its bar."""
    if isinstance(place, Header):
        return False
    if place.kind == "bar":
        return place.written in LAST and not place.short
    over = _note_over(place) if place.kind in ("note", "octave", "length") else None
    return over is not None and over.filled == place.bar


def _header(place: Header, character: str) -> Header | Music | None:
    line, letter = place.line + character, place.line[:1]
    if len(line) <= 2:
        known = character in NEXT_FIELD[place.after] if len(line) == 1 else character == ":"
        return place._replace(line=line) if known else None
    value = line[2:]
    if character == "\n":
        return _field_over(place, letter, place.line[2:])
    if letter in "ML":
        begins = any(one.startswith(value) for one in (METRES if letter == "M" else UNITS))
        return place._replace(line=line) if begins else None
    allowed = character.isalpha() or character in (" " if letter == "R" else "#")
    return place._replace(line=f"{letter}:?") if allowed else None


def _field_over(place: Header, letter: str, value: str) -> Header | Music | None:
    if letter == "M":
        return Header(after="M", metre=value) if value in METRES else None
    if letter == "L":
        if value not in UNITS:
            return None
        bar = Fraction(COMMON_METRE.get(place.metre, place.metre)) / Fraction(value)
        return Header(after="L", metre=str(bar)) if bar in BARS else None
    if not value:
        return None
    return Music(4 * int(place.metre)) if letter == "K" else Header(after="R")


def _note(place: Music, character: str) -> Music | None:
    """What begins a note, if there is room."""
    if place.filled == place.bar:
        return None
    if character in "^_=":
        return place._replace(kind="sign", written="")
    if character == "z":
        return place._replace(kind="octave", written="")
    return place._replace(kind="note", written="") if character in NOTES else None


def _sign(place: Music, character: str) -> Music | None:
    return place._replace(kind="note") if character in NOTES else None


def _begin(place: Music, character: str) -> Music | None:
    """What may come where a note may: a note, a triplet or grace notes."""
    if character == "(":
        return place._replace(kind="paren")
    if character == "{":
        return place._replace(kind="grace", written="0")
    return _note(place, character)


def _paren(place: Music, character: str) -> Music | None:
    return place._replace(kind="group", left=3, share=2, same=None) if character == "3" else None


def _grace(place: Music, character: str) -> Music | None:
    if character == "}" and place.written > "0":
        return place._replace(kind="graced", written="")
    if character in NOTES and place.written < "4":
        return place._replace(written=str(int(place.written) + 1))
    return place if character in "^_='," else None


def _in_note(place: Music, character: str) -> Music | None:
    """After a note's letter, octave or a part of its length."""
    if place.kind == "note" and character in ",'":
        return place._replace(kind="octave")
    written = place.written + character
    lengths = LENGTHS if place.left == 0 else IN_GROUPS if place.same is None else (place.same,)
    if any(length.startswith(written) for length in lengths):
        return place._replace(kind="length", written=written)
    if character in "<>":
        fits = place.left == 0 and place.written in IN_GROUPS
        fits = fits and place.filled + 2 * QUARTERS[place.written] <= place.bar
        how = dict(kind="group", same=place.written, left=1, share=2, written="")
        return place._replace(**how) if fits else None
    over = _note_over(place)
    return None if over is None else _between(over, character)


def _note_over(place: Music) -> Music | None:
    """The bar with the note's length in it; None where it does not fit."""
    if place.written not in QUARTERS or place.same not in (None, place.written):
        return None
    filled = place.filled + QUARTERS[place.written] * max(place.share, 1)
    if filled > place.bar:
        return None
    if place.left > 1:
        return place._replace(kind="group", same=place.written, left=place.left - 1, written="")
    return Music(place.bar, "gap", filled, edge=place.edge)


def _between(place: Music, character: str) -> Music | None:
    """After a note: inside a group the next one, else anything."""
    if place.kind == "group":
        return _note(place, character)
    return place._replace(kind="tie") if character == "-" else _after_tie(place, character)


def _after_tie(place: Music, character: str) -> Music | None:
    if character in " \n":
        return place._replace(kind="space")
    if character in "|:":
        short = not (place.filled == place.bar or place.edge)
        return Music(place.bar, "bar", written=character, short=short)
    return _begin(place, character)


def _bar_line(place: Music, character: str) -> Music | None:
    written = place.written + character
    if any(line.startswith(written) for line in BAR_LINES):
        return place._replace(written=written, short=place.short and written == "|")
    if place.written not in BAR_LINES:
        return None
    if character in "12" and place.written in ("|", ":|"):
        return Music(place.bar, "ending")
    if place.short:
        return None
    new = Music(place.bar, "line", edge=place.written != "|")
    return new if character == "\n" else _begin(new, character)


def _line(place: Music, character: str) -> Music | None:
    """At the start of a line, which is the start of a bar."""
    if character == "|":
        return place._replace(kind="open")
    return place._replace(kind="bracket") if character == "[" else _begin(place, character)


def _open(place: Music, character: str) -> Music | None:
    return Music(place.bar, "ending") if character == ":" else None


def _bracket(place: Music, character: str) -> Music | None:
    return Music(place.bar, "ending") if character in "12" else None


_RULES = {
    "line": _line,
    "open": _open,
    "bracket": _bracket,
    "ending": _begin,
    "bar": _bar_line,
    "space": _begin,
    "tie": _after_tie,
    "paren": _paren,
    "group": _note,
    "grace": _grace,
    "graced": _begin,
    "sign": _sign,
    "note": _in_note,
    "octave": _in_note,
    "length": _in_note,
}
