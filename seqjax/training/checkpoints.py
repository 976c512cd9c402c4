"""Checkpoints on disk: folders `checkpoint-N` with a record in JSON and arrays that Orbax writes.

A folder has a mark from its making until its record is written, and again while it is removed. So
a run killed at any moment leaves complete checkpoints and marked folders, which the next save
removes. Nothing is removed but what a save wrote: the record lists its files with checksums. The
mark is an empty folder, which is there at once where a file would be empty for a moment.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_NAME = re.compile(r"checkpoint-([0-9]{8,})")
_RECORD = "checkpoint.json"
_MARK = "seqjax-unfinished"
# What may be in a marked folder without a record, where no list says what the save wrote.
_PARTS = re.compile(
    r"""arrays(\.orbax-checkpoint-tmp)?(/ocdbt\.process_[0-9]+)?(/(
    d|(d/[0-9a-f]{32}|manifest\.ocdbt)(\.__lock)?|_METADATA|_CHECKPOINT_METADATA|commit_success\.txt
    ))?""",
    re.VERBOSE,
)


def complete(directory: Path) -> list[Path]:
    """The complete checkpoints, oldest first.

    They are numbered in the order of writing, not by training step: a save never has to replace
    another one, and a new run in an old directory is not older than what it finds there.
    """
    return [path for path in _named(directory) if (path / _RECORD).is_file() and not _marked(path)]


def write(directory: Path, arrays: dict[str, np.ndarray], content: dict[str, Any]) -> Path:
    """Writes a checkpoint, complete when this returns; the content is what JSON can keep."""
    named = _named(directory)
    folder = directory / f"checkpoint-{_number(named[-1]) + 1 if named else 1:08d}"
    folder.mkdir()
    (folder / _MARK).mkdir()
    if arrays:
        _write_arrays(folder / "arrays", arrays)
    files = {_name(folder, path): _checksum(path) for path in _tree(folder)}
    del files[_MARK]
    content = {**content, "files": files}
    record = {"sha256": _content_checksum(content), "content": content}
    with (folder / _RECORD).open("x") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    (folder / _MARK).rmdir()
    return folder


def read(folder: Path) -> dict[str, Any]:
    """The content of a checkpoint's record; raises ValueError if it was changed."""
    try:
        record = json.loads((folder / _RECORD).read_bytes())
        content, checksum = record["content"], record["sha256"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{_RECORD}: {type(error).__name__}: {error}") from error
    if checksum != _content_checksum(content):
        raise ValueError(f"{_RECORD} does not have the checksum that it was saved with")
    return content


def remove(folder: Path) -> None:
    """Removes a complete checkpoint, apart from what the save did not write or was changed since.

    A checkpoint stays if its record was changed, or if it is a link to a folder elsewhere.
    """
    if folder.is_symlink():
        return
    with contextlib.suppress(OSError, ValueError):
        read(folder)
        (folder / _MARK).mkdir()
        _remove_marked(folder)


def remove_unfinished(directory: Path) -> None:
    """Removes what killed saves left."""
    for folder in _named(directory):
        with contextlib.suppress(OSError):
            if _marked(folder) and not folder.is_symlink():
                _remove_marked(folder)


# Orbax, imported where it is used: it takes longer to import than the rest of seqjax.


def can_store(dtype: np.dtype) -> bool:
    """Whether arrays of this dtype can be written."""
    import tensorstore  # with which Orbax writes arrays

    try:
        tensorstore.dtype(dtype)
    except ValueError:
        return False
    return True


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import orbax.checkpoint as ocp

    with _no_log_of_errors(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(arrays))


@contextlib.contextmanager
def _no_log_of_errors() -> Iterator[None]:
    """Keeps the tracebacks of Orbax's threads out of the log: it raises their errors too."""
    keeps = lambda record: record.levelno < logging.ERROR or "orbax" not in record.pathname
    logger = logging.getLogger("absl")
    logger.addFilter(keeps)
    try:
        yield
    finally:
        logger.removeFilter(keeps)


def read_arrays(folder: Path, names: list[str]) -> Iterator[np.ndarray]:
    """A checkpoint's arrays of these names, one after another: a damaged one fails alone."""
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        for name in names:
            kinds = {name: ocp.RestoreArgs(restore_type=np.ndarray)}
            args = ocp.args.PyTreeRestore({name: 0}, restore_args=kinds, partial_restore=True)
            yield checkpointer.restore(folder / "arrays", args=args)[name]


# Folders and files.


def _named(directory: Path) -> list[Path]:
    """Whatever has a checkpoint's name, by number."""
    paths = directory.iterdir() if directory.is_dir() else []
    return sorted((path for path in paths if _NAME.fullmatch(path.name)), key=_number)


def _number(path: Path) -> int:
    return int(path.name.removeprefix("checkpoint-"))


def _marked(folder: Path) -> bool:
    return (folder / _MARK).is_dir()


def _tree(folder: Path) -> list[Path]:
    """All that is in a folder, each before the folder it is in."""
    return sorted(folder.rglob("*"), reverse=True)


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _checksum(path: Path) -> str | None:
    """The SHA-256 of a file in hexadecimal, None for a folder or what is not there."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_checksum(content: dict) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _remove_marked(folder: Path) -> None:
    """Removes what a save wrote into a folder, its mark last, and the folder if it is empty."""
    try:
        files = read(folder)["files"]
        ours = lambda path: files.get(_name(folder, path), "") == _checksum(path)
    except ValueError:
        ours = lambda path: _PARTS.fullmatch(_name(folder, path))
    for path in _tree(folder):
        if path.is_symlink() or not ours(path):
            continue
        if path.is_dir():
            _remove_empty(path)
        else:
            path.unlink()
    (folder / _RECORD).unlink(missing_ok=True)
    _remove_empty(folder / _MARK)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # something else is in it
        folder.rmdir()
