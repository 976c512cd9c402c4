"""Every citation in the package has its author and year in docs/references.md."""

import re
from pathlib import Path

import seqjax as sj

PACKAGE = Path(sj.__file__).parent
REFERENCES = PACKAGE.parent / "docs" / "references.md"
YEAR = re.compile(r"\b(?:19|20)\d\d\b")


def listed():
    """(first author, year) of every entry."""
    entries = re.findall(r"^- ([^\W\d_]+)[^\d]*? (\d{4})\. ", REFERENCES.read_text(), re.MULTILINE)
    assert len(entries) == len(re.findall(r"^- ", REFERENCES.read_text(), re.MULTILINE))
    return set(entries)


def citations(text):
    """(what stands before it, year) of every year in the docstrings of a module."""
    for doc in re.findall(r'"""(.*?)"""', text, re.DOTALL):
        doc, start = " ".join(doc.split()), 0
        for match in YEAR.finditer(doc):
            yield doc[max(start, match.start() - 160) : match.start()], match.group()
            start = match.end()


def unlisted(text, entries):
    """The citations of a module whose year does not go with an author named before it."""
    return [
        (before[-60:], year)
        for before, year in citations(text)
        if not any(author in before for author, listed_year in entries if listed_year == year)
    ]


def test_citations_are_in_the_list():
    entries, found = listed(), 0
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text()
        assert not unlisted(text, entries), path
        found += len(list(citations(text)))
    assert found > 40


def test_dates_that_lecture_notes_get_wrong_would_be_found():
    wrong = ["Cho et al. 2015", "Chung et al. 2015", "Hochreiter and Schmidhuber 1999"]
    text = "".join(f'"""The cell. {citation}."""\n' for citation in wrong)
    assert [year for _, year in unlisted(text, listed())] == ["2015", "2015", "1999"]
    assert not unlisted('"""The cell. Cho et al. 2014; Chung et al. 2014."""', listed())


def test_every_entry_is_cited():
    text = "".join(path.read_text() for path in sorted(PACKAGE.rglob("*.py")))
    cited = [(before, year) for before, year in citations(text)]
    for author, year in listed():
        assert any(author in before and year == when for before, when in cited), (author, year)
