"""Cleans ABC transcriptions down to what sounds and what shows the metre.

Kept: pitches, accidentals, durations, ties, tuplets, grace notes, chords of notes, bar lines,
repeats, numbered endings, and (because they show the metre) spaces between beams and line breaks.
Dropped: what transcribers add by habit and unevenly (fingerings, bowings, dynamics, ornament
signs, slurs, alignment spaces, comments, lyrics) and every field but the rhythm R:, the metre M:,
the unit note length L: and the key K:, which are written in this order and in one spelling.

References:
  The ABC music standard 2.1, 2011: fields (section 3), the tune body (section 4).
"""

import re

FIELD = re.compile(r"\s*([A-Za-z]):(?![|:])\s*(.*)")
TONIC = re.compile(r"([A-G][b#]?)\s*([A-Za-z]*)")
MODES = {"m": "m", "n": "m", "min": "m", "aeo": "m", "": "", "maj": "", "ion": ""}  # n: a misprint
SAME_RHYTHM = {"slipjig": "slip jig"}
SAME_METRE = {"4/4": "C", "2/2": "C|"}
NUMBER = "[1-9][0-9]{0,2}"  # above or below in a fraction
MIN_NOTES = 8  # shorter than any tune

# In this order; each pair is (pattern, replacement) on lines of music.
RULES = [
    (r"(?m)\\$", ""),  # the printed line goes on; the tune does anyway
    (r'"[^"\n]*"', ""),  # chord symbols, fingerings, expression marks
    (r"![^!|\s]{1,12}!", ""),  # decorations such as !mf!
    (r"\[[A-Z]:[^\]\n]*\]", ""),  # inline fields; those that matter are split off before
    (r"\+([^+|\n]*)\+", r"[\1]"),  # chords of ABC 1.6
    (r"\[\|\]", ""),  # invisible bar lines
    (r"\[\|", "|"),
    (r"x\d*", ""),  # invisible rests, which transcribers use as spacers
    (r"\((?!\d)", ""),  # slurs, but not tuplets
    (r"’", "'"),
    (r"\t", " "),
    (r"[^A-Ga-gz^_=,'/0-9<>|:\[\]{}(\- \n]", ""),  # all other signs
    (r" +", " "),
    (r" ?([<>]+) ?", r"\1"),
    (r" ?(\|\]|[|:]+) ?", r"\1"),  # bar lines need no space
    (r"(?m)^ | $", ""),
    (r"(\([2-9]) ", r"\1"),
    (r"([|:])\[([1-9])", r"\1\2"),  # |[1 and :|[2 are |1 and :|2
    (r"(?m)((?:^|[|:])\[?[1-9]) ", r"\1"),
    (r":\|+:|:\|\|:", "::"),
    (r":\|\|", ":|"),
    (r"\|\|:", "|:"),
    (r"\|{3,}", "||"),
    (r"(\|:|::)\|(?![:\]1-9])", r"\1"),
    (r"\|{2,}\]", "|]"),
    (r":\|?\]", ":|"),
    (r"\|{2,}([1-9])", r"|\1"),
    (r"//", "/4"),
    (r"(?<=[A-Ga-gz,'\]0-9])/2(?!\d)", "/"),
    (r"(?<=[A-Ga-gz,'\]])1(?![0-9/])", ""),
]
COMPILED_RULES = [(re.compile(pattern), replacement) for pattern, replacement in RULES]
INLINE_FIELD = re.compile(r"\[([KML]:[^\]\n]*)\]")


