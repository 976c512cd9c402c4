"""The README's code runs and prints what it says; its links lead somewhere."""

import contextlib
import io
import re
import sys
import types
from pathlib import Path

import jax
import pytest

from benchmarks import readme

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", README, re.DOTALL)


@pytest.fixture(scope="module")
def namespace():
    """The blocks build on each other, as a reader runs them; a module, for classes to pickle."""
    sys.modules["readme"] = types.ModuleType("readme")
    yield vars(sys.modules["readme"])
    del sys.modules["readme"]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_runs_and_prints_what_it_says(number, namespace):
    code, expected = BLOCKS[number]
    if number and "text" not in namespace:
        exec(BLOCKS[0][0], namespace)  # a worker that did not run the first block
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), jax.numpy_dtype_promotion("standard"):
        exec(compile(code, f"README.md, block {number}", "exec"), namespace)
    if expected:
        assert same_but_for_digits(printed.getvalue(), expected)


def same_but_for_digits(printed: str, expected: str) -> bool:
    """Equal but for the digits behind a decimal point, which vary between processors."""
    plain = lambda text: re.sub(r"(\d\.\d)\d*", r"\1", text).strip()
    return plain(printed) == plain(expected)


def test_there_are_code_blocks():
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize("page", ["README.md", "docs/decisions/README.md"])
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        if not target.startswith("http"):
            assert (folder / target).exists(), target


def test_tables_are_those_of_the_results():
    assert readme.rewritten(README) == README
    assert set(readme.TABLES) == set(re.findall(r"<!-- (\w+) -->", README)) - {"end"}


def test_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match="has a table 'speed'; expected one of train, "):
        readme.rewritten("<!-- speed -->\n<!-- end -->")
