"""Turns ABC text into MIDI files with music21."""

import contextlib
import io
import re
import warnings
from pathlib import Path

from experiments.music.abc_ties import mend_ties, struck_notes
from experiments.music.repeats import write_out_repeats
from experiments.sources.text import INSTALL, DataError

# Usual speeds of dances by metre; for other metres music21 plays 120 quarter notes a minute.
TEMPO = {
    "C|": "1/2=90",
    "C": "1/4=160",
    "2/4": "1/4=100",
    "3/4": "1/4=130",
    "6/8": "3/8=110",
    "9/8": "3/8=110",
    "12/8": "3/8=110",
}


def write_midi(text: str, path: str | Path) -> str | None:
    """Writes one tune as a MIDI file, repeats played.

    Args:
      text: one tune, header and music, cleaned as in `abc_text`.
      path: the file to write; its folder exists.

    Returns:
      None when the file was written; otherwise why not, in one line, and there is no file.

    Raises:
      DataError: if music21 is missing.
      OSError: if the file cannot be written.
    """
    if not re.search(r"(?m)^K:", text):
        return "there is no key (a line K:...), which ends the header"
    path = Path(path)
    reason = None
    # music21 fails to re-bar some tunes; without a metre it leaves the bars alone.
    for attempt in (text, re.sub(r"(?m)^M:.*\n", "", text)):
        failure = _convert(_playable(attempt, tempo_of=text), path)
        if failure is None:
            return None
        reason = reason or failure
    path.unlink(missing_ok=True)
    return reason


def _playable(text: str, tempo_of: str) -> str:
    """A tune as music21 wants it: with a number and a speed, repeats written out, ties mended.

    music21 needs time that grows exponentially with the repeats to expand them by itself, and takes
    second endings for one bar long. Whatever follows a tie it does not strike again, also another
    pitch. A last bar without a bar line is no obstacle.
    """
    metre = re.search(r"(?m)^M:(.*)$", tempo_of)
    tempo = TEMPO.get(metre[1]) if metre else None
    speed = f"Q:{tempo}\n" if tempo and "\nQ:" not in f"\n{text}" else ""
    return f"X:1\n{speed}{mend_ties(write_out_repeats(text))}\n"


def _convert(text: str, path: Path) -> str | None:
    """Converts without a word; returns what went wrong, None for nothing.

    The notes that are struck have to be as many as the text has.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from music21 import converter
                from music21.midi.translate import music21ObjectToMidiFile
                from music21.stream import Stream

                score = converter.parse(text, format="abc")
                if not isinstance(score, Stream) or not score.recurse().notes:
                    return "there are no notes"
                midi = music21ObjectToMidiFile(score)
        struck = sum(event.isNoteOn() for track in midi.tracks for event in track.events)
        if struck != (written := struck_notes(text)):
            return f"music21 plays {struck} of {written} notes"
        path.write_bytes(midi.writestr())
    except ModuleNotFoundError as error:
        raise DataError(f"MIDI files need {error.name}; run: {INSTALL}") from None
    except OSError:
        raise
    except Exception as error:  # the parser raises anything on text that a model wrote
        words = " ".join(re.sub(r"\(?<.*?>\)?|id\(\)=\d+", "", str(error)).split())
        return f"{type(error).__name__}: {words}"[:200]
    return None
