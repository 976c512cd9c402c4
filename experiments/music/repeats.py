"""Writes out the repeats of an ABC tune, with an ending for each time or for several.

    |:A|1B:|2C||       is played   A|B|A|C|
    |:A|1,3B:|2C||     is played   A|B|A|C|A|B|

References:
  The ABC music standard 2.1, 2011, sections 4.8 and 4.9: repeat signs, first and second repeats.
"""

import re

FIELD_LINE = re.compile(r"(?m)^([A-Z]:(?![|:]).*\n?)")
TIMES = r"[1-9](?:[,-][1-9])*"  # of which repeats an ending is: 2, 1,3 or 1-3
BAR_LINE = re.compile(rf"([|:]+\]?(?:\s*\[?{TIMES})?|\[{TIMES})")


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
    """Music without fields. A section is what a sign repeats: common bars, then its endings."""
    pieces = BAR_LINE.split(music)
    played: list[str] = []
    common: list[str] = []
    endings: list[tuple[list[int], list[str]]] = []
    for bars, sign in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        section = endings[-1][1] if endings else common
        if bars.strip() or (bars and not sign):
            section.append(bars + ("|" if sign else ""))
        elif bars and section:
            section.append(bars)
        if sign[-1:].isdigit():
            if sign.startswith(":") and not endings:  # no first ending was marked
                endings.append(([1], []))
            endings.append((_times(sign), []))
        elif sign.startswith(":") or sign.endswith((":", "]")) or "||" in sign or not sign:
            played += _section(common, endings, repeated=sign.startswith(":"))
            common, endings = [], []
    return "".join(played)


def _times(sign: str) -> list[int]:
    """The repeats that a sign such as :|1,3-5 names."""
    found: list[int] = []
    for mark, digit in re.findall(r"(-?)([1-9])", sign):
        found += range(found[-1] + 1, int(digit) + 1) if mark else [int(digit)]
    return found


def _section(
    common: list[str], endings: list[tuple[list[int], list[str]]], repeated: bool
) -> list[str]:
    """The bars of a section in the order in which they sound: once, twice, or an ending a time."""
    if not endings:
        return common * (2 if repeated else 1)
    each = [(time, bars) for times, bars in endings for time in times]
    ordered = sorted(each, key=lambda one: one[0])
    return [bar for _, bars in ordered for bar in common + bars]
