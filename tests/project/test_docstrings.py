"""Every public name says what it is: shapes, errors, a source, an example."""

import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.public import public_names, rooms

import seqjax as sj
from seqjax.testing import check_cell

ROOT = str(Path(sj.__file__).parent)
YEAR = re.compile(r"\b(19|20)\d\d\b")
PUBLIC = {n: v for room in rooms().values() for n, v in public_names(room).items()}
PUBLIC["check_cell"] = check_cell
FUNCTIONS = {name for name, value in PUBLIC.items() if inspect.isfunction(value)}
CELLS = {name for name, value in PUBLIC.items() if hasattr(value, "initial_carry")}
# Named tuples, shown by the example of what takes or gives them. Noise is made by hand.
RECORDS = {name for name, value in PUBLIC.items() if hasattr(value, "_fields")} - {"Noise"}

NO_SHAPE = {
    "BidirectionalParams": "its fields are the params of any two cells",
    "latest_checkpoint": "takes and gives paths",
}
# Files that implement no paper: machinery that runs, stores or proves.
MACHINERY = {
    *("core/scan.py", "core/steps.py", "data/ragged.py", "decoding/engine/logits.py"),
    *("decoding/processors/endings.py", "decoding/processors/given_tokens.py"),
    *("decoding/processors/prompts.py", "decoding/processors/sequences.py"),
    *("decoding/sampling/stream.py", "testing.py", "training/saving.py"),
}
NO_EXAMPLE = RECORDS


def own_doc(name: str) -> str:
    """The docstring written for a public name: neither inherited nor made up by Python."""
    return inspect.cleandoc(vars(PUBLIC[name]).get("__doc__") or PUBLIC[name].__doc__ or "")


def methods() -> dict[str, list[str]]:
    """The public functions and classes of every file that should implement a paper."""
    found: dict[str, list[str]] = {}
    for name in PUBLIC.keys() - RECORDS - NO_EXAMPLE:
        path = Path(inspect.getfile(PUBLIC[name])).relative_to(ROOT).as_posix()
        if path not in MACHINERY:
            found.setdefault(path, []).append(name)
    return found


METHODS = methods()


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
    assert NO_SHAPE.keys() | NO_EXAMPLE <= PUBLIC.keys()
    assert all((Path(ROOT) / name).exists() for name in MACHINERY)
    assert len(METHODS) > 90 and "losses/ctc.py" in METHODS
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


@pytest.mark.parametrize("path", sorted(METHODS))
def test_what_implements_a_paper_names_it(path):
    """In each file of methods; its utilities need not repeat it."""
    assert any(YEAR.search(own_doc(name)) for name in METHODS[path]), "no source with a year"


@pytest.mark.parametrize("name", sorted(CELLS))
def test_every_cell_names_its_source(name):
    assert YEAR.search(own_doc(name)), "no source with a year"


@pytest.mark.parametrize("name", PUBLIC)
def test_what_refuses_says_so(name):
    if any(refuses(function) for _, function in own_code(name)):
        assert "Raises:" in own_doc(name)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_methods_have_docstrings(name):
    for method, function in own_code(name):
        assert method.startswith("_") or function.__doc__, f"{method} has no docstring"


def resolves(path: str) -> bool:
    """Whether a dotted path below seqjax names something, be it in a module not yet imported."""
    parts, value = path.split("."), sj
    for i, part in enumerate(parts):
        if not hasattr(value, part) and find_spec(".".join(["seqjax", *parts[: i + 1]])):
            importlib.import_module(".".join(["seqjax", *parts[: i + 1]]))
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def test_names_in_prose_lead_somewhere():
    files = [*Path(ROOT).rglob("*.py"), *(Path(ROOT).parent / "docs").rglob("*.md")]
    for file in files:
        for path in re.findall(r"`(?:sj|seqjax)\.([\w.]*\w)", file.read_text()):
            assert resolves(path), f"{file}: {path}"
