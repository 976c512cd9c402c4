"""Text in three splits: what a model is trained, validated and tested on."""

import codecs
import hashlib
import io
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INSTALL = "pip install -e '.[experiments]'"
MARKS = {  # how a file begins that says its encoding; UTF-32's begins with UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

CONTROLS = [chr(code) for code in range(32) if not chr(code).isspace()]


class DataError(ValueError):
    """The data that a run needs are missing or unusable; the message says what to do."""


@dataclass(frozen=True)
class Splits:
    """Documents of three splits; a document is one tune, or a split of a plain text."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]

    def items(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The pairs (name, documents) of the three splits."""
        return iter([("train", self.train), ("valid", self.valid), ("test", self.test)])

    def digest(self) -> str:
        """A hash of the documents, their order and their splits."""
        content = json.dumps([split for _, split in self.items()])
        return hashlib.sha256(content.encode()).hexdigest()

    def describe(self) -> dict[str, dict[str, int]]:
        """For each split the numbers of documents and of characters."""
        return {
            name: {"documents": len(split), "characters": sum(map(len, split))}
            for name, split in self.items()
        }


def read_text_file(
    path: str | Path, encoding: str | None = None, valid: float = 0.05, test: float = 0.05
) -> Splits:
    """A plain text file, cut into three contiguous splits of one document each.

    Args:
      path: the file.
      encoding: of the file; None reads the mark at its beginning, UTF-8 where there is none.
      valid: share of the characters that goes to validation, after the part for training.
      test: share that goes to test, at the end of the file.

    Raises:
      DataError: if the file is missing, unreadable, of another encoding, or too short to be split.
    """
    path = Path(path)
    text = _decoded(path, _content(path), encoding)
    if not text.strip():
        raise DataError(f"{path} is empty; a model needs some thousand characters of text")
    ends = [round(len(text) * share) for share in (1 - valid - test, 1 - test, 1)]
    parts = text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :]
    if not all(parts):
        raise DataError(f"{path} has {len(text)} characters, too few for three splits")
    return Splits(*((part,) for part in parts))


def text_or_file(given: str) -> str:
    """The text in the file of that name where there is one, else what was given itself.

    Raises:
      DataError: if the file cannot be read or is not UTF-8.
    """
    path = Path(given)
    try:
        regular = path.is_file()
    except OSError:  # too long for a name
        regular = False
    return _decoded(path, _content(path), None) if regular else given


def _content(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{path} is a folder; name a text file")
        if not stat.S_ISREG(mode):  # reading a pipe would wait for a writer
            raise DataError(f"{path} is no regular file; copy its text to one")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _decoded(path: Path, content: bytes, encoding: str | None) -> str:
    marked, likely = _marked(content) or "utf-8", _likely(content)
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding or marked).read()
    except LookupError:
        raise DataError(
            f"encoding is {encoding!r}, which Python does not know; expected one such as utf-8, "
            "utf-16-le or latin-1"
        ) from None
    except UnicodeError as error:
        where = f" (see byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
        raise DataError(
            f"{path} is not text in {(encoding or marked).upper()}{where}; name what it is, such "
            f"as --encoding {likely or 'latin-1'}"
        ) from None
    if any("\ud800" <= character <= "\udfff" for character in set(text)):
        raise DataError(
            f"{path} read as {(encoding or marked).upper()} has halves of characters (surrogates), "
            "which no file can keep; name another --encoding"
        )
    controls = sum(map(text.count, CONTROLS))
    if 50 * controls > len(text):
        remedy = f"try --encoding {likely}" if likely else "is it text? Name its --encoding"
        raise DataError(
            f"{path} read as {(encoding or marked).upper()} has {controls:,} control characters "
            f"among {len(text):,}, as UTF-16 read as something else does; {remedy}"
        )
    return text


def _marked(content: bytes) -> str | None:
    """The encoding that the first bytes say, None where they say nothing."""
    return next((name for mark, name in MARKS.items() if content.startswith(mark)), None)


def _likely(content: bytes) -> str | None:
    """The encoding that bytes look like where UTF-8 is wrong, None where nothing can be seen.

    In UTF-16 one byte of each two is the number of a script's block: 0 for Latin, 4 for Cyrillic.
    """
    odd, even = (sum(map(content[start::2].count, range(32))) for start in (1, 0))
    if _marked(content) or 2 * max(odd, even) < len(content) // 2:
        return _marked(content)
    return "utf-16-le" if odd > even else "utf-16-be"
