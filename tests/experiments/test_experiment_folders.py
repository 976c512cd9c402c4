"""No command removes or overwrites a file that it did not write."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

import seqjax as sj
from experiments.lab.folder import MARK, RunFolder

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from experiments.lab import command

TEXT = "the cat sat on the mat.\nthe dog lay on the log.\n" * 60


def contents(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def put(folder: Path, *names: str) -> dict[str, str]:
    """Files of the user's; one that is there is edited."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(b"the user's own " + name.encode())
    return {key: value for key, value in contents(folder).items() if Path(key).name != MARK}


def kept(before: dict[str, str], folder: Path) -> bool:
    after = contents(folder)
    return all(after.get(name) == digest for name, digest in before.items())


def test_a_file_is_replaced_while_it_is_what_was_written(tmp_path, capsys):
    with RunFolder(tmp_path / "run", "one") as folder:
        assert folder.write_text("a/results.json", "1") == tmp_path / "run" / "a" / "results.json"
    with RunFolder(tmp_path / "run", "one") as folder:
        assert folder.write_text("a/results.json", "2").read_text() == "2"
        assert capsys.readouterr().out == ""
        (tmp_path / "run/a/results.json").write_text("edited")
        assert folder.write_text("a/results.json", "3").name == "results-2.json"
        assert "is not this run's to replace; wrote" in capsys.readouterr().out
        assert folder.write_text("a/results.json", "4").name == "results-2.json"
    assert (tmp_path / "run/a/results.json").read_text() == "edited"
    assert (tmp_path / "run/a/results-2.json").read_text() == "4"
    assert not list((tmp_path / "run").glob(".part-*"))


def test_links_and_files_in_the_way_stay(tmp_path):
    outside = tmp_path / "diary.txt"
    outside.write_text("dear diary")
    with RunFolder(tmp_path / "run", "one") as folder:
        folder.write_text("a.txt", "dear diary")
        (tmp_path / "run/a.txt").unlink()
        (tmp_path / "run/a.txt").symlink_to(outside)
        (tmp_path / "run/samples").write_text("a file")
        assert folder.write_text("a.txt", "2").name == "a-2.txt"
        assert folder.write_text("samples/b.txt", "3") == tmp_path / "run/samples-2/b.txt"
        folder.remove("a.txt")
    assert outside.read_text() == "dear diary" and (tmp_path / "run/a.txt").is_symlink()
    assert (tmp_path / "run/samples").read_text() == "a file"


def test_what_is_removed_is_the_runs_own(tmp_path):
    with RunFolder(tmp_path / "run", "one") as folder:
        for name in ("s/a.txt", "s/b.txt", "s/t/c.txt", "sun.txt"):
            folder.write_text(name, name)
        before = put(tmp_path / "run", "s/b.txt", "s/mine.txt")
        before.pop(str(tmp_path / "run/s/a.txt"))
        before.pop(str(tmp_path / "run/s/t/c.txt"))
        folder.remove("s")
    assert kept(before, tmp_path) and not (tmp_path / "run/s/a.txt").exists()
    assert not (tmp_path / "run/s/t").exists()


def test_a_block_that_writes_nothing_leaves_nothing(tmp_path):
    with RunFolder(tmp_path, "one") as folder:
        with folder.writing("a.mid"):
            pass
        with pytest.raises(KeyError), folder.writing("b.png") as path:
            path.write_text("half")
            raise KeyError
        assert contents(tmp_path).keys() == {str(tmp_path / MARK)}
    assert not contents(tmp_path) and tmp_path.exists()
    with RunFolder(tmp_path / "new", "one"):
        assert (tmp_path / "new").exists()
    assert not (tmp_path / "new").exists()


def test_old_checkpoints_go_and_files_beside_and_inside_them_stay(tmp_path):
    state = {"w": jnp.ones(3)}
    with RunFolder(tmp_path, "one") as folder:
        for position in range(3):
            folder.save_checkpoint("last", state, spec="a", position=position, keep=2)
        names = sorted(path.name for path in (tmp_path / "last").iterdir())
        assert names == ["checkpoint-00000002", "checkpoint-00000003"]
        before = put(tmp_path, "last/keep.txt", "last/checkpoint-00000002/keep.txt")
        mine = {name: digest for name, digest in before.items() if "keep.txt" in name}
        folder.save_checkpoint("last", state, spec="a", position=7, keep=1)
        assert kept(mine, tmp_path)
        assert sj.restore_checkpoint(tmp_path / "last", state, spec="a").position == 7
        folder.remove("last")
        assert kept(mine, tmp_path) and len(contents(tmp_path)) == 3


