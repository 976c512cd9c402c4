"""ABC to MIDI, repeats written out, bars checked against the metre."""

import subprocess
import sys
from fractions import Fraction
from importlib.util import find_spec

import pytest

from experiments.music import abc_midi
from experiments.music.abc_check import BarCheck, check_bars, note_length
from experiments.music.abc_midi import write_midi
from experiments.music.abc_ties import mend_ties, struck_notes
from experiments.music.repeats import write_out_repeats
from experiments.sources.text import DataError

needs_music21 = pytest.mark.skipif(find_spec("music21") is None, reason="needs music21")
HEADER = "R:reel\nM:C\nL:1/8\nK:D\n"


def key_numbers(path):
    """The MIDI keys (60 is middle C) in the order in which they sound."""
    from music21.midi import MidiFile

    file = MidiFile()
    file.open(str(path))
    file.read()
    file.close()
    return [event.pitch for track in file.tracks for event in track.events if event.isNoteOn()]


@needs_music21
def test_midi_plays_the_written_notes_with_repeats(tmp_path, capfd):
    path = tmp_path / "tune.mid"
    text = HEADER + "A2|:d2f2 a4|1G,4 A4:|2[df]4 d4|]"
    assert write_midi(text, path) is None
    assert path.read_bytes().startswith(b"MThd")
    once = [74, 78, 81]
    assert key_numbers(path) == [69, *once, 55, 69, *once, 74, 78, 74]
    assert capfd.readouterr() == ("", "")


@needs_music21
@pytest.mark.parametrize(
    ("music", "keys"),
    [
        ("|:c4 g4-:|", [72, 79, 72, 79]),  # music21 alone plays 72, 79, 79
        ("c8-|d8|", [72, 74]),
        ("c8-|c8|", [72]),
        ("c2-c2-c2-c2", [72]),
        ("^c8-|c8|c8|", [73, 72]),  # a tie carries the accidental
        ("^c8-|=c8|", [73, 72]),
        ("c4-c'4|", [72, 84]),
        ("c>-d c-3 d|", [72, 74, 72, 74]),
        ("c4-z4-|c8-|", [72, 72]),
        ("[ce]4-[ce]4-|c8|", [72, 76, 72, 76, 72]),
        ("c2-{d}c2-[cc]4|", [72, 74, 72, 72]),
    ],
)
def test_ties_join_notes_of_one_pitch_and_lose_no_other(music, keys, tmp_path):
    text = "M:C\nL:1/8\nK:C\n" + music
    assert write_midi(text, tmp_path / "tune.mid") is None
    assert key_numbers(tmp_path / "tune.mid") == keys
    assert struck_notes(mend_ties(write_out_repeats(text))) == len(keys)


@needs_music21
def test_a_tune_of_which_notes_are_lost_is_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr(abc_midi, "mend_ties", lambda text: text)
    assert write_midi(HEADER + "c8-|d8|", tmp_path / "tune.mid") == "music21 plays 1 of 2 notes"
    assert not (tmp_path / "tune.mid").exists()


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        ("K:C-\nc--c -d", "K:C-\nc-c d"),
        ("[c-e-]4-|", "[ce]4|"),
        ("c4-|\nM:3/4\nc6-", "c4-|\nM:3/4\nc6"),
        ("^c-c-=c", "^c-c=c"),
        ("^c-c-^c", "^c-c-^c"),
        ("c,-c", "c,c"),
        ("-", ""),
        ("", ""),
    ],
)
def test_ties_that_join_nothing_go(written, mended):
    assert mend_ties(written) == mended == mend_ties(mended)


@needs_music21
@pytest.mark.parametrize(
    "music",
    [
        "A2|(3def {g}f>d A2 z2|c'4-c'",  # stops in the middle of a bar
        "AB|1c|2d:|:|e]||::|[1f4",  # endings and repeats that match nothing
        "A>B (9ABcdefgab {c",
        "^^A __B =c,,/4 d/8 e15|f",
    ],
)
def test_unfinished_tunes_convert(tmp_path, music):
    assert write_midi(HEADER + music, tmp_path / "tune.mid") is None


@needs_music21
def test_a_tune_that_music21_cannot_rebar_converts_without_its_metre(tmp_path):
    music = "F/G/|A>B A/G/F/A/|G>A G/F/D/C/|F3/G/4F/4E/F/ G3/4A/4G/4^F/G/|A2 cd/e/|f>e dc|"
    text = "M:2/4\nL:1/8\nK:Dm\n" + music
    playable = abc_midi._playable(text, text)
    assert "TimeSignature" not in str(
        abc_midi._convert(playable.replace("M:2/4\n", ""), tmp_path / "x")
    )
    assert write_midi(text, tmp_path / "tune.mid") is None


