"""What every experiment keeps to: it runs in small, records what it finds, and has its page."""

import ast
import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.lab import command, page, record, run
from experiments.lab.experiment import ROOT, find, names

NAMES = names()
MOST_LINES = 200  # of an experiment's own code, beside its model and its data


def arguments(settings) -> list[str]:
    """Settings as the command line has them."""
    flag = lambda name: "--" + name.replace("_", "-")
    words = [
        [flag(name)] if value is True else [flag(name), str(value)]
        for name, value in settings.items()
    ]
    return [word for pair in words for word in pair]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_in_small_and_records_what_it_finds(name, tmp_path, capsys):
    experiment = find(name)
    if not command.installed(experiment.needs):
        pytest.skip(f"{name} needs {', '.join(experiment.needs)}")
    out = tmp_path / "run"
    assert command.main([name, "--out", str(out), *arguments(experiment.tiny)]) == 0
    content = record.read(out / "results.json")
    assert content["experiment"] == name and content["origin"]["seconds"] > 0
    assert content["report"]["headline"]
    assert {path.stat().st_size > 1000 for path in out.glob("*.png")} == {True}
    printed = capsys.readouterr().out
    assert content["report"]["headline"] in printed and "results.json" in printed
    record.check(record.to_commit(content))


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_the_users_is_refused_at_once(name, tmp_path, capsys):
    (tmp_path / "results.json").write_text("mine")
    assert command.main([name, "--out", str(tmp_path)]) == 2
    assert "has files that no run wrote (results.json)" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", NAMES)
def test_its_pages_are_those_of_the_committed_results(name):
    experiment = find(name)
    assert (experiment.folder / "RESULTS.md").read_text("utf-8") == page.results_page(experiment)
    index = (ROOT / "README.md").read_text("utf-8")
    assert index == page.index() and f"[{name}](" in index
    assert page.committed(experiment)["experiment"] == name
    committed = experiment.folder / "results" / f"{name}.json"
    assert committed.stat().st_size < 200_000


@pytest.mark.parametrize("name", NAMES)
def test_its_folder_is_small_and_stands_alone(name):
    folder = find(name).folder
    own = ".".join(folder.relative_to(ROOT.parent).parts)
    shared = (own, "experiments.lab", "experiments.sources")
    lines = 0
    for path in folder.rglob("*.py"):
        text = path.read_text("utf-8")
        imported = re.findall(r"(?m)^ *from (experiments\S*)", text)
        assert all(module.startswith(shared) for module in imported), f"{path}: {imported}"
        assert not re.search("argparse|tyro|json.dump|(?<!folder)[.]write_text|savefig", text), path
        lines += code_lines(text) * (path.name not in ("model.py", "data.py"))
    assert lines <= MOST_LINES or name == "music", f"{name} has {lines} lines beside its model"


def code_lines(text: str) -> int:
    """Lines that are neither blank nor a comment nor part of a docstring."""
    prose = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return sum(bool(line) and line[0] != "#" and number not in prose for number, line in lines)


