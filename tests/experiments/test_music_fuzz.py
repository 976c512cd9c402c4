"""Tunes that nobody foresaw: whatever is read ends in a result or in a sentence."""

from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from experiments.music.abc_check import check_bars
from experiments.music.abc_midi import write_midi
from experiments.music.abc_ties import mend_ties, struck_notes
from experiments.music.metre import metre_automaton
from experiments.music.repeats import write_out_repeats
from experiments.sources.abc_text import clean_tune
from experiments.sources.vocabulary import Vocabulary

TUNES = (
    "X:1\nT:The Ten Penny Bit\nR:Jig\nM:6/8\nL:1/8\nK:A minor\n"
    'eAA eAA|BAB G2 A/B/|:"Am"~c2B (3ABA|1 [ce]3-[ce]2 e:|2,3 {g}a3 A2-|A3 z3|]\n',
    "X:2\nM:C|\nK:HP\nd>B-B<A|(4ABcd e4 |[1 ^f2 =f_f f'2 f,/2 f//:|[2 A8||\nK:D\n[M:2/4]AB\n",
)
PIECES = (
    *"ABCDEFGabcdefgz^_=,'/0123456789<>|:[]{}()-! \n\t\"%+xMLK#é²٣\0",
    *("M:0/0\n", "M:4/0\n", "L:1/0\n", "[M:", "K:\n", "|1,3", ":|2-9", "(3:2:", "[1", "9" * 5000),
)
EDITS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 8), st.sampled_from(PIECES)), max_size=8
)


@st.composite
def edited(draw) -> str:
    """A tune with pieces put in and cut out."""
    text = draw(st.sampled_from(TUNES))
    for at, cut, piece in draw(EDITS):
        at %= len(text) + 1
        text = text[:at] + piece + text[at + cut :]
    return text


@given(edited())
@examples(50)
def test_a_transcription_is_cleaned_or_left_out_and_what_is_kept_can_be_checked(source):
    text = clean_tune(source)
    for one in (source, text or ""):
        found = check_bars(one)
        assert 0 <= found.complete <= found.bars
        played = mend_ties(write_out_repeats(one))
        assert struck_notes(played) >= 0


@given(edited())
@examples(10)
def test_a_prompt_can_be_followed_in_metre_or_a_sentence_says_where_not(text):
    try:
        metre_automaton(Vocabulary.of([text]), text)
    except ValueError as error:
        assert "cannot be followed in metre" in str(error)


@pytest.mark.skipif(find_spec("music21") is None, reason="needs music21")
@given(edited())
@examples(10)
def test_a_tune_converts_or_a_line_says_why_not(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("midi") / "tune.mid"
    reason = write_midi(text, path)
    assert path.exists() == (reason is None)
    assert reason is None or (reason and "\n" not in reason)
