"""Every public name says what it is: shapes, errors, a source, an example."""

import inspect
import re
from pathlib import Path

import pytest
from support.public import public_names, rooms

import seqjax as sj
from seqjax.testing import check_cell

ROOT = str(Path(sj.__file__).parent)
PUBLIC = {n: v for room in rooms().values() for n, v in public_names(room).items()}
PUBLIC["check_cell"] = check_cell
FUNCTIONS = {name for name, value in PUBLIC.items() if inspect.isfunction(value)}
CELLS = {name for name, value in PUBLIC.items() if hasattr(value, "initial_carry")}
# Named tuples, shown by the example of what takes or gives them. Noise is made by hand.
RECORDS = {name for name, value in PUBLIC.items() if hasattr(value, "_fields")} - {"Noise"}

NO_SHAPE = {
    "BidirectionalParams": "its fields are the params of any two cells",
    "EncoderError": "an exception",
    "latest_checkpoint": "takes and gives paths",
}
# Of no paper: machinery, and what composes or stores other things. Records are their makers'.
NO_SOURCE = RECORDS | {
    *("AfterPrompt", "AllowByState", "EncoderError", "ForcedTokens", "Initializer", "MinLength"),
    *("FrequencyPenalty", "PresencePenalty", "StatefulProcessor", "SuppressTokens", "best_of"),
    *("check_cell", "explored_automaton", "init_train_state", "join_automata", "keep_accepted"),
    *("latest_checkpoint", "restore_checkpoint", "save_checkpoint", "scan", "stream"),
    *("ExponentialLengthDecay", "ForcedEnd", "OnSource", "SequenceBias", "words_automaton"),
}
NO_EXAMPLE = RECORDS | {"EncoderError"}


def own_doc(name: str) -> str:
    """The docstring written for a public name: neither inherited nor made up by Python."""
    return inspect.cleandoc(vars(PUBLIC[name]).get("__doc__") or PUBLIC[name].__doc__ or "")


def own_code(name: str):
    """The functions written for a public name, by name: itself, or a class's own methods."""
    value = PUBLIC[name]
    for key, member in ({name: value} if name in FUNCTIONS else vars(value)).items():
        member = getattr(member, "fget", None) or getattr(member, "__func__", member)
        # What dataclasses, named tuples and protocols generate stands in no file of ours.
        if inspect.isfunction(member) and member.__code__.co_filename.startswith(ROOT):
            yield key, member


def refuses(function) -> bool:
    """Whether a function's own code, its docstring left out, raises or checks something."""
    code = re.sub(r'""".*?"""', "", inspect.getsource(function), count=1, flags=re.DOTALL)
    checks = r"\braise\b|\brequire\(|\b_?check(_\w+)?\(|\b_checks\.(?!is_|concrete|describe)"
    return re.search(checks, code) is not None


def test_the_walk_finds_what_there_is():
    assert {"unroll", "scan", "check_cell", "negate_update_gate", "best_of"} <= FUNCTIONS
    assert {"Cell", "LSTM", "Jordan", "Stack", "Dropout", "LearnedCarry", "Zoneout"} <= CELLS
    assert {"LSTMCarry", "Beams", "TrainState"} <= RECORDS
    assert NO_SHAPE.keys() | NO_EXAMPLE | NO_SOURCE <= PUBLIC.keys()
    assert not CELLS & NO_SOURCE
    assert refuses(sj.unroll) and refuses(sj.LSTM.__post_init__)
    assert not refuses(sj.losses.perplexity)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_full_docstring(name):
    text = own_doc(name)
    assert len(text.splitlines()) > 1, "one line does not hold shapes, errors and an example"
    if name not in NO_SHAPE:
        assert re.search(r"\[(\.\.\.|fan_in|[A-Z]|\])", text), "no shape such as [B, T, ...] or []"
    if name not in NO_EXAMPLE:
        assert ">>>" in text, "no example"


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - NO_SOURCE))
def test_public_name_names_its_source(name):
    assert re.search(r"\b(19|20)\d\d\b", own_doc(name)), "no source with a year"


@pytest.mark.parametrize("name", PUBLIC)
def test_what_refuses_says_so(name):
    if any(refuses(function) for _, function in own_code(name)):
        assert "Raises:" in own_doc(name)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_methods_have_docstrings(name):
    for method, function in own_code(name):
        assert method.startswith("_") or function.__doc__, f"{method} has no docstring"