def test_the_list_has_everything(capsys):
    for args in ([], ["--help"]):
        assert command.main(args) == 0
        printed = " ".join(capsys.readouterr().out.split())
        for name in NAMES:
            assert find(name).question in printed and find(name).source in printed
            assert page.committed(find(name))["report"]["headline"] in printed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nothing"], "there is no experiment 'nothing'; expected one of "),
        (["adding", "--seeds", "0"], "seeds is 0; expected at least 1"),
        (["adding", "--threads", "-1"], "threads is -1; expected at least 1"),
        (["adding", "--only", "nobody"], "only is 'nobody'; expected part of one of: tanh, "),
        (["adding", "--out", __file__], "cannot write to "),
        (["report", "no/such/run"], "no/such/run/results.json is no record of an experiment"),
    ],
)
def test_wrong_arguments_are_refused(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main(args) == 2
    assert message in capsys.readouterr().err


def test_help_says_what_it_does_and_runs_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for args in (["adding", "--help"], ["report", "--help"]):
        with pytest.raises(SystemExit) as ended:
            command.main(args)
        assert ended.value.code == 0
        assert f"usage: python -m experiments {args[0]}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(capsys, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "tyro" else name)
    assert command.main(["adding"]) == 2
    expected = "error: tyro not installed; run: pip install -e '.[experiments]'\n"
    assert capsys.readouterr().err == expected


def test_ctrl_c_ends_with_130(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run", interrupted)
    assert command.main(["adding"]) == 130
    assert capsys.readouterr().err == "\nstopped; nothing was written\n"


def test_a_terminal_of_ascii_shows_what_it_can(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(command, "listing", lambda: "α is 1")
    assert command.main([]) == 0
    terminal.flush()
    assert terminal.buffer.getvalue() == b"? is 1\n"


def test_a_full_disk_ends_a_run_in_a_sentence(tmp_path, monkeypatch, capsys):
    def full(path, *args, **options):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    args = ["newton", "--out", str(tmp_path / "run"), *arguments(find("newton").tiny)]
    monkeypatch.setattr(run, "show", lambda report: monkeypatch.setattr(Path, "write_text", full))
    assert command.main(args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: No space left on device: ") and error.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_takes_nothing_ends_in_a_sentence_or_in_silence():
    started = [sys.executable, "-m", "experiments"]
    how: Any = dict(cwd=ROOT.parent, stderr=subprocess.PIPE, text=True)
    with open("/dev/full", "w") as full:
        ended = subprocess.run(started, stdout=full, **how)
    assert (ended.returncode, ended.stderr) == (2, "error: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)  # as `| head` does when it has seen enough
    ended = subprocess.run(started, stdout=writer, **how)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_fault_of_the_programs_own_is_no_wrong_argument(monkeypatch):
    monkeypatch.setattr(command, "listing", lambda: "\udcff".encode().decode())
    with pytest.raises(UnicodeEncodeError):
        command.main([])


def test_a_run_is_taken_into_the_pages_and_nothing_else_is_replaced(tmp_path, monkeypatch):
    experiment = find("adding")
    content = page.committed(experiment)
    task = {"metric": "x", "gate": 0, "baseline": 1, "test": {}, "failed_seeds": [], "rate": 1}
    folder = tmp_path / "run"
    folder.mkdir()
    whole = content | {"tasks": {"a": task | {"curve": [1.0]}}, "measured": {"b": 1}}
    (folder / "results.json").write_text(json.dumps(whole))
    (folder / "adding.png").write_bytes(b"picture")
    root = tmp_path / "experiments"
    home = root / "foundations/adding"
    home.mkdir(parents=True)
    monkeypatch.setattr(page, "ROOT", root)
    monkeypatch.setattr(page, "names", lambda: ["adding"])
    monkeypatch.setattr(type(experiment), "folder", property(lambda self: home))
    monkeypatch.setattr(type(experiment), "question", "Why?")
    changed = page.rewrite([folder])
    assert {path.name for path in changed} == {
        "adding.json", "adding.png", "README.md", "RESULTS.md",
    }  # fmt: skip
    taken = json.loads((home / "results/adding.json").read_text())
    assert taken == content | {"tasks": {"a": task}}
    assert "![adding](results/adding.png)" in (home / "RESULTS.md").read_text()
    assert page.rewrite([]) == []
    (root / "README.md").write_text("my own notes")
    with pytest.raises(ValueError, match="README.md was not written by `report`; move it away"):
        page.rewrite([])
    assert (root / "README.md").read_text() == "my own notes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin": None}, "the record's origin is None"),
        ({"report": {"headline": ""}}, "expected a headline, tables, misses, notes"),
        ({"tasks": {"a": {"metric": "x"}}}, "the task 'a' has no baseline, failed_seeds, gate"),
    ],
)
def test_what_is_no_record_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        record.check(page.committed(find("adding")) | change)


def test_numbers_that_json_does_not_have_are_text():
    found = record.plain({"a": [float("inf"), float("nan"), 1.5], "b": Path("x"), 3: (1, None)})
    assert found == {"a": ["inf", "nan", 1.5], "b": "x", "3": [1, None]}
