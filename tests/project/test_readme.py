"""The code of the README and of the docs runs and prints what it says; links lead somewhere."""

import contextlib
import io
import json
import re
import sys
import types
from pathlib import Path

import jax
import pytest

import seqjax as sj
from benchmarks import report
from experiments.lab.experiment import find
from experiments.lab.page import committed

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# Every page that the project writes by hand; results of experiments have their own test.
PAGES = [
    *(path.name for path in sorted(ROOT.glob("*.md"))),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
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
    assert len(BLOCKS["README.md"]) >= 4 and len(BLOCKS["docs/guides/decoding.md"]) >= 5


def test_every_method_of_decoding_has_its_formula_source_and_example():
    text = (ROOT / "docs/guides/decoding.md").read_text()
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


def anchors(text: str) -> set[str]:
    """The names under which a page's headings can be linked to."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text()), f"{path}#{anchor}"


TESTS = "".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_files_and_tests_that_a_page_names_exist(page):
    text = (ROOT / page).read_text()
    for path in re.findall(r"`((?:tests|seqjax|benchmarks)/[\w/.-]+\w)", text):
        assert (ROOT / path).exists() or "NAME" in path, path
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in TESTS, name


def test_the_readme_is_short_and_names_every_room():
    assert len(README.splitlines()) <= 160
    rooms = {name for name in sj.__all__ if isinstance(getattr(sj, name), types.ModuleType)}
    assert rooms == set(re.findall(r"^- \[`(\w+)`\]\(", README, flags=re.MULTILINE))


def test_the_index_names_every_room_and_every_page():
    index = (ROOT / "docs" / "index.md").read_text()
    rooms = {name for name in sj.__all__ if isinstance(getattr(sj, name), types.ModuleType)}
    assert rooms <= set(re.findall(r"`sj\.(\w+)`", index))
    linked = {(ROOT / "docs" / path).resolve() for path in re.findall(r"\]\(([^)#]+)", index)}
    for page in PAGES:
        if page.startswith("docs/") and not page.startswith(("docs/index", "docs/decisions/0")):
            assert ROOT / page in linked, page


RESULT = re.compile(r"^\| `(\w+)([^`]*)`.*?\| ([\d.]+) \| (.*) \|$", re.MULTILINE)


@pytest.mark.parametrize(("name", "settings", "minutes", "cells"), RESULT.findall(README))
def test_results_are_those_of_the_committed_records(name, settings, minutes, cells):
    try:
        experiment = find(name)
    except ValueError:
        pytest.skip("has no committed record")
    record = json.dumps(committed(experiment)["report"], ensure_ascii=False)
    for number in re.findall(r"\d+\.\d+", cells):
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", record), number
    if not settings:
        assert float(minutes) == experiment.minutes


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_measurements(page):
    assert report.rewritten(page.read_text()) == page.read_text()


def test_every_table_stands_on_one_page():
    text = "".join(page.read_text() for page in report.PAGES)
    assert sorted(re.findall(r"<!-- (\w+) -->\n\|", text)) == sorted(report.TABLES)


def test_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match="has a table 'speed'; expected one of headline, "):
        report.rewritten("<!-- speed -->\n<!-- end -->")


def test_help_of_the_report_writes_nothing(monkeypatch, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- train -->\n<!-- end -->\n")
    monkeypatch.setattr(report, "PAGES", (page,))
    with pytest.raises(SystemExit) as ended:
        report.main(["--help"])
    assert ended.value.code == 0 and "python -m benchmarks.report" in capsys.readouterr().out
    assert page.read_text() == "<!-- train -->\n<!-- end -->\n"
    assert report.main([]) == 0
    assert "| LSTM |" in page.read_text()
