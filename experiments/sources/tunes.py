"""Music21's ABC tunes, cleaned and split.

O'Neill's Music of Ireland (1850 tunes), Ryan's Mammoth Collection and Aird's Selection of Airs lie
as ABC files inside the music21 package; they are read in place, without importing music21. Its
Essen collection is left out, because its licence allows non-commercial use only.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from experiments.sources.abc_text import clean_tune
from experiments.sources.duplicates import versions
from experiments.sources.text import INSTALL, DataError, Splits

COLLECTIONS = ("oneills1850", "ryansMammoth", "airdsAirs")


@dataclass(frozen=True)
class Tune:
    """One tune: the collection it is from, its titles, and its cleaned text."""

    collection: str
    titles: tuple[str, ...]
    text: str


def corpus_folder() -> Path:
    """Where music21 keeps its corpus.

    Raises:
      DataError: if music21 or a collection in it is missing.
    """
    spec = find_spec("music21")
    places = (spec.submodule_search_locations if spec else None) or []
    for place in places:
        folder = Path(place) / "corpus"
        missing = [name for name in COLLECTIONS if not any((folder / name).glob("*.abc"))]
        if missing:
            raise DataError(
                f"the tunes of {', '.join(missing)} are not in {folder}; reinstall music21: "
                f"pip install --force-reinstall 'music21>=9'"
            )
        return folder
    raise DataError(f"the ABC tunes come with music21, which is not installed; run: {INSTALL}")


def read_transcriptions(folder: Path | None = None) -> list[tuple[str, str]]:
    """Every tune of the collections as printed: pairs (collection, ABC text).

    Args:
      folder: where the collections are; None means music21's corpus.

    Raises:
      DataError: if music21 or a collection in it is missing.
    """
    folder = corpus_folder() if folder is None else folder
    return [
        (name, source)
        for name in COLLECTIONS
        for path in sorted((folder / name).glob("*.abc"))
        for source in re.split(r"(?m)^(?=X:)", path.read_text("utf-8", "replace"))
        if source.startswith("X:")
    ]


def read_tunes(folder: Path | None = None) -> list[Tune]:
    """The cleaned tunes, each text once, without those for several voices.

    Raises:
      DataError: if music21 or a collection in it is missing.
    """
    tunes: dict[str, Tune] = {}
    for name, source in read_transcriptions(folder):
        text = clean_tune(source)
        if text is None:
            continue
        titles = tuple(re.findall(r"(?m)^T:\s*(.*\S)", source))
        if text in tunes:
            titles = tunes[text].titles + titles
        tunes[text] = Tune(name, titles, text)
    return list(tunes.values())


def split_tunes(tunes: Sequence[Tune], valid: float = 0.05, test: float = 0.05) -> Splits:
    """Splits tunes, all versions of a tune on the same side; a hash decides, so no seed is needed.

    Args:
      tunes: from `read_tunes`.
      valid: expected share of the groups of versions that go to validation.
      test: expected share that goes to test.
    """
    groups = versions([tune.titles for tune in tunes], [tune.text for tune in tunes])
    splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for tune, first in zip(tunes, groups, strict=True):
        place = _hash_fraction(min(tunes[first].titles, default=tunes[first].text))
        name = "valid" if place < valid else "test" if place < valid + test else "train"
        splits[name].append(tune.text)
    return Splits(*(tuple(splits[name]) for name in ("train", "valid", "test")))


def read_music(folder: Path | None = None) -> Splits:
    """The cleaned tunes in three splits of about 90, 5 and 5 %.

    Raises:
      DataError: if music21 or a collection in it is missing.
    """
    return split_tunes(read_tunes(folder))


def _hash_fraction(key: str) -> float:
    """A number in [0, 1) that depends on the key alone, in every process and Python version."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
