"""Tunes in metre: what the automaton lets through has complete bars only."""

import random
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

pytest.importorskip("tyro")

from experiments.lab.character_model import CharacterModel
from experiments.lab.folder import RunFolder
from experiments.music import writing
from experiments.music.abc_check import check_bars
from experiments.music.config import Config
from experiments.music.metre import Header, advance, complete, metre_automaton
from experiments.music.writing import beam_text, in_metre, sample_texts
from experiments.sources.vocabulary import Vocabulary

HEADER = "M:2/4\nL:1/8\nK:D\n"
VOCABULARY = Vocabulary.of([HEADER, "^=_,'()3{}<>|:[]12/4z- ABcdefgR"])


def judged(text):
    """Whether every character may follow, and the tune may end there."""
    place = Header()
    for character in text:
        place = advance(place, character)
        if place is None:
            return False
    return complete(place)


@pytest.mark.parametrize(
    ("text", "may_be"),
    [
        ("ABcd|", True),
        ("ABc|", True),  # an upbeat
        ("ABcd|ABc|", False),
        ("ABcd|ABcde|", False),
        ("ABcd|ABc:|", True),  # the end of a section may be short
        ("ABcd|ABcde:|", False),
        ("ABcd|AB||c|ABcd|]", True),
        ("A2B2|A4|A>BB<c|", True),
        ("A3>B|", False),  # broken rhythm asks for equal notes
        ("A2>B2|A/B/c/d/ e2|A/>B/A AB|", True),
        ("A4>B4|", False),
        ("ABcd|AB\ncd|", True),
        ("ABcd|{g}(3ABc{d}d2|", True),
        ("(3ABc d (3A/B/c/|", True),
        ("(3ABcd2AB|", False),
        ("(3AB c|", False),
        ("{gf}^A=B_c'D,|z4|", True),
        ("ABcd|1ABcd:|2ABcd||\n|:ABcd:|\n[2ABcd|]", True),
        ("ABcd-|d3/A/4B/4c2|", True),
        ("ABcd", True),  # the last bar line may be missing
        ("ABcd|ABc", False),
        ("ABcd|:", False),
        ("ABcd|\nM:3/4\n", False),
        ("[Ac]Bcd|", False),
        ("", False),
        ("|:", False),
    ],
)
def test_a_tune_is_judged_as_it_stands(text, may_be):
    assert judged(HEADER + text) == may_be
    if may_be:
        assert check_bars(HEADER + text).share == 1


@pytest.mark.parametrize(
    ("header", "bar"),
    [
        ("R:jig\nM:6/8\nL:1/8\nK:Gmix\n", "ABc def|"),
        ("M:C|\nL:1/8\nK:F#m\n", "ABcd efga|"),
        ("M:2/4\nL:1/16\nK:D\n", "ABcd efga|"),
        ("M:9/8\nL:1/8\nK:D\n", "A3 B3 c3|"),
        ("M:12/8\nL:1/8\nK:D\n", "A3 B3 c3 d3|"),
    ],
)
def test_the_header_says_how_long_a_bar_is(header, bar):
    assert judged(header + bar + bar) and not judged(header + bar + bar.replace("A", "A2", 1))


@pytest.mark.parametrize("header", ["K:D\n", "M:5/4\nL:1/8\nK:D\n", "L:1/8\nM:C\nK:D\n", "M:\n"])
def test_headers_that_are_refused(header):
    assert not judged(header + "ABcd|")


@pytest.fixture(scope="module")
def automaton():
    return metre_automaton(VOCABULARY, HEADER)


def test_whatever_is_let_through_has_complete_bars(automaton):
    choose = random.Random(0)
    for _ in range(200):
        state, written, left = 0, [], choose.choice([9, 40, 120])
        while not (automaton.accepting[state] and (left == 0 or choose.random() < 0.05)):
            onward = automaton.transitions[state]
            fits = [v for v in np.flatnonzero(onward >= 0) if automaton.distances[onward[v]] < left]
            if not fits:
                break
            written.append(choose.choice(fits))
            state, left = onward[written[-1]], left - 1
        text = HEADER + VOCABULARY.decode(written)
        assert check_bars(text).bars and check_bars(text).share == 1, text
        assert judged(text)


def test_real_tunes_are_let_through():
    pytest.importorskip("music21")
    from experiments.sources.tunes import read_music

    tunes = read_music().valid
    whole = [text for text in tunes if check_bars(text).share == 1]
    kept = [text for text in tunes if judged(text)]
    assert set(kept) <= set(whole)
    assert len(kept) > 0.7 * len(whole)


def test_an_untrained_model_writes_in_metre():
    model = CharacterModel(len(VOCABULARY), 6, layers=1, embedding_size=4, dropout=0.0, tied=False)
    params = model.init(jax.random.key(0))
    how: dict[str, Any] = dict(max_len=40, processors=[in_metre(VOCABULARY, HEADER, 40)])
    drawn: dict[str, Any] = dict(count=8, temperature=1.0, key=jax.random.key(1))
    texts = sample_texts(model, params, VOCABULARY, HEADER, **drawn, **how)
    texts.append(beam_text(model, params, VOCABULARY, HEADER, **how))
    for text, _, log_prob in texts:
        assert check_bars(text).bars and check_bars(text).share == 1 and judged(text)
        assert np.isfinite(log_prob)
    loose = sample_texts(model, params, VOCABULARY, HEADER, **drawn, max_len=40)
    assert any(check_bars(text).share < 1 for text, _, _ in loose)


@pytest.mark.parametrize("decode", ["both", "sample", "beam"])
def test_the_automaton_constrains_whatever_is_written(decode, tmp_path, monkeypatch):
    asked = []
    remember = lambda name, found: (
        lambda *_, processors, **how: asked.append((name, processors)) or found
    )
    monkeypatch.setattr(writing, "in_metre", lambda vocabulary, prompt: prompt)
    monkeypatch.setattr(writing, "sample_texts", remember("sample", []))
    monkeypatch.setattr(writing, "beam_text", remember("beam", ("", True, 0.0)))
    model: Any = None
    folder = RunFolder(tmp_path, "music")
    for strict, processors in ((False, []), (True, [HEADER])):
        asked.clear()
        config = Config(decode=decode, in_metre=strict)
        who = (model, None, VOCABULARY, HEADER)
        writing.write_samples(config, *who, folder, "written", music=True)
        ways = ["sample", "beam"] if decode == "both" else [decode]
        assert asked == [(way, processors) for way in ways]


def test_what_cannot_be_in_metre_is_an_error():
    with pytest.raises(ValueError, match="cannot be followed in metre: 'A' at 0 is not expected"):
        metre_automaton(VOCABULARY, "A")
    with pytest.raises(ValueError, match="in_metre is for tunes; leave out --in-metre or --text"):
        Config(in_metre=True, text=Path(__file__)).check()
