"""The folder of a run: it replaces and removes the run's own files, and never anybody else's."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import seqjax as sj

MARK = ".run.json"


class RunFolder:
    """A folder with a mark: the list of the files that runs wrote here, with their hashes.

    A file is the run's own while its content is what the run wrote; an edited one is the user's.
    What the user has under a name that the run needs stays, and the run's file goes beside it
    under a free name. One run at a time writes to a folder; the lock ends with the process.

    Args:
      path: the folder; it is made if it does not exist.
      run: the name of the experiment or benchmark.

    Raises:
      ValueError: if the folder has files but no mark, has the mark of another experiment, is in
        use by another run, cannot be written to, or has a path that is not UTF-8, which
        checkpoints cannot have.

    Example:
      >>> path = tempfile.mkdtemp()
      >>> with RunFolder(path, "adding") as folder:
      ...     print(folder.write_text("results.json", "{}").name)
      results.json
    """

    def __init__(self, path: str | Path, run: str):
        self.path, self.run = Path(path), run
        try:
            str(self.path.absolute()).encode()
        except UnicodeEncodeError:
            raise ValueError(f"--out is {path}, which is not UTF-8; name another folder") from None
        self._made, self._new = not self.path.exists(), False
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._handle: int | None = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self._lock()
            self._files = self._read_mark()
            self._write_mark()
        except (OSError, ValueError) as error:
            os.close(self._handle)
            raise (self._unwritable(error) if isinstance(error, OSError) else error) from None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another run write here; where nothing was written, nothing stays."""
        if self._handle is None:
            return
        if self._new and not self._files:
            with contextlib.suppress(OSError):
                (self.path / MARK).unlink(missing_ok=True)
                if self._made:
                    self.path.rmdir()
        os.close(self._handle)
        self._handle = None

    def write_text(self, name: str, text: str) -> Path:
        """Writes a text file in UTF-8 and returns its path.

        What is no character, as in a path that is not text, becomes an escape such as \\udcff.
        """
        with self.writing(name) as path:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return self.written

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Gives a path to write to; the file takes its name when the block ends.

        `written` is then where it is. A block that writes nothing leaves nothing.
        """
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=self.path))
        try:
            yield part / Path(name).name
            if (part / Path(name).name).exists():
                self.written = self._place(part / Path(name).name, name)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def save_checkpoint(
        self, name: str, state: Any, *, spec: Any, position: Any = None, keep: int
    ) -> Path:
        """`sj.save_checkpoint` into a folder here; the run's older ones go, but for the newest."""
        saved = sj.save_checkpoint(
            self.directory(name), state, spec=spec, position=position, keep=None
        )
        home = self.path.absolute()
        for path in saved.rglob("*"):
            if path.is_file():
                self._files[path.relative_to(home).as_posix()] = _digest(path)
        self._write_mark()
        prefix = saved.parent.relative_to(home).as_posix() + "/"
        beside = [file.removeprefix(prefix) for file in self._files if file.startswith(prefix)]
        for old in sorted({file.split("/")[0] for file in beside})[:-keep]:
            self.remove(prefix + old)
        return saved

    def directory(self, name: str) -> Path:
        """Where the folder of a name is or will be: here, or beside a file that has its name."""
        path = self.path
        for part in Path(name).parts:
            places = (path / candidate for candidate in _candidates(part))
            path = next(p for p in places if p.is_dir() or not os.path.lexists(p))
        return path

    def remove(self, name: str) -> None:
        """Removes a file of the run's, or all of its files in a folder; the user's stay."""
        folders = set()
        for own in [f for f in self._files if f == name or f.startswith(f"{name}/")]:
            if self._owns(own):
                (self.path / own).unlink()
                folders |= set(Path(own).parents) - {Path(".")}
            del self._files[own]
        for folder in sorted(folders, reverse=True):
            if folder.as_posix() == name or folder.as_posix().startswith(f"{name}/"):
                with contextlib.suppress(OSError):  # not empty
                    (self.path / folder).rmdir()
        self._write_mark()

    def _place(self, part: Path, name: str) -> Path:
        digest = _digest(part)
        parent = self.directory(Path(name).parent.as_posix())
        parent.mkdir(parents=True, exist_ok=True)
        for candidate in _candidates(Path(name).name):
            target = parent / candidate
            relative = target.relative_to(self.path).as_posix()
            if not self._owns(relative):
                try:  # takes the name, so that nobody else's file is replaced
                    target.open("xb").close()
                except FileExistsError:
                    continue
            part.replace(target)
            self._files[relative] = digest
            self._write_mark()
            if relative != name:
                print(f"{self.path / name} is not this run's to replace; wrote {target} instead")
            return target
        raise AssertionError("unreachable")

    def _owns(self, name: str) -> bool:
        path = self.path / name
        regular = path.is_file() and not path.is_symlink()
        return name in self._files and regular and _digest(path) == self._files[name]

    def _lock(self) -> None:
        assert self._handle is not None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another run is writing to {self.path}; wait for its end, or name another folder "
                "by --out"
            ) from None

    def _read_mark(self) -> dict[str, str]:
        names = sorted(path.name for path in self.path.iterdir())
        self._new = not names
        if self._new:
            return {}
        try:
            mark = json.loads((self.path / MARK).read_text("utf-8"))
            run, files = mark["run"], dict(mark["files"])
        except (OSError, ValueError, KeyError, TypeError):
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
            raise ValueError(
                f"--out is {self.path}, which has files that no run wrote ({shown}); name a new or "
                f"an empty folder, such as --out {self.path / self.run}"
            ) from None
        if run != self.run:
            raise ValueError(
                f"--out is {self.path}, the folder of a run of {run}; name another one for "
                f"{self.run}, such as --out {self.path / self.run}"
            )
        return files

    def _write_mark(self) -> None:
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=self.path))
        content = {"run": self.run, "files": dict(sorted(self._files.items()))}
        try:
            (part / MARK).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            (part / MARK).replace(self.path / MARK)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _unwritable(self, error: OSError) -> ValueError:
        return ValueError(f"cannot write to {self.path}: {error.strerror}; choose --out")


def _candidates(name: str) -> Iterator[str]:
    """A file's name, then name-2, name-3 and so on before its suffix."""
    path = Path(name)
    return itertools.chain(
        [name], (f"{path.stem}-{number}{path.suffix}" for number in itertools.count(2))
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