def clean_tune(source: str) -> str | None:
    """The cleaned text of one transcription: header lines, then lines of music, no final newline.

    Args:
      source: one tune as printed in an ABC file, from its X: line to the next tune.

    Returns:
      The text, or None where there is no key, no music, or more than one voice.

    Example:
      >>> print(clean_tune('X:1\\nT:Air\\nM:4/4\\nL:1/8\\nK:D Major\\n"D"(AB) ~d2 | d4 cBAG |'))
      M:C
      L:1/8
      K:D
      AB d2|d4 cBAG|
    """
    lines = [line.strip() for line in INLINE_FIELD.sub(r"\n\1\n", source).strip().splitlines()]
    lines = [line.split("%")[0].rstrip() for line in lines if not line.startswith("%")]
    header, at = _read_header(lines)
    body, music = [], []
    for line in lines[at:]:
        if not line and music:  # an empty line ends a tune
            break
        field = FIELD.fullmatch(line)
        if not field:
            music.append(line)
        elif value := _field_value(*field.groups()) if field[1] in "MLK" else "":
            body += [*clean_music("\n".join(music)).splitlines(), f"{field[1]}:{value}"]
            music = []
    body += clean_music("\n".join(music)).splitlines()
    several_voices = re.search(r"(?m)^V:|\[V:", source)
    return None if several_voices else _assemble(header, body)


def clean_music(text: str) -> str:
    """Lines of music, without fields, in one spelling."""
    for pattern, replacement in COMPILED_RULES:
        text = pattern.sub(replacement, text)
    return text


def _read_header(lines: list[str]) -> tuple[dict[str, str], int]:
    """The fields up to K:, by letter, the first of each; and the number of the line after K:."""
    header: dict[str, str] = {}
    for at, line in enumerate(lines):
        field = FIELD.fullmatch(line)
        if field and field[1] not in header:
            header[field[1]] = _field_value(*field.groups())
        if field and field[1] == "K":
            return header, at + 1
    return header, len(lines)


def _assemble(header: dict[str, str], body: list[str]) -> str | None:
    """The tune's text from its field values and cleaned lines; None where too little is left."""
    body = _bar_lines_at_line_ends([line for line in body if line])
    music = [line for line in body if not FIELD.fullmatch(line)]
    notes = sum(character in "ABCDEFGabcdefg" for line in music for character in line)
    if notes < MIN_NOTES or not header.get("K") or not header.get("M"):
        return None
    # Section 3.1.7 of the standard: the unit where L: is missing.
    header.setdefault("L", "1/16" if _metre_length(header["M"]) < 0.75 else "1/8")
    fields = [f"{letter}:{header[letter]}" for letter in "RMLK" if header.get(letter)]
    return "\n".join(fields + body)


def _bar_lines_at_line_ends(body: list[str]) -> list[str]:
    """Moves a bar line that starts a line to the end of the line before, as most books print it."""
    lines: list[str] = []
    for line in body:
        opens = re.match(r"\|{1,2}(?![|:\]1-9])", line)
        if opens:
            line = line[opens.end() :]
            if lines and lines[-1][-1] not in "|:]" and not FIELD.fullmatch(lines[-1]):
                lines[-1] += opens[0]
        if line:
            lines.append(line)
    return lines


def _field_value(letter: str, value: str) -> str:
    """A field's value in one spelling, or an empty string where it says nothing."""
    value = value.strip()
    if letter == "K":
        return _key(value)
    if letter == "R":
        rhythm = " ".join(re.sub(r"[^a-z ]", "", value.lower()).split())
        return SAME_RHYTHM.get(rhythm, rhythm)
    if letter == "M":
        known = re.fullmatch(rf"C\|?|{NUMBER}/{NUMBER}", value)
        return SAME_METRE.get(value, value) if known else ""
    return value if letter == "L" and re.fullmatch(f"1/{NUMBER}", value) else ""


def _key(value: str) -> str:
    """A key as tonic and mode in three letters or fewer: D, Em, Amix, Gdor."""
    if value.upper().startswith("HP"):  # Highland pipes play two sharps around A
        return "Amix"
    match = TONIC.match(value)
    if not match:
        return ""
    tonic, mode = match.groups()
    if mode == "M":
        return tonic
    return tonic + MODES.get(mode.lower()[:3], mode.lower()[:3])


def _metre_length(metre: str) -> float:
    """A bar's length in whole notes: 0.75 for 6/8, 1 for C and C|."""
    if metre.startswith("C"):
        return 1.0
    beats, unit = metre.split("/")
    return int(beats) / int(unit)
