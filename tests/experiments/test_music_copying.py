"""The longest copied substring against brute force."""

import random

import pytest

from experiments.music.copying import TrainingText


def brute_force(documents, sample):
    best = ""
    for start in range(len(sample)):
        for end in range(start + len(best) + 1, len(sample) + 1):
            if any(sample[start:end] in document for document in documents):
                best = sample[start:end]
    return best


@pytest.mark.parametrize("seed", range(30))
def test_equals_brute_force(seed):
    rng = random.Random(seed)
    letters = "ab" if seed % 2 else "abcdé♪"
    documents = ["".join(rng.choices(letters, k=rng.randint(0, 60))) for _ in range(4)]
    sample = "".join(rng.choices(letters, k=rng.randint(0, 40)))
    assert TrainingText(documents).longest_copy(sample) == brute_force(documents, sample)


def test_copies_do_not_cross_documents():
    text = TrainingText(["abcd", "efgh"])
    assert text.longest_copy("xcdefgx") == "efg"
    assert text.longest_copy("abcd\0efgh") == "abcd"


@pytest.mark.parametrize(("documents", "sample"), [([], "abc"), ([""], "abc"), (["abc"], "")])
def test_empty(documents, sample):
    assert TrainingText(documents).longest_copy(sample) == ""


def test_whole_sample():
    assert TrainingText(["xxabcyy"]).longest_copy("abc") == "abc"
    assert TrainingText(["b"]).longest_copy("abc") == "b"
