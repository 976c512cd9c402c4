"""Writes out the repeats of an ABC tune, with first and second endings.

    |:A|1B:|2C||   is played   A|B|A|C|

References:
  The ABC music standard 2.1, 2011, sections 4.8 and 4.9: repeat signs, first and second repeats.
"""

import re

FIELD_LINE = re.compile(r"(?m)^([A-Z]:(?![|:]).*\n?)")
BAR_LINE = re.compile(r"([|:]+\]?(?:\s*\[?[1-9])?|\[[1-9])")


def write_out_repeats(text: str) -> str:
    """The same music without repeat signs; fields such as a new key begin a new section.

    Args:
      text: a tune, cleaned as in `abc_text`. Signs that match nothing are passed over.

    Example:
      >>> write_out_repeats("|:A2|B2:|c2||")
      'A2|B2|A2|B2|c2|'
    """
    parts = FIELD_LINE.split(text)
    return "".join(part if at % 2 else _write_out(part) for at, part in enumerate(parts))


def _write_out(music: str) -> str:
    """Music without fields. A section is what a sign repeats: common bars, then one ending."""
    pieces = BAR_LINE.split(music)
    played: list[str] = []
    common: list[str] = []
    ending: list[str] | None = None
    for bars, sign in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        section = common if ending is None else ending
        if bars.strip() or (bars and not sign):
            section.append(bars + ("|" if sign else ""))
        elif bars and section:
            section.append(bars)
        numbered = sign[-1:].isdigit()
        if numbered:
            if sign.startswith(":") and ending is None:  # no first ending was marked
                played += common
            if ending is not None:
                played += common + ending
            ending = []
        elif sign.startswith(":") or sign.endswith((":", "]")) or "||" in sign or not sign:
            repeated = sign.startswith(":") and ending is None
            played += common * (2 if repeated else 1) + (ending or [])
            common, ending = [], None
    return "".join(played)
