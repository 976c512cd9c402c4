"""Groups tunes that are versions of one another, so that a split can keep them on one side.

Two tunes belong together when they share a title, or when a good part of the shorter one's melody
occurs in the other one: the same tune appears in several books, in other keys, with other bars
repeated and other passing notes.

References:
  Broder, On the resemblance and containment of documents, 1997: shingles and containment.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

STEPS = {letter: step for step, letter in enumerate("CDEFGABcdefgab")}
PITCH = re.compile(r"([A-Ga-g])([,']*)")
SHINGLE = 8  # melodic intervals in a shingle, about two bars of a reel
CONTAINMENT = 0.25  # share of the shorter tune's shingles that makes two tunes versions
INTERVALS = 128  # an interval modulo this many steps is one digit of a packed shingle
COMMON = 40  # shingles in more tunes than this (scales, arpeggios) say nothing

TITLE_NOISE = re.compile(
    r"\b(the|a|an|o|no|nos|number|and|or|of|\d+(st|nd|rd|th|d)?|first|second|third|fourth|ii|iii|iv"
    r"|setting|set|version|variations?|part|reel|jig|hornpipe|strathspey|clog|march|song)\b"
)


def title_key(title: str) -> str:
    """A title without case, punctuation, articles, numbers and names of dances; may be empty.

    Example:
      >>> title_key("Old Woman., The -- JIG No.2 (1st Setting)")
      'oldwoman'
    """
    title = re.sub(r"\(.*?\)", " ", title.lower().split("--")[0])
    title = re.sub(r"[^a-z0-9 ]", "", re.sub(r"[-.,=_]", " ", title))
    return TITLE_NOISE.sub("", title).replace(" ", "")


def shingles(text: str) -> np.ndarray:
    """All runs of `SHINGLE` melodic intervals of a cleaned tune, each packed into one integer.

    Intervals are in diatonic steps, so key, accidentals and note lengths do not matter; grace notes
    and repeated notes are left out.

    Returns:
      [S] int64, each run once.
    """
    music = re.sub(r"(?m)^[A-Z]:(?![|:]).*$|\{[^}]*\}", "", text)
    pitches = [
        STEPS[letter] + 7 * (octave.count("'") - octave.count(","))
        for letter, octave in PITCH.findall(music)
    ]
    intervals = np.diff(np.array(pitches, np.int64))
    intervals = intervals[intervals != 0] % INTERVALS
    if len(intervals) < SHINGLE:
        return np.zeros(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(intervals, SHINGLE)
    return np.unique(windows @ INTERVALS ** np.arange(SHINGLE))


def similar_pairs(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of texts whose melodies overlap by `CONTAINMENT` or more."""
    sets = [shingles(text) for text in texts]
    sizes = np.array([len(found) for found in sets], np.int64)
    owners = np.repeat(np.arange(len(texts)), sizes)
    values = np.concatenate([*sets, np.zeros(0, np.int64)])
    order = np.lexsort((owners, values))
    owners, values = owners[order], values[order]
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    owners, values = (array[counts[inverse] <= COMMON] for array in (owners, values))
    # Owners of one shingle lie side by side: compare each with the next, the one after, ...
    codes = []
    for lag in range(1, COMMON):
        same = values[lag:] == values[:-lag]
        codes.append(owners[:-lag][same] * len(texts) + owners[lag:][same])
    codes, shared = np.unique(np.concatenate(codes), return_counts=True)
    i, j = np.divmod(codes, max(len(texts), 1))
    similar = shared >= CONTAINMENT * np.minimum(sizes[i], sizes[j])
    return list(zip(i[similar].tolist(), j[similar].tolist(), strict=True))


def group(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Connected components of `count` nodes: for each node the smallest node of its component.

    Example:
      >>> group(5, [(1, 3), (4, 3)])
      [0, 1, 2, 1, 1]
    """
    parent = list(range(count))

    def root(node):
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for i, j in pairs:
        low, high = sorted((root(i), root(j)))
        parent[high] = low
    return [root(node) for node in range(count)]


def versions(titles: Sequence[Iterable[str]], texts: Sequence[str]) -> list[int]:
    """For each tune the index of the first tune of its group: same title or similar melody.

    Args:
      titles: for each tune its titles.
      texts: for each tune its cleaned text.
    """
    pairs = similar_pairs(texts)
    first: dict[str, int] = {}
    for index, names in enumerate(titles):
        for key in filter(None, map(title_key, names)):
            pairs.append((first.setdefault(key, index), index))
    return group(len(texts), pairs)
