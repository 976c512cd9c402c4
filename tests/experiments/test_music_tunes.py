"""The tunes: cleaning, versions of one tune, the split."""

import doctest
import importlib
import subprocess
import sys
from importlib.util import find_spec

import pytest

from experiments.sources import tunes
from experiments.sources.abc_text import clean_tune
from experiments.sources.duplicates import group, similar_pairs, title_key, versions
from experiments.sources.text import DataError, Splits
from experiments.sources.tunes import Tune, split_tunes
from experiments.sources.vocabulary import Vocabulary

MESSY = """X: 12
T: The Test Reel
R:Reel
N:"Lively" % a note
B:A book
Z:A transcriber
M: 4/4
L:1/8
% a comment
K:E Minor % one sharp
"_mf"u(EF)|:vG2(GA) .B2 ~B2 | {d}c>B`AG "Am"!mf!E2 z2 \\
| (3ABc ((3def) g4 :||
w: la la
M:6/8
|: [E2G2] x B//c/2 d3/2 ||1 e6 :| [2 e6 |]

Text after the tune.
"""
CLEAN = """R:reel
M:C
L:1/8
K:Em
EF|:G2GA B2 B2|{d}c>BAG E2 z2|
(3ABc (3def g4:|
M:6/8
|:[E2G2] B/4c/ d3/|1e6:|2e6|]"""

ONE = "M:C\nL:1/8\nK:D\nABcd efga|bgfe dcBA|fdAf dBgf|e2c2 A4|ceac e2fg|afed cBAG|"
# The same melody a step higher, in notes half as long and with an upbeat.
TWO = "M:2/4\nL:1/16\nK:E\nE|Bcde fgab|c'agf edcB|geBg ecag|f2d2 B4|dfbd f2ga|bgfe dcBA|"
OTHER = "M:C\nL:1/8\nK:G\nG2BG dGBG|c2ec gcec|GABc dedB|cAFA G2D2|gfgd BGBd|gfga bgag|"


def test_cleaning():
    assert clean_tune(MESSY) == CLEAN


@pytest.mark.parametrize(
    ("key", "cleaned"),
    [("G", "G"), ("A Mixolydian", "Amix"), ("AMin", "Am"), ("Bb", "Bb"), ("Glydian", "Glyd")]
    + [("D Major", "D"), ("EM", "E"), ("F#m", "F#m"), ("Hp", "Amix"), ("Dmix=c", "Dmix")],
)
def test_keys_are_spelled_in_one_way(key, cleaned):
    text = clean_tune(f"X:1\nM:C\nL:1/8\nK:{key}\nABcd efga|")
    assert text is not None and f"\nK:{cleaned}\n" in text


def test_missing_unit_length_follows_the_metre():
    assert "L:1/16" in str(clean_tune("X:1\nM:2/4\nK:D\nABcd efga|"))
    assert "L:1/8" in str(clean_tune("X:1\nM:6/8\nK:D\nABcd efga|"))


@pytest.mark.parametrize(
    "source",
    [
        "X:1\nM:C\nL:1/8\nK:D\n",  # no music
        "X:1\nM:C\nL:1/8\nK:D\nz4 z4|AB|",  # too little
        "X:1\nM:C\nL:1/8\nABcd efga|",  # no key
        "X:1\nL:1/8\nK:D\nABcd efga|",  # no metre
        "X:1\nM:C\nL:1/8\nK:D\n[V:1] ABcd efga|\n[V:2] ABcd efga|",
    ],
)
def test_what_is_no_tune_for_one_voice_is_dropped(source):
    assert clean_tune(source) is None


def test_versions_share_a_title_or_a_melody():
    assert similar_pairs([ONE, OTHER, TWO]) == [(0, 2)]
    assert versions([["A"], ["B"], ["C"]], [ONE, OTHER, TWO]) == [0, 1, 0]
    titles = [["Tenpenny Bit, The"], ["x", "The Tenpenny Bit -- Jig"], ["Tenpenny's"]]
    assert versions(titles, [ONE, OTHER, ""]) == [0, 0, 2]
    assert versions([["No. 1"], ["No. 2"]], [ONE, OTHER]) == [0, 1]  # a number is no title
    assert versions([], []) == []


def test_titles():
    assert title_key("The BLACKBIRD -- Reel") == title_key("Blackbird, A (2nd Setting)")
    assert title_key("42d Regiment.") == title_key("Regiment no. 3")


def test_groups_are_connected_components():
    assert group(6, [(5, 4), (4, 1), (2, 3)]) == [0, 1, 2, 2, 1, 1]


def test_split_keeps_versions_together_and_does_not_depend_on_order():
    many = [Tune("", (f"Tune {chr(97 + n % 26)}{chr(97 + n // 26)}",), f"t{n}") for n in range(600)]
    corpus = split_tunes(many)
    assert sum(len(split) for _, split in corpus.items()) == 600
    assert 10 < len(corpus.valid) < 60 and 10 < len(corpus.test) < 60
    shuffled = split_tunes(many[::-1])
    assert set(shuffled.valid) == set(corpus.valid) and set(shuffled.test) == set(corpus.test)
    same = [Tune("", ("One title",), f"text {n}") for n in range(50)]
    assert sorted(len(split) for _, split in split_tunes(same).items()) == [0, 0, 50]


def test_describe():
    assert Splits(("ab", "c"), ("d",), ()).describe() == {
        "train": {"documents": 2, "characters": 3},
        "valid": {"documents": 1, "characters": 1},
        "test": {"documents": 0, "characters": 0},
    }


@pytest.mark.skipif(find_spec("music21") is None, reason="needs music21")
def test_the_corpus_has_the_counted_tunes_and_a_split_without_leaks():
    transcriptions = tunes.read_transcriptions()
    assert len(transcriptions) == 4248
    assert sum(len(source) for _, source in transcriptions) == 1_642_485
    corpus = tunes.read_music()
    counts = corpus.describe()
    total = sum(split["characters"] for split in counts.values())
    assert 860_000 < total < 870_000
    for name in ("valid", "test"):
        assert 0.04 < counts[name]["characters"] / total < 0.06
    texts = [text for _, split in corpus.items() for text in split]
    assert len(set(texts)) == len(texts) > 4200
    side = [name for name, split in corpus.items() for _ in split]
    assert all(side[i] == side[j] for i, j in similar_pairs(texts))
    assert len(Vocabulary.of(texts)) == 66
    assert all(text.split("\nK:")[1].count("\n") >= 1 for text in texts)


@pytest.mark.skipif(find_spec("music21") is None, reason="needs music21")
def test_reading_does_not_import_music21():
    code = "import sys; from experiments.sources.tunes import read_music; read_music()"
    code += "; assert 'music21' not in sys.modules and 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_music21(monkeypatch, tmp_path):
    monkeypatch.setattr(tunes, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"run: pip install -e '\.\[experiments\]'"):
        tunes.read_music()


def test_missing_collection(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = [str(tmp_path)]

    (tmp_path / "corpus" / "airdsAirs").mkdir(parents=True)
    (tmp_path / "corpus" / "airdsAirs" / "book1.abc").write_text("X:1\n")
    monkeypatch.setattr(tunes, "find_spec", lambda name: Spec)
    with pytest.raises(DataError, match="the tunes of oneills1850, ryansMammoth are not in"):
        tunes.read_music()


NAMES = [f"music.{name}" for name in ("abc_check", "copying", "ngram", "repeats")]
NAMES += [f"sources.{name}" for name in ("abc_text", "duplicates", "vocabulary")]


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"experiments.{name}")).failed == 0
