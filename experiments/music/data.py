"""From text to what the model and the n-gram are trained on."""

from dataclasses import dataclass

import numpy as np

import seqjax as sj
from experiments.lab.character_model import CharacterModel
from experiments.music.config import Config
from experiments.music.training import Data
from experiments.sources.text import DataError, Splits, read_text_file
from experiments.sources.tunes import read_music
from experiments.sources.vocabulary import BOUNDARY, Vocabulary

EVALUATION_ROWS = 16  # a document that is cut at the start of a row loses its context there


@dataclass(frozen=True)
class Loaded:
    """Text, its encoding and windows, and the model whose vocabulary it is."""

    source: str
    splits: Splits
    vocabulary: Vocabulary
    encoded: list[list[np.ndarray]]  # train, valid, test
    windows: Data
    model: CharacterModel
    prompt: str

    @property
    def identity(self) -> dict[str, str]:
        """What tells this text from all others, and its characters from all others of as many."""
        return {"text": self.splits.digest(), "vocabulary": self.vocabulary.characters}

    def describe(self) -> dict:
        """Numbers of documents and characters of each split, and of tokens."""
        return {**self.splits.describe(), "vocabulary": len(self.vocabulary)}


def load(config: Config) -> Loaded:
    """Reads, splits, encodes and cuts the text that a configuration names.

    Raises:
      DataError: (a ValueError) if there is no such text or it is too short.
      ValueError: if the prompt has characters that the text has not.
    """
    splits = read_music() if config.text is None else read_text_file(config.text, config.encoding)
    vocabulary = Vocabulary.of([*splits.train, *splits.valid, *splits.test])
    encoded = [[vocabulary.encode(text) for text in split] for _, split in splits.items()]
    prompt = (config.prompt or "").replace("\\n", "\n")
    try:
        vocabulary.encode(prompt)
    except ValueError as error:
        raise ValueError(f"--prompt {config.prompt!r}: {error}") from None
    train, valid, test = encoded
    window = config.window
    try:
        windows = Data(
            cut(train, config.batch_size, window),
            cut(valid, EVALUATION_ROWS, window),
            cut(test, EVALUATION_ROWS, window),
        )
    except ValueError as error:
        name = config.text or "the tunes"
        raise DataError(f"{name}: {error} (the text is cut into 90, 5 and 5 %)") from None
    model = CharacterModel(
        vocab_size=len(vocabulary),
        hidden_size=config.hidden_size,
        layers=config.layers,
        embedding_size=config.embedding_size,
        dropout=config.dropout,
        tied=config.tied,
    )
    source = "music21's O'Neill, Ryan and Aird" if config.text is None else str(config.text)
    return Loaded(source, splits, vocabulary, encoded, windows, model, prompt)


def cut(documents: list[np.ndarray], batch_size: int, window: int) -> sj.Corpus:
    """Documents as contiguous rows and windows; a boundary begins and ends each."""
    return sj.Corpus.from_documents(
        documents, bos=BOUNDARY, eos=BOUNDARY, batch_size=batch_size, window=window
    )
