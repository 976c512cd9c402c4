"""Ties of ABC text: which of them join two notes, and how many notes are then struck.

A tie joins two notes of one pitch, and nothing else; what a reader such as music21 takes for joined
because it is written after a "-" would be lost from what is played.

References:
  The ABC music standard 2.1, 2011, section 4.11: ties and slurs.
"""

import re

FIELD = r"^[A-Z]:(?![|:]).*$"
GRACE = r"\{[^}]*\}?"
PITCH = r"(?P<accidental>[_^=]*)(?P<name>[A-Ga-gz][,']*)"
TOKEN = re.compile(rf"{FIELD}|{GRACE}|(?P<chord>\[[^\]|]*\])|{PITCH}|(?P<tie>-)", re.MULTILINE)
STRUCK = re.compile(rf"(?P<field>{FIELD})|(?P<note>[A-Ga-g])|(?P<tie>-)", re.MULTILINE)


def mend_ties(text: str) -> str:
    """The same music with those ties alone that join a note to the next one, of the same pitch.

    Ties of chords go too: all of their notes are struck again.

    Example:
      >>> mend_ties("c4-c2 c2-|d4-z4|^c8-|c8-|=c8|[ce]4-[ce]4|")
      'c4-c2 c2|d4z4|^c8-|c8|=c8|[ce]4[ce]4|'
    """
    dropped: list[int] = []
    last: tuple[str, str] | None = None  # accidental and name of the note before
    waiting: int | None = None  # where the tie stands that follows it
    for token in TOKEN.finditer(text):
        if token["tie"]:
            if last is None or waiting is not None:
                dropped.append(token.start())
            else:
                waiting = token.start()
        elif token["chord"] or token["name"]:
            note = None if token["chord"] else (token["accidental"], token["name"])
            if waiting is not None and not _joined(last, note):
                dropped.append(waiting)
            if waiting is not None and _joined(last, note) and note and last:
                note = last[0], note[1]  # the accidental is carried by the tie
            waiting = None
            last = None if note is None or note[1].startswith("z") else note
            dropped += [token.start() + at.start() for at in re.finditer("-", token["chord"] or "")]
    gone = {*dropped, waiting}
    return "".join(character for at, character in enumerate(text) if at not in gone)


def struck_notes(text: str) -> int:
    """How many notes are struck in a tune without repeats: all but those that a tie joins.

    Example:
      >>> struck_notes("K:D\\nc4-c2-{ef}d2|[ce]4z4|")
      6
    """
    found = STRUCK.finditer(mend_ties(text))
    return sum(1 if one["note"] else -1 for one in found if not one["field"])


def _joined(last: tuple[str, str] | None, note: tuple[str, str] | None) -> bool:
    return last is not None and note is not None and last[1] == note[1] and note[0] in ("", last[0])