@needs_music21
def test_failures_say_why_and_leave_no_file(tmp_path, capfd):
    path = tmp_path / "tune.mid"
    assert "there is no key" in str(write_midi("ABc", path))
    assert write_midi(HEADER, path) == "there are no notes"
    assert write_midi(HEADER + "z4|z4|", path) == "there are no notes"
    assert not path.exists()
    assert capfd.readouterr() == ("", "")
    with pytest.raises(OSError):
        write_midi(HEADER + "A4|B4|", tmp_path / "nowhere" / "tune.mid")


def test_missing_music21(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(DataError, match=r"need music21; run: pip install -e '\.\[experiments\]'"):
        write_midi(HEADER + "A4|", tmp_path / "tune.mid")


@needs_music21
def test_converting_leaves_the_home_folder_alone(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    code = "import sys; from experiments.music.abc_midi import write_midi"
    code += f"; sys.exit(write_midi({HEADER + 'A4|B4|'!r}, sys.argv[1]))"
    environment = {"HOME": str(home), "PYTHONPATH": ".", "PATH": ""}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "tune.mid")], check=True, env=environment
    )
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("written", "played"),
    [
        ("A|B|", "A|B|"),
        ("A|B:|c|", "A|B|A|B|c|"),
        ("|:A:|:B:|", "A|A|B|B|"),
        ("A::B:|c", "A|A|B|B|c"),
        ("z|:A|1B:|2c||d|", "z|A|B|A|c|d|"),
        ("A|1B|c:|\n[2d|e|]f|", "A|B|c|A|\nd|e|f|"),
        ("A||B:|", "A|B|B|"),
        ("A:|\nK:G\nB:|", "A|A|\nK:G\nB|B|"),
        ("A|1B:|2c:|3d|]", "A|B|A|c|A|d|"),
        ("[Ac]2|[EG]:|", "[Ac]2|[EG]|[Ac]2|[EG]|"),
        ("|:A|1,3B:|2c||d", "A|B|A|c|A|B|d"),
        ("|:A|[1-3B:|4c||", "A|B|A|B|A|B|A|c|"),
        ("|:A|1,3-4B:|2c||", "A|B|A|c|A|B|A|B|"),
        ("|:A|2B:|1c||", "A|c|A|B|"),
        ("|:A|3-1B||d", "A|B|d"),
        ("", ""),
    ],
)
def test_repeats_are_written_out(written, played):
    def plain(text):
        return text.replace("\n", "") if "K:" not in text else text

    assert plain(write_out_repeats(written)) == plain(played)


@pytest.mark.parametrize(
    ("metre", "music", "bars", "complete"),
    [
        ("2/4", "d2 fd|e2 c2|d4|", 3, 3),
        ("2/4", "d2 fd|e2 c|d4|", 3, 2),  # too short within a section
        ("2/4", "d|d2 fd|e3:|", 3, 3),  # an upbeat and what completes it
        ("2/4", "d2 fd|e4c|d4|", 3, 2),  # too long
        ("2/4", "d2 fd|e4c|", 2, 1),  # too long, also at an end
        ("C", "d>d e<f (3ABc z2|c'8|[CE]4 [C2E2]2|", 3, 3),
        ("C|", "d4-d4|{fg}f8|(3:2:3ABc (3d2e2f2 g2|", 3, 3),
        ("6/8", "d3 (2AB|d>ef (4ABcd|A3/B/c d/4d/4d/ ef|", 3, 3),
        ("6/8", "d6|\nM:2/4\nL:1/16\nd8|c8|", 3, 3),
        ("9/8", "d3 d3 d3|[1d9:|[2d6d3||", 3, 3),
        ("2/4", "d4|1,3 e3:|2-4 e4||", 3, 3),
        ("none", "d6|", 0, 0),
        ("C", "", 0, 0),
    ],
)
def test_bars_are_checked_against_the_metre(metre, music, bars, complete):
    assert check_bars(f"M:{metre}\nL:1/8\nK:D\n{music}") == BarCheck(bars, complete)


def test_share_of_complete_bars():
    assert BarCheck(4, 3).share == 0.75
    assert BarCheck(0, 0).share == 0


@pytest.mark.parametrize(
    ("written", "factor"),
    [("", "1"), ("2", "2"), ("/", "1/2"), ("//", "1/4"), ("3/2", "3/2"), ("3/", "3/2")]
    + [("/4", "1/4"), ("3//", "3/4"), ("12", "12"), ("/0", "1")],
)
def test_note_lengths(written, factor):
    assert note_length(written) == Fraction(factor)
