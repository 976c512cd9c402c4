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

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("decoding", "memory", "attention", "losses", "objectives")),
]
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
BLOCKS = {page: BLOCK.findall((ROOT / page).read_text()) for page in PAGES}
CASES = [(page, number) for page in PAGES for number in range(len(BLOCKS[page]))]


@pytest.fixture(scope="module")
def namespaces():
    """Blocks of a page build on each other, as a reader runs them; a module, for pickling."""
    names = {page: re.sub(r"\W", "_", page) for page in PAGES}
    for name in names.values():
        sys.modules[name] = types.ModuleType(name)
    yield {page: vars(sys.modules[name]) for page, name in names.items()}
    for name in names.values():
        del sys.modules[name]


@pytest.mark.parametrize(("page", "number"), CASES)
def test_block_runs_and_prints_what_it_says(page, number, namespaces):
    expected, namespace = BLOCKS[page][number][1], namespaces[page]
    done = namespace.setdefault("blocks_done", set())
    printed = io.StringIO()
    with jax.numpy_dtype_promotion("standard"):
        for i in range(number + 1):  # another worker may have run the blocks before
            if i == number or i not in done:
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile(BLOCKS[page][i][0], f"{page}, block {i}", "exec"), namespace)
                done.add(i)
    if expected:
        assert same_but_for_digits(printed.getvalue(), expected)


def same_but_for_digits(printed: str, expected: str) -> bool:
    """Equal but for the digits behind a decimal point, which vary between processors."""
    plain = lambda text: re.sub(r"(\d\.\d)\d*", r"\1", text).strip()
    return plain(printed) == plain(expected)


def test_there_are_code_blocks():
    assert len(BLOCKS["README.md"]) >= 4 and len(BLOCKS["docs/decoding.md"]) >= 5


def test_every_method_of_decoding_has_its_formula_source_and_example():
    text = (ROOT / "docs/decoding.md").read_text()
    named = lambda title: re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    bodies = {named(title): body for title, _, body in (s.partition("\n") for s in sections)}
    methods = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert len(methods) >= 10 and methods <= bodies.keys()
    for method in methods:
        assert "```python" in bodies[method], method
        assert re.search(r"^( {4}\S|\|)", bodies[method], re.MULTILINE), method
        if method != "token-by-token":  # `sample` on the host, of no paper
            assert re.search(r"\b(19|20)\d\d\b", bodies[method]), method


@pytest.mark.parametrize("page", [*PAGES, "docs/decisions/README.md"])
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
