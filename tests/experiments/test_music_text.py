"""Plain text files and the vocabulary."""

import os

import pytest

from experiments.sources.text import DataError, Splits, read_text_file, text_or_file
from experiments.sources.vocabulary import BOUNDARY, Vocabulary


def test_plain_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(map(str, range(300))).encode())  # with a mark
    corpus = read_text_file(path)
    assert all(len(split) == 1 for _, split in corpus.items())
    assert "".join(split[0] for _, split in corpus.items()) == "".join(map(str, range(300)))
    assert [len(split[0]) for _, split in corpus.items()] == [711, 39, 40]


def test_plain_text_errors(tmp_path):
    path = tmp_path / "text.txt"
    with pytest.raises(DataError, match="there is no file .*text.txt"):
        read_text_file(path)
    with pytest.raises(DataError, match="is a folder; name a text file"):
        read_text_file(tmp_path)
    path.write_bytes("déjà".encode("latin-1"))
    with pytest.raises(DataError, match=r"text.txt is not text in UTF-8 \(see byte 1\)"):
        read_text_file(path)
    with pytest.raises(DataError, match="encoding is 'nothing', which Python does not know"):
        read_text_file(path, "nothing")
    path.write_text(" \n")
    with pytest.raises(DataError, match="text.txt is empty"):
        read_text_file(path)
    path.write_text("abc")
    with pytest.raises(DataError, match="has 3 characters, too few for three splits"):
        read_text_file(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_the_mark_at_the_beginning_says_the_encoding(tmp_path, encoding):
    path = tmp_path / "text.txt"
    path.write_bytes("déjà vu\r\n".encode(encoding))
    splits = read_text_file(path, valid=0.2, test=0.2)
    assert "".join(part[0] for _, part in splits.items()) == "déjà vu\n"


@pytest.mark.parametrize(
    "words",
    ["the cat sat ", "кот сидел тут ", "ο γάτος κάθισε ", "बिल्ली बैठी थी "],
    ids=["latin", "cyrillic", "greek", "devanagari"],
)
@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_without_a_mark_is_seen_in_every_script(tmp_path, words, order):
    """Bytes of UTF-16 may be UTF-8: 04 before each Cyrillic letter is a control character."""
    path = tmp_path / "text.txt"
    path.write_bytes((words * 9).encode(f"utf-16-{order}"))
    with pytest.raises(DataError, match=f"--encoding utf-16-{order}$"):
        read_text_file(path)
    found = read_text_file(path, f"utf-16-{order}")
    assert found.train[0].startswith(words)


def test_the_advice_for_bytes_that_are_not_utf_8_is_the_right_one(tmp_path):
    path = tmp_path / "text.txt"
    for encoding in ("utf-16-le", "utf-16-be", "latin-1"):
        path.write_bytes(("un café noir\n" * 9).encode(encoding))
        with pytest.raises(DataError, match=f"not text in UTF-8 .* --encoding {encoding}$"):
            read_text_file(path)
        assert "é" in read_text_file(path, encoding).train[0]
    path.write_bytes(("un café noir\n" * 9).encode("utf-16"))
    with pytest.raises(DataError, match="not text in UTF-8 .* --encoding utf-16$"):
        read_text_file(path, "utf-8")


def test_letters_a_line_or_between_tabs_are_text(tmp_path):
    path = tmp_path / "text.txt"
    for text in ("a\nb\n" * 40, "a\tb\n" * 40, "page\f" * 40):
        path.write_text(text)
        assert "".join(part[0] for _, part in read_text_file(path).items()) == text


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(DataError, match="pipe is no regular file; copy its text to one$"):
        read_text_file(path)
    with pytest.raises(DataError, match="/dev/null is no regular file"):
        read_text_file("/dev/null")


def test_halves_of_characters_are_no_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat +2AA- sat " * 9)
    with pytest.raises(DataError, match="read as UTF-7 has halves of characters"):
        read_text_file(path, "utf-7")


def test_a_text_or_the_file_of_that_name(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("déjà vu\n".encode("utf-16"))
    assert text_or_file(str(path)) == "déjà vu\n"
    for given in ("", "déjà vu", "a" * 10_000, "a\0b", str(tmp_path)):
        assert text_or_file(given) == given
    path.write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match="text.txt is not text in UTF-8"):
        text_or_file(str(path))


def test_the_digest_is_of_the_documents_and_their_splits():
    ours = Splits(("ab", "c"), ("d",), ("e",))
    others = [
        (("a", "bc"), ("d",), ("e",)),
        (("ab",), ("c", "d"), ("e",)),
        (("ab", "c"), ("e",), ("d",)),
    ]
    assert ours.digest() == Splits(("ab", "c"), ("d",), ("e",)).digest()
    assert len({ours.digest(), *(Splits(*other).digest() for other in others)}) == 4


def test_vocabulary():
    vocabulary = Vocabulary.of(["K:D\n", "AB|"])
    assert vocabulary.characters == "\n:ABDK|"
    assert len(vocabulary) == 8
    tokens = vocabulary.encode("AB|\n")
    assert tokens.tolist() == [3, 4, 7, 1] and tokens.dtype == "int32"
    assert vocabulary.decode(tokens) == "AB|\n"
    assert vocabulary.decode([3, BOUNDARY, 4]) == "A"
    assert vocabulary.encode("").tolist() == []
    with pytest.raises(ValueError) as error:
        vocabulary.encode("Axy")
    assert str(error.value) == "unknown characters 'xy'; the model knows '\\n:ABDK|'"
    with pytest.raises(ValueError, match="characters must be sorted, each once"):
        Vocabulary("ba")