def test_a_folder_that_is_no_runs_is_refused(tmp_path):
    before = put(tmp_path / "mine", "diary.txt", "samples/text.txt")
    with pytest.raises(ValueError) as error:
        RunFolder(tmp_path / "mine", "music")
    assert str(error.value) == (
        f"--out is {tmp_path}/mine, which has files that no run wrote (diary.txt, samples); name a "
        f"new or an empty folder, such as --out {tmp_path}/mine/music"
    )
    (tmp_path / "mine" / MARK).write_text("[]")
    with pytest.raises(ValueError, match="has files that no run wrote"):
        RunFolder(tmp_path / "mine", "music")
    assert kept(before, tmp_path)
    with RunFolder(tmp_path / "run", "one") as folder:
        folder.write_text("a", "a")
    with pytest.raises(ValueError, match="the folder of a run of one; name another one for two"):
        RunFolder(tmp_path / "run", "two")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to .*file/run: .*; choose --out"):
        RunFolder(tmp_path / "file" / "run", "one")


def test_one_run_at_a_time_writes_to_a_folder(tmp_path):
    with RunFolder(tmp_path, "one") as folder:
        folder.write_text("a", "a")
        with pytest.raises(ValueError, match="another run is writing to .*; wait for its end"):
            RunFolder(tmp_path, "one")
    code = f"import os\nfrom {RunFolder.__module__} import *\nRunFolder({str(tmp_path)!r}, 'one')\n"
    subprocess.run([sys.executable, "-c", code + "os._exit(9)"], check=False)
    RunFolder(tmp_path, "one").close()


NAMES = (
    "diary.txt", "results.json", "curves.png", "samples/sample-00.txt",
    "samples/beam-00.txt", "samples/poem.txt", "samples/tune.abc", "written/beam-00.txt",
    "written/x.mid", "best/keep.txt", "last/keep.txt", "last/checkpoint-00000001/notes",
)  # fmt: skip


def test_music_leaves_every_file_of_the_users(tmp_path, capsys):
    run = tmp_path / "run"
    sizes = "--minutes 0.01 --hidden-size 4 --layers 1 --batch-size 4 --window 8 --samples 1"
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    call = lambda *args: command.main(
        ["music", "--text", str(text), "--out", str(run), *sizes.split(), *args]
    )
    before = put(run, *NAMES)
    for args in ((), ("--resume",), ("--try", "the")):
        assert call(*args) == 2
        assert "has files that no run wrote (" in capsys.readouterr().err
    assert contents(run) == before
    run = tmp_path / "new"
    assert call() == 0
    mine = put(run, "written/beam-00.txt", "written/x.mid", "best/keep.txt")
    assert call("--try", "the") == 0 and kept(mine, run)
    own = contents(run)
    mine = put(run, *NAMES)
    mine = {n: d for n, d in mine.items() if own.get(n) != d}
    assert call("--try", "the") == 2  # the record is the user's now
    assert "has no finished run of a character model" in capsys.readouterr().err
    for args in (("--resume",), ()):
        assert call(*args) == 0, capsys.readouterr().err
        assert kept(mine, run), args
    assert json.loads((run / "results-2.json").read_text())["measured"]["model"]["steps"] > 0


def test_a_path_that_is_not_text_is_refused_and_one_in_a_file_is_escaped(tmp_path):
    path = os.fsdecode(b"run\xff")
    with pytest.raises(ValueError, match="which is not UTF-8; name another folder"):
        RunFolder(tmp_path / path, "adding")
    assert not list(tmp_path.iterdir())
    with RunFolder(tmp_path / "run", "adding") as folder:
        written = folder.write_text("results.json", f'["{path}"]')
    assert json.loads(written.read_text("utf-8")) == [path]
