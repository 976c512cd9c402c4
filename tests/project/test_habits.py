"""What the project says of itself in several files agrees; the checks are those that it names."""

import re
import tomllib
from pathlib import Path

import seqjax as sj

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_all_files_name_one_version():
    assert f"\nversion: {sj.__version__}\n" in read("CITATION.cff")
    assert re.findall(r"^## (\S+?),", read("CHANGELOG.md"), re.MULTILINE)[0] == sj.__version__


def test_citation_and_metadata_name_one_author_and_licence():
    project, citation = PYPROJECT["project"], read("CITATION.cff")
    assert [f"- name: {author['name']}" in citation for author in project["authors"]] == [True]
    assert f"license: {project['license']}" in citation


def test_continuous_integration_runs_the_check_and_nothing_else():
    commands = [line for line in read(".ci/run").splitlines() if not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make check"]


def test_the_check_has_every_kind():
    recipe = read("Makefile").partition("\ncheck:")[2].partition("\n\n")[0]
    for tool in "ruff format --check", "ruff check", "codespell", "pyright", "$(MAKE) test":
        assert tool in recipe, tool


def test_hooks_use_the_tools_of_the_environment():
    text = read(".pre-commit-config.yaml")
    assert re.findall(r"repo: (\S+)", text) == ["local"]
    tools = re.findall(r"entry: (\S+)", text)
    assert len(tools) == 5 and all(tool.startswith(".venv/bin/") for tool in tools)
    packages = {
        "check-added-large-files": "pre-commit-hooks",
        "end-of-file-fixer": "pre-commit-hooks",
    }
    dev = " ".join(PYPROJECT["project"]["optional-dependencies"]["dev"])
    for tool in tools:
        name = Path(tool).name
        assert packages.get(name, name) in dev, tool


def test_the_matrix_starts_at_the_oldest_jax_that_is_allowed():
    oldest = re.search(r"^OLDEST := (\d+\.\d+)\.0$", read("Makefile"), re.MULTILINE)
    assert oldest
    for name in "jax", "jaxlib":
        (required,) = (d for d in PYPROJECT["project"]["dependencies"] if d.startswith(f"{name}>"))
        assert required.startswith(f"{name}>={oldest[1]},")
